"""Warm-up questions about chapter 15: straight through, what a step learns, how far off a guess is."""

from course_lib.checks.warmups import Question


def passes(rng):
    s, q = rng.choice([0.5, 0.25]), rng.choice([2, 3, 5])
    text = f"Step {s}, codes −3 … 3, ∂L/∂ŵ = 2. What is ∂L/∂w of w = {q * s:g}, straight through?"
    answer = 2.0 if q <= 3 else 0.0
    because = f"w/s = {q} lies " + ("inside: the gradient passes." if q <= 3 else "beyond 3: it is clipped.")
    return Question(text, answer, because)


def guess(rng):
    out, k = rng.choice([3, 5, 12]), rng.choice([-2, -1, 1, 2])
    text = f"Guess {out * 2.0**k:g}, outcome {out}: what is log2(guess / outcome)?"
    return Question(text, float(k), f"The ratio is {2.0**k:g}.")


QUESTIONS = (passes, guess)
