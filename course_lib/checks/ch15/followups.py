"""Five questions that follow the course. Your answer is free text; what it should name is shown once you have answered.

A teacher marks them by the same points (one each); alone, you mark yourself.
"""

from dataclasses import dataclass

from course_lib.checks import render, store


@dataclass(frozen=True)
class FollowUp:
    """A question, what a full answer names (a point each), and the chapters that it comes from."""

    question: str
    names: tuple[str, ...]
    chapters: str


QUESTIONS = (
    FollowUp(
        "A model of 34 billion weights at 16 bits is 6 GB too large for the card. Which artifact do you try first?",
        (
            "4 bits fit by far: so a GPTQ or AWQ artifact whose kernel the runtime has, all of it on the card",
            "8 bits fit as well and risk less: 34 GB in place of 68, so try them if speed allows",
            "GGUF with part of the layers on the CPU only if even that does not fit: the CPU's part sets the pace",
        ),
        "03, 06, 07, 08",
    ),
    FollowUp(
        "A customer-support model in French got bad after it was calibrated on the English Wikipedia. What went wrong?",
        (
            "calibration measures which inputs are large: H in GPTQ, mean |x| in AWQ",
            "English text has other activations, so other weights were protected than those that French requests need",
            "the mending: calibrate on such requests, and prove it on held-out ones, not on perplexity of English",
        ),
        "06, 07, 13",
    ),
    FollowUp(
        "One loud channel ruins a 4-bit tensor with one scale. Why do scales per channel or per group help?",
        (
            "one scale must reach the loudest number, so its step is too coarse for all the others",
            "with a scale of its own only the loud channel's (or group's) step is coarse",
            "the price: 16 bits of scale for every row or group, 0.25 bits a weight at groups of 64",
        ),
        "01, 04",
    ),
    FollowUp(
        "The weights went to four bits (W4A16). With many long conversations memory still runs out. What next?",
        (
            "the KV cache grows with tokens and conversations, weights do not: size it first",
            "keep the cache in 8 bits or fewer, keys by channel, recent tokens as they are",
            "or fewer or shorter conversations, pages, a shared beginning",
        ),
        "05, 11",
    ),
    FollowUp(
        "The machine has fast FP8, and a model of 8 billion weights fits easily. Why may FP8 beat INT4?",
        (
            "FP8 computes in 8 bits, on both sides: large batches are bound by arithmetic, where W4A16 gains nothing",
            "it is the smaller loss: measure KL and the task of both before you take the larger one",
            "the memory that INT4 would save is not what is short here",
        ),
        "03, 10, 12",
    ),
)


class Asked(render.Shown):
    """A question; with an answer, also the points that a full answer names."""

    def __init__(self, number: int, answer: str | None, notes=()):
        self.number, self.entry, self.answer, self.notes = number, QUESTIONS[number - 1], answer, list(notes)

    def lines(self) -> list[str]:
        if self.answer is None:
            return [f"Write two or three sentences in place of None. See chapters {self.entry.chapters}."]
        points = [f"{mark}. {name}." for mark, name in enumerate(self.entry.names, 1)]
        return ["A full answer names, a point each:", *points, *self.notes]

    def text(self) -> str:
        return "\n".join([f"Question {self.number}. {self.entry.question}", *[f"    {line}" for line in self.lines()]])

    def html(self) -> str:
        title = f"Question {self.number}. {self.entry.question}"
        inside = f"<strong>{render.escape(title)}</strong>" + "".join(map(render.paragraph, self.lines()))
        return render.box(f"Question {self.number}", render.BARS["card"], inside)


def follow_up(number: int, answer: str | None = None) -> Asked:
    """Show question 1 … 5; with an answer, store it and show what a full one names.

    Errors: ValueError for another number, TypeError for an answer that is no text.
    """
    if number not in range(1, len(QUESTIONS) + 1):
        raise ValueError(f"number must be 1 … {len(QUESTIONS)}, got {number!r}")
    if answer is Ellipsis or answer is None or (isinstance(answer, str) and not answer.strip()):
        return render.show(Asked(number, None))
    if not isinstance(answer, str):
        raise TypeError(f"answer must be a text or None, got {type(answer).__name__}")
    notes = []
    try:
        store.append("follow_up", number=number, answer=answer[:4000])
    except store.StoreError as err:
        notes = [f"Note: {err}."]
    return render.show(Asked(number, answer, notes))
