"""What chapters 00 and 01 show and ask: the error plots, the readiness check, the warm-up questions."""

import random
import re

import numpy as np
import pytest
import torch

from course_lib import check
from course_lib.checks import render
from course_lib.checks.ch00 import ready
from course_lib.checks.ch00 import warmup as ch00
from course_lib.checks.ch01 import warmup as ch01
from course_lib.viz import explorers
from course_lib.viz.plots import ch01 as plots
from tests.fake_bot import MESSAGES, FakeBot

SEEDS = range(20)


def test_errors_stay_within_half_a_step_until_they_clip():
    w = np.linspace(-3, 3, 601)
    error = np.abs(plots.errors(w, 0.2, 4))
    inside = np.abs(w) <= 1.5
    assert error[inside].max() <= 0.1 + 1e-12
    assert np.allclose(error[~inside], np.abs(w[~inside]) - 1.4)


def test_the_two_parts_of_the_error_add_up_and_move_against_each_other():
    w = np.random.default_rng(0).normal(size=4096)
    parts = [plots.error_parts(w, s, 4) for s in (0.2, 0.3, 0.4, 0.6)]
    for s, (rounding, clipping) in zip((0.2, 0.3, 0.4, 0.6), parts, strict=True):
        assert rounding + clipping == pytest.approx(np.mean(plots.errors(w, s, 4) ** 2))
    rounding, clipping = zip(*parts, strict=True)
    assert list(rounding) == sorted(rounding) and list(clipping) == sorted(clipping, reverse=True)


def test_the_plots_draw_and_mark_a_smaller_step_than_max_abs():
    assert plots.error_by_weight(0.5, 3).axes[0].get_title(loc="left") == "The error of one weight, s = 0.5, 3 bits"
    axes = plots.error_by_step(torch.randn(4096, generator=torch.Generator().manual_seed(0)), 4).axes[0]
    best, top = (line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1)
    assert best < 0.8 * top


@pytest.mark.parametrize("seed", SEEDS)
def test_readiness_answers_are_what_the_questions_compute(seed):
    asked = ready.rows(random.Random(seed))
    code = re.search(r"`w = (.+)`\. What is `(.+)`\?", asked.text)
    w = eval(code[1], {"torch": torch})
    assert eval(code[2], {"w": w}).item() == pytest.approx(asked.answer)
    asked = ready.decibels(random.Random(seed))
    ratio = int(re.search(r"log10\((\d+)\)", asked.text)[1])
    assert 10 * np.log10(ratio) == pytest.approx(asked.answer)


def test_a_wrong_readiness_answer_names_its_refresher(course_home):
    questions = ready.ready()
    right = [q.answer for _, _, q in questions.asked]
    assert questions.answer(*right).right == [True] * 4
    marked = questions.answer(-1, *right[1:])
    assert marked.right == [False, True, True, True] and "Refresher: 1" in marked.text()
    assert questions.answer(None, None, None, None).right == [None] * 4


@pytest.mark.parametrize("seed", SEEDS)
def test_warm_up_answers_are_what_the_questions_compute(seed):
    def numbers(question):
        return [float(x) for x in re.findall(r"\d+(?:\.\d+)?", question.text)]

    w, s = numbers(asked := ch00.rounded_weight(random.Random(seed)))
    assert s * round(w / s) == pytest.approx(asked.answer)
    top, bits = numbers(asked := ch01.max_abs_step(random.Random(seed)))
    assert top / (2 ** (bits - 1) - 1) == pytest.approx(asked.answer)
    s, _, w = numbers(asked := ch01.clipped_error(random.Random(seed)))
    assert abs(plots.errors(w, s, 4)) == pytest.approx(asked.answer)
    asked = ch01.ties(random.Random(seed))
    assert torch.round(torch.tensor(numbers(asked)[0])).item() == asked.answer
    assert numbers(ch01.worst_rounding(random.Random(seed)))[0] / 2 == ch01.worst_rounding(random.Random(seed)).answer


def test_the_first_screen_says_whose_rounding_it_runs_on():
    def sentence(**whose):
        shown = explorers.break_the_bot(lambda w, s: w, bot=FakeBot(), messages=MESSAGES, **whose)
        return shown.frame(bits=8)[0]

    assert sentence().startswith("At 8 bits with your rounding the model")
    assert sentence(whose="the course's").startswith("At 8 bits with the course's rounding the model")
    assert "rounding" not in explorers.break_the_bot(bot=FakeBot(), messages=MESSAGES).frame(bits=8)[0]


def test_the_first_screen_keeps_its_marks_inside_and_is_low():
    scene = explorers.break_the_bot(bot=FakeBot(), messages=MESSAGES).frame(bits=3)[1]
    corners = [point for mark in scene.marks if mark.kind == "path" for point in mark.at]
    assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in corners)
    assert scene.height <= 300  # with title, cell, controls and sentence it then stands on a screen of 1280 x 800


def test_the_ruler_owes_no_error_to_floating_point():
    for w in (0.3, 0.6, 0.9, 1.2, 1.5):
        assert explorers.ruler(w=w, s=0.3, bits=5).frame()[0].endswith("comes back: no error at all.")
    assert "8 (a tie: it goes to the even mark)" in explorers.ruler(w=0.75, s=0.1, bits=5).frame()[0]


def card(exercise, answer):
    return render.Result(exercise, exercise.judge(answer)).text()


def test_a_function_that_raises_or_has_the_wrong_shape_is_not_accused_of_a_property():
    raised = card(check.ch00.rounding, lambda w, s: torch.rond(w))
    shape = card(check.ch00.rounding, lambda w, s: w.sum())
    for text in (raised, shape):
        assert "Failed" not in text and "Why" not in text
    assert "Your function raised AttributeError" in raised and "expected a float32 tensor of shape (1,)" in shape


def test_how_close_is_told_only_to_who_is_close():
    assert "Allowed difference" not in card(check.ch00.rounding, lambda w, s: torch.round(w / s))
    assert "Allowed difference" in card(check.ch00.rounding, lambda w, s: s * torch.round(w / s) * 1.0001)


def test_code_in_a_sentence_is_set_as_code_and_stays_harmless():
    assert render.spans("`a < b` and <i>") == "<code>a &lt; b</code> and &lt;i&gt;"
    assert render.spans("one ` alone") == "one ` alone"


def test_the_size_of_an_error_is_asked_and_a_blank_stays_blank():
    right = {"worst": 0.1, "reach": 1.5, "at_2_4": 1.0}
    assert "leave out the sign" in card(check.ch01.error_bound, right | {"at_2_4": -1.0})
    half = card(check.ch01.error_bound, {"worst": 0.1, "reach": ..., "at_2_4": 1.0})
    assert "still empty: reach" in half and "1.5" not in half
