"""Warm-up questions about chapter 14: pairs that decide, shares, the cost of a token, health checks."""

from course_lib.checks.warmups import Question


def rule_of_three(rng):
    margin = rng.choice([2, 3, 5, 6, 10])
    text = f"No reply lost in n pairs: how many pairs until a loss of more than {margin} % is ruled out, at 95 %?"
    return Question(text, -(-300 // margin), f"The rule of three: 3/n below {margin / 100:g}.", "pairs")


def price(rng):
    dollars, speed, busy = rng.choice([1.8, 3.6, 7.2]), rng.choice([500, 1000, 2000]), rng.choice([0.25, 0.5])
    text = f"{dollars} dollars an hour, {speed} tokens/s, busy {busy:.0%} of the time: dollars for a million tokens?"
    return Question(
        text, dollars / (speed * 3600 * busy) * 1e6, f"{dollars} / ({speed} · 3600 · {busy}) · 10⁶.", "$", 0.006
    )


def net(rng):
    lost, won = rng.randint(3, 6), rng.randint(0, 2)
    both = rng.randint(2, 9)
    text = (
        f"Of 60 pairs {both} went wrong on both sides, {lost} with the candidate only, {won} with the incumbent only."
    )
    return Question(text + " How many good replies did the candidate lose, net?", lost - won, f"{lost} − {won}.")


def turned(rng):
    down, before = rng.choice([3, 4]), rng.randint(1, 2)
    text = (
        f"A server turns ill after {down} failed checks in a row. Checks: {before} failed, one good, then all failed."
    )
    return Question(
        text + " With which check does it turn?", before + 1 + down, f"The run begins after check {before + 1}."
    )


QUESTIONS = (rule_of_three, price, net, turned)
