"""Chapter 00's readiness check: four small sums that the course takes for granted, each with its refresher."""

import random

from course_lib.checks import render
from course_lib.checks.warmups import Question, Warmup


def rows(rng) -> Question:
    """A tensor divided by the largest size of each row."""
    top, small = rng.choice((4.0, 5.0, 8.0)), rng.choice((1.0, 2.0, 3.0))
    return Question(
        f"`w = torch.tensor([[1.0, -9.0], [-{top}, {small}]])`. "
        "What is `(w / w.abs().amax(dim=1, keepdim=True))[1, 1]`?",
        small / top,
        f"`amax(dim=1)` takes the largest of each row, {top} in the second, and every row is divided by its own. "
        "Refresher: 1, tensors.",
        atol=5e-3,
    )


def shapes(rng) -> Question:
    """The size of a matrix product."""
    tokens, outputs = rng.choice((2, 3, 5)), rng.choice((4, 6, 7))
    return Question(
        f"x has shape ({tokens}, 8) and w has shape ({outputs}, 8). How many numbers are in `x @ w.T`?",
        tokens * outputs,
        f"The result has shape ({tokens}, {outputs}): one number for each row of x and each row of w. "
        "Refresher: 2, matrix products.",
    )


def sizes(rng) -> Question:
    """From weights and bits to bytes."""
    millions, bits = rng.choice((2, 3, 5)), rng.choice((4, 2))
    return Question(
        f"A model has {millions} million weights. Each takes {bits} bits. How many MB is that (1 MB = 10^6 bytes)?",
        millions * bits / 8,
        f"A byte has 8 bits, so {millions} million weights take {millions} · {bits} / 8 million bytes. "
        "Refresher: 3, bits and bytes.",
        "MB",
    )


def decibels(rng) -> Question:
    """A ratio on a logarithmic scale."""
    power = rng.choice((2, 3, 4))
    return Question(
        f"What is 10 · log10({10**power})?",
        10 * power,
        f"log10 asks “ten to which power?”: {power}, because 10^{power} = {10**power}. "
        f"Asked is 10 times that. Refresher: 4, logarithms.",
    )


QUESTIONS = (rows, shapes, sizes, decibels)


class Readiness(Warmup):
    """The four questions; `answer(a, b, c, d)` checks them, None leaves one open."""

    def lines(self) -> list[str]:
        return [question.text for _, _, question in self.asked]

    def _title(self) -> str:
        return "Readiness check: four questions, five minutes; trying things in a cell is allowed"


def ready() -> Readiness:
    """Show the questions: `r = ready()`, then `r.answer(None, None, None, None)` with numbers in place of None."""
    rng = random.Random("ready")
    return render.show(Readiness("ch00", [(f"ch00.ready_{q.__name__}", "", q(rng)) for q in QUESTIONS]))
