"""Questions on chapter 02 for later chapters' warm-ups."""

from course_lib.checks.warmups import Question


def asymmetric_step(rng) -> Question:
    """The step of an asymmetric grid."""
    b, s = rng.choice((3, 4)), rng.choice((0.1, 0.2, 0.4))
    below = rng.randint(1, 3)
    lo, hi = round(-below * s, 3), round((2**b - 1 - below) * s, 3)
    return Question(
        f"Values run from {lo} to {hi}, and there are {b} bits, asymmetric. How large is the step?",
        s,
        f"{2**b} marks have {2**b - 1} gaps: ({hi} − {lo}) / {2**b - 1}.".replace("− -", "+ "),
        atol=1e-3,
    )


def zero_point(rng) -> Question:
    """The zero point of an asymmetric grid."""
    s, z = rng.choice((0.1, 0.2, 0.5)), rng.randint(2, 9)
    lo, hi = round(-z * s, 3), round((15 - z) * s, 3)
    return Question(
        f"Values run from {lo} to {hi}; 4 bits, asymmetric, step {s}. Which code stands for 0?",
        z,
        f"Code 0 is {lo}, and from there it is {-lo} / {s} = {z} steps up to 0.",
    )


def decoded(rng) -> Question:
    """From a code back to a weight."""
    s, z, q = rng.choice((0.1, 0.2, 0.5)), rng.randint(3, 8), rng.randint(0, 15)
    return Question(
        f"s = {s} and z = {z}. What does code {q} decode to?",
        s * (q - z),
        f"s·(q − z) = {s}·({q} − {z}).",
        atol=1e-3,
    )


def all_positive(rng) -> Question:
    """The range must hold 0."""
    lo, hi = rng.choice(((2, 3), (4, 4.5), (1, 6), (5, 7.5)))
    return Question(
        f"All values lie from {lo} to {hi}. 4 bits, asymmetric, zero point among the codes. How large is the step?",
        hi / 15,
        f"The range must hold 0, so it goes from 0 to {hi}: {hi} / 15.",
        atol=2e-3,
    )


def wasted_marks(rng) -> Question:
    """What a symmetric grid wastes on one-sided values."""
    b = rng.choice((3, 4, 5))
    return Question(
        f"No value is below 0. How many marks of a symmetric {b}-bit grid hold nothing at all, at the least?",
        2 ** (b - 1) - 1,
        f"All marks below 0: −1 … −{2 ** (b - 1) - 1}.",
    )


QUESTIONS = (asymmetric_step, zero_point, decoded, all_positive, wasted_marks)
