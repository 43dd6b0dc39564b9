"""The notebook of today's reviews: for each exercise when it was passed, the mistake of then, and the blank stub.

It runs on its own. Nothing of the learner's old answer is in it, and nothing of the course's.
"""

import json
import re
import string
from datetime import date

from course_lib.checks import namespace
from course_lib.checks.review_schedule import HOW, Card
from course_lib.checks.reviews import day

NAME = "review.ipynb"
SENTENCE = (
    "Write each answer from memory and run its cell: what is right at the first go and without a hint "
    "comes back later, anything else tomorrow."
)
IMPORTS = "import math\n\nimport torch\n"
KERNELS = "import triton\nimport triton.language as tl\n"
OURS = "\nfrom course_lib import check, review  # check.ch06.hessian.hint() is there, as always"
ACTIVE = "\\*_[]<>$~&"  # what Markdown takes for more than itself in the middle of a line
READY = {  # what an exercise measures, made as its chapter makes it
    "ch03.mixed": (
        "from course_lib import Scheme, calibrate, models\n\n"
        "model, tokenizer = models.load('bundled')\n"
        "bot4 = calibrate.quantize_model(model, Scheme.int(4, group=128, scale_dtype=torch.float16), progress=False)\n"
        "total = sum(p.numel() for p in model.parameters())"
    ),
}


def notebook(cards: list[Card], today: date, files: dict[str, str]) -> bytes:
    """The notebook as bytes. `files` says which notebook a chapter is: {"ch06": "06-gptq.ipynb", …}.

    Errors: KeyError for a chapter that is not among `files`.
    """
    exercises = [namespace.find(card.exercise) for card in cards]
    cells = [_text("review-title", f"# Reviews of {day(today)}\n\n{SENTENCE}")]
    cells.append(_code("review-setup", IMPORTS + (KERNELS if any(e.launch for e in exercises) else "") + OURS))
    for card, exercise in zip(cards, exercises, strict=True):
        cells += _cells(card, exercise, files[exercise.chapter])
    cells.append(_code("review-end", "review()"))
    spec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": spec, "course_review": {"day": today.isoformat(), "exercises": [e.id for e in exercises]}}
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def covers(data: bytes, cards: list[Card], today: date) -> bool:
    """Is this a notebook of today's that asks for all of these already?"""
    try:
        made = json.loads(data)["metadata"]["course_review"]
        return made["day"] == today.isoformat() and {c.exercise for c in cards} <= set(made["exercises"])
    except (ValueError, KeyError, TypeError):
        return False


def _cells(card: Card, exercise, file: str) -> list[dict]:
    name = f"review-{exercise.id.replace('.', '-')}"
    link = f"[chapter {exercise.chapter[2:]}]({file})"
    when = f"You passed it on {day(card.passed)}, {HOW[card.first]}."
    text = f"## {exercise.title}\n\nFrom {link}: {plain(exercise.spec)}\n\n{when}{_mistakes(card, exercise)}"
    ready = [_code(f"{name}-ready", READY[exercise.id])] if exercise.id in READY else []
    source = f"{exercise.stub}\n\nreview.{exercise.id}({exercise.answer_name})"
    return [_text(f"{name}-text", text), *ready, _code(name, source, "exercise")]


def _mistakes(card: Card, exercise) -> str:
    """The mistakes by name, folded; one that the course does not know is text from the log, and stays text."""
    if not card.mistakes:
        return ""
    ours = {wrong.name for wrong in exercise.wrong}
    texts = [plain(n) if n in ours else plain(n[:200].replace("`", ""), string.punctuation) for n in card.mistakes]
    names = "".join(f"- {text}\n" for text in texts)
    return f"\n\n<details><summary>What went wrong so far</summary>\n\n{names}\n</details>"


def plain(text: str, marks: str = ACTIVE) -> str:
    r"""A text as Markdown that says just this; what stands between two backticks stays code.

    >>> print(plain("`up` is x[0](a_b)"))
    `up` is x\[0\](a\_b)
    """
    text = " ".join(text.split())
    parts, marks = ([text], f"{marks}`") if text.count("`") % 2 else (text.split("`"), marks)
    parts[::2] = [re.sub(f"([{re.escape(marks)}])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _text(id: str, source: str) -> dict:
    return {"cell_type": "markdown", "id": id, "metadata": {"tags": ["core"]}, "source": source}


def _code(id: str, source: str, *tags: str) -> dict:
    cell = {"cell_type": "code", "id": id, "metadata": {"tags": ["core", *tags]}, "source": source}
    return cell | {"execution_count": None, "outputs": []}
