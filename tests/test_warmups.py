"""Every warm-up question of every chapter: a finite answer, a reason, and fresh numbers for another seed."""

import math
import random

import pytest

from course_lib.checks import namespace
from course_lib.checks.warmups import questions

SEEDS = range(40)
EVERY = [
    pytest.param(ask, id=f"{chapter}.{ask.__name__}") for chapter in namespace.chapters() for ask in questions(chapter)
]


@pytest.mark.parametrize("ask", EVERY)
def test_a_question_asks_for_a_number_and_says_why(ask):
    asked = [ask(random.Random(seed)) for seed in SEEDS]
    for seed, question in zip(SEEDS, asked, strict=True):
        assert question.text.endswith("?") or "? (" in question.text, question.text
        assert question.because.endswith("."), question.because
        assert math.isfinite(question.answer) and -100 < question.answer < 1e6, question
        assert ask(random.Random(seed)) == question
    assert len({question.text for question in asked}) > 1
