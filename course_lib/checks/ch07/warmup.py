"""Warm-up questions about chapter 07: salience, protected columns, the grid of exponents."""

from course_lib.checks.warmups import Question


def error_at_the_output(rng):
    x, e = rng.choice([[100, 0.1], [50, 2], [20, 1]]), rng.choice([0.1, 0.05, 0.2])
    text = f"Two channels with inputs {x[0]} and {x[1]}; both weights err by {e}. By how much can the output err?"
    return Question(text, (x[0] + x[1]) * e, f"{x[0]} · {e} + {x[1]} · {e}.", atol=0.0006)


def after_protection(rng):
    x, e, s = rng.choice([100, 40]), rng.choice([0.1, 0.2]), rng.choice([2, 4, 5])
    text = (
        f"A channel's inputs are {x} and its weight errs by {e}. Its column is scaled by {s} before rounding, and the "
    )
    text += "step stays. By how much does the output err now?"
    return Question(text, x * e / s, f"The same step, divided by s: {x} · {e} / {s}.", atol=0.0006)


def scale_from_loudness(rng):
    loud, alpha = rng.choice([16, 81, 256]), rng.choice([0.25, 0.5])
    text = f"A channel has mean |x| = {loud}. What is AWQ's s at α = {alpha}, before it is normalized?"
    return Question(text, loud**alpha, f"{loud} to the power of {alpha}.", atol=0.006)


def salience(rng):
    x = [rng.randint(1, 9) for _ in range(3)]
    text = f"A channel sees the inputs {x[0]}, −{x[1]} and {x[2]}. What is its salience, mean |x|?"
    return Question(text, sum(x) / 3, f"({x[0]} + {x[1]} + {x[2]}) / 3; signs are taken off first.", atol=0.006)


def shared_scale(rng):
    a, b = rng.choice([2, 3, 5]), rng.choice([4, 1, 7])
    text = (
        f"Two query heads share a value head. For one channel they ask for the scales {a} and {b}. Which do both get?"
    )
    return Question(text, (a + b) / 2, f"One factor for both, the mean: ({a} + {b}) / 2.", atol=0.006)


QUESTIONS = (error_at_the_output, after_protection, scale_from_loudness, salience, shared_scale)
