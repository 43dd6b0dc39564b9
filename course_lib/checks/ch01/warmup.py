"""Questions on chapter 01 for later chapters' warm-ups."""

from course_lib.checks.warmups import Question


def max_abs_step(rng) -> Question:
    """The step from the largest weight."""
    b, step = rng.choice((3, 4, 5)), rng.choice((0.1, 0.2, 0.3))
    qmax = 2 ** (b - 1) - 1
    top = round(qmax * step, 3)
    return Question(
        f"The largest |w| is {top}, and there are {b} bits, symmetric. Which step puts it on the last mark?",
        step,
        f"{b} bits end at qmax = 2^{b - 1} − 1 = {qmax}, and {top} / {qmax} = {step}.",
        atol=1e-3,
    )


def clipped_error(rng) -> Question:
    """The error of a weight beyond the last mark."""
    s, extra = rng.choice((0.1, 0.2)), rng.choice((3, 5, 8))
    w = round((7 + extra) * s, 3)
    return Question(
        f"s = {s} and 4 bits, symmetric. How far off does w = {w} come back?",
        extra * s,
        f"The last mark is 7 · {s} = {7 * s:.2g}, and that is what w becomes: {w} − {7 * s:.2g} = {extra * s:.2g}.",
        atol=1e-3,
    )


def worst_rounding(rng) -> Question:
    """The largest error without clipping."""
    s = rng.choice((0.04, 0.06, 0.5))
    return Question(
        f"The step is {s} and nothing clips. How far off can a weight be at worst?",
        s / 2,
        "The worst place is halfway between two marks.",
        atol=1e-4,
    )


def ties(rng) -> Question:
    """What torch.round does halfway."""
    q = rng.choice((0, 2, 4, 6))
    x = q + rng.choice((-0.5, 0.5)) if q else 0.5
    return Question(
        f"What is `torch.round(torch.tensor({x}))`?", float(q), f"{x} is a tie, and ties go to the even neighbour."
    )


def decibels_for_bits(rng) -> Question:
    """What bits buy."""
    a, more = rng.choice(((4, 2), (5, 2), (5, 3), (6, 2)))
    return Question(
        f"About how many dB of SQNR do {more} more bits buy, from {a} to {a + more}?",
        6.02 * more,
        f"About 6 dB a bit: each halves the step, and with it the error. {more} bits make about {6 * more}.",
        "dB",
        1.5,
    )


QUESTIONS = (max_abs_step, clipped_error, worst_rounding, ties, decibels_for_bits)
