"""A stand-in for the bundled model, for tests of the first screen: right at 5 bits and more, then worse and worse."""

import re

from course_lib.models.task import Example
from course_lib.viz.bot import Reply

SIZES = {bits: 530_000 + 294_500 * bits for bits in (16, 8, 7, 6, 5, 4, 3, 2)}


def _line(item, shelf, qty, do, eur):
    return {"item": item, "shelf": shelf, "qty": qty, "do": do, "eur": eur, "sum": eur}


MESSAGES = [
    Example(
        "Hey, please look at olive-5426. 1 red jacket (70 euros), missing from the parcel. I found it cheaper "
        "elsewhere: 1 blue clock, 40 euros. 2 days ago it arrived. A voucher is fine.",
        {"order": "olive-5426", "days": 2, "lines": [
            _line("red jacket", 374, 1, "resend", 0), _line("blue clock", 814, 1, "refund", 40)],
         "total": 40, "pay": "voucher"},
    ),
    Example(
        "Dear team, order iris-2176. The parcel came 22 days ago. 1 grey kettle (30 euros), was not in the box. "
        "2 white mugs (40 euros together), too large. Please use my bank account. Thanks!",
        {"order": "iris-2176", "days": 22, "lines": [
            _line("grey kettle", 961, 1, "resend", 0), _line("white mug", 598, 2, "exchange", 0)],
         "total": 0, "pay": "bank"},
    ),
]  # fmt: skip


class FakeBot:
    """Answers MESSAGES: two digits of the order swapped at 4 bits, a wrong total at 3, no JSON at 2."""

    def __init__(self):
        self.answers = {example.prompt: example.answer.strip() for example in MESSAGES}

    def tokens(self, text):
        return re.findall(r"[a-z]{1,3}|\d{1,2}|[^a-z\d]{1,3}|.", text, flags=re.S)

    def reply(self, prompt, bits):
        text = self.answers[prompt]
        if bits == 4:
            text = re.sub(r"-(\d)(\d)", lambda m: f"-{m[2]}{m[1]}", text, count=1)
        if bits == 3:
            text = text.replace('"total":', '"total":9')
        if bits == 2:
            text = text[: len(text) // 2] + '"the the the'
        return Reply(text, SIZES[bits])
