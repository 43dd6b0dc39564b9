"""Questions on chapter 00 for later chapters' warm-ups."""

from course_lib.checks.warmups import Question


def rounded_weight(rng) -> Question:
    """One weight to the nearest step."""
    s, q, off = rng.choice((0.2, 0.3, 0.4)), rng.randint(2, 6), rng.choice((-0.3, 0.3))
    w = round((q + off) * s, 3)
    return Question(
        f"A weight is {w}, the step is {s}. Which weight does it become?",
        q * s,
        f"{w} / {s} is {w / s:.3g} steps, the nearest whole number is {q}, and {q} · {s} = {q * s:.2g}.",
        atol=1e-3,
    )


def saved_megabytes(rng) -> Question:
    """What fewer bits save."""
    millions, bits = rng.choice((2, 4, 8)), rng.choice((4, 8))
    return Question(
        f"{millions} million weights go from 16 bits to {bits}. How many MB lighter are they, scales not counted?",
        millions * (16 - bits) / 8,
        f"Each weight loses {16 - bits} bits. A byte has 8 of them, and one MB is a million bytes.",
        "MB",
        1e-3,
    )


QUESTIONS = (rounded_weight, saved_megabytes)
