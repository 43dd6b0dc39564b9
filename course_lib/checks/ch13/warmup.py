"""Warm-up questions about chapter 13: drops, flips, coins, margins, perplexity."""

import math

from course_lib.checks.warmups import Question


def drop(rng):
    n, lost, won = rng.choice([200, 400, 500]), rng.randint(8, 20), rng.randint(1, 7)
    text = (
        f"Of {n} items {lost} went from right to wrong, {won} from wrong to right. How many points did accuracy drop?"
    )
    return Question(text, 100 * (lost - won) / n, f"({lost} − {won}) / {n}, in percent.", "points", atol=0.006)


def flips(rng):
    n, lost, won = rng.choice([200, 400, 500]), rng.randint(3, 20), rng.randint(3, 20)
    text = f"Of {n} items {lost} were lost and {won} won. What share of the items flipped, in percent?"
    return Question(text, 100 * (lost + won) / n, f"({lost} + {won}) / {n}: a flip counts either way.", "%", atol=0.006)


def coins(rng):
    n = rng.choice([3, 4, 5, 6])
    text = f"{n} items were lost, none was won. What is p of the exact two-sided McNemar test?"
    return Question(text, 2 / 2**n, f"All {n} coins fall one way, or all the other: 2 / 2^{n}.", atol=0.0006)


def more_items(rng):
    n, factor = rng.choice([300, 400, 500]), rng.choice([2, 3])
    margin = {2: "half", 3: "a third of"}[factor]
    text = f"{n} items show a certain margin. How many show {margin} that margin, with as many flips?"
    return Question(text, n * factor**2, f"The margin stands squared: {factor}² · {n}.")


def ratio(rng):
    nats = rng.choice([0.02, 0.05, 0.1])
    text = f"The mean of −ln p rises by {nats} nats. By how many percent does perplexity rise?"
    return Question(text, 100 * (math.exp(nats) - 1), f"e^{nats} − 1.", "%", atol=0.06)


QUESTIONS = (drop, flips, coins, more_items, ratio)
