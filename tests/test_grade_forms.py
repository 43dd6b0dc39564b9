"""A result of another form than was asked gets one clear sentence: in the visible checks, and on hidden cases."""

import numpy as np
import pytest
import torch

from course_lib.checks import Case
from course_lib.grading import forms, questions
from course_lib.grading.feedback_view import LOST, MISTAKE
from course_lib.grading.visible import Checks, same

ROW = torch.tensor([1.0, 2.0, 3.0])


def split(w, s):
    """Codes and what they stand for."""
    codes = torch.round(w / s).to(torch.int8)
    return {"codes": codes, "back": codes * s, "largest": codes.max().item(), "ends": (codes[0].item(), s)}


def asked():
    """A question with two cases, and its properties: an entry each."""
    cases = [Case("two", ROW[:2], 0.5), Case("three", ROW, 0.5)]
    entries = [
        questions.agrees(f"right {name}", cases, "Why.", 1, name) for name in ("codes", "back", "largest", "ends")
    ]
    return questions.question("ps00.q1", "Entries", "…", split, entries, [])


def other(**changed):
    """The reference with some entries in another form; None leaves an entry out."""

    def answer(w, s):
        found = split(w, s)
        made = {name: change(found[name]) for name, change in changed.items() if change}
        return {name: value for name, value in (found | made).items() if changed.get(name, True)}

    return answer


def hidden(answer, capsys):
    score = questions.scorer(lambda seed: [asked()], 1)("q1", answer)
    return score, capsys.readouterr().out


FORMS = [
    (other(codes=torch.Tensor.tolist), "Entry 'codes' of the result is a list where an int8 tensor is asked; write to"),
    (other(codes=torch.Tensor.float), "is a float32 tensor where an int8 tensor is asked; if its numbers are right, ."),
    (other(back=lambda t: t[None]), "is a tensor with too many axes; an axis of length 1 too many."),
    (other(back=lambda t: t.sum()), "Entry 'back' of the result is a tensor with too few axes."),
    (other(back=lambda t: t[:1]), "Entry 'back' of the result is a tensor with another shape than is asked."),
    (other(back=lambda t: t.numpy()[None]), "is a numpy array of another shape or dtype where a float32 tensor is"),
    (other(back=lambda t: None), "is nothing (None) where a float32 tensor is asked: does every path of your function"),
    (other(back=lambda t: [t, t]), "where a float32 tensor is asked; torch.stack(…) makes one tensor of many."),
    (other(largest=lambda n: torch.tensor([n])), "where a whole number is asked; .item() takes one number out."),
    (other(largest=str), "Entry 'largest' of the result is a string where a whole number is asked."),
    (other(largest=None), "The result lacks the key 'largest'."),
    (other(extra=None) and (lambda w, s: split(w, s) | {"x": 1}), "The result has keys that are not asked for."),
    (other(ends=lambda pair: pair[:1]), "'ends' of the result is a tuple of another number of values than the 2 that"),
    (other(ends=lambda pair: pair[::-1]), "Item 0 of entry 'ends' of the result is a number where a whole number is"),
    (lambda w, s: tuple(split(w, s).values()), "The result is a tuple where a dict is asked."),
    (lambda w, s: set(split(w, s)), "The result is something other than tensors, numbers, strings, lists, tuples and"),
]  # fmt: skip


@pytest.mark.parametrize("answer, said", FORMS, ids=[said[-40:] for _, said in FORMS])
def test_another_form_on_hidden_cases_is_named_without_a_value_or_a_size(answer, said, capsys):
    score, out = hidden(answer, capsys)
    assert score < 4 and said in out and out.count("Likely mistake: the form of the result.") == 1
    lines = out.strip().splitlines()
    assert all(LOST.match(line) or MISTAKE.match(line) for line in lines)  # what a feedback page shows
    told = next(line for line in lines if line.startswith("Likely"))
    assert not any(shown in told for shown in ("(2,)", "(3,)", "1.0", "0.5", "of 3 items")) and told[-1] in ".?"
    assert hidden(split, capsys) == (4.0, "")


def test_wrong_numbers_in_the_right_form_are_told_nothing_about_form(capsys):
    score, out = hidden(other(back=lambda t: t + 1), capsys)
    assert score == 3 and "form" not in out


def test_what_a_student_returns_is_not_repeated(capsys):
    _, out = hidden(lambda w, s: {"secret 17": w, **split(w, s)} | {"largest": "17"}, capsys)
    assert "17" not in out and "has keys that are not asked for" not in out.split("Likely")[0]


@pytest.mark.parametrize("answer", [lambda w, s: None, lambda w, s: print(w)])
def test_nothing_returned_is_told_the_difference_between_print_and_return(answer, capsys):
    score, out = hidden(answer, capsys)
    assert score == 0 and "is the return missing" in out and "only return hands it on" in out


CELL = """
checks = Checks("q1", points=1)
with checks("look"):
    LOOK
"""
LOOKS = [
    ('same(answer()["x"], 1)', lambda: None, "nothing (None) stands where a value is asked: is a return missing? p"),
    ("a, b = answer()", lambda: print(1), "is a return missing? print(…) shows a value, only return hands it on"),
    ("same(answer(), ROW)", lambda: None, "got nothing (None): is a return missing? print(…) shows a value, only"),
    ("same(answer(), ROW)", lambda: {1}, "expected a float32 tensor of shape (3,), got a set; list(…) makes a list"),
    ('same(answer()["x"], 1)', lambda: [1], "a list stands where a dict is asked"),
    ('same(answer()["x"], 1)', lambda: (1,), "a tuple stands where a dict is asked"),
    ('same(answer()["x"], 1)', lambda: {"y": 1}, "the dict lacks the key 'x'"),
    ('same(answer()["x"], 1)', lambda: 2.5, "a single value of type float stands where several are asked"),
    ('same(answer()["x"], 1)', lambda: same, "a function stands where its result is asked"),
    ("answer()[0, 1]", lambda: [[1, 2]], "a list stands where a tensor is asked; torch.tensor(…) or torch.stack"),
    ("answer().double()", lambda: [1], "a list stands where a tensor is asked"),
    ("answer()[0].double()", lambda: [1], "a value of type int stands where a tensor is asked"),
    ("answer()[4]", lambda: ROW, "the result is of another length or shape than is asked"),
    ("answer()[0, 0]", lambda: ROW, "the result is of another length or shape than is asked"),
    ("a, b = answer()", lambda: 1.0, "a single value of type float stands where several are asked"),
    ("a, b = answer()", lambda: (1, 2, 3), "2 values are asked, in a tuple"),
    ("float(answer())", lambda: ROW, "several numbers stand where one is asked"),
    ("torch.nn.functional.linear(ROW, answer())", lambda: ROW[:2], "cannot go on with what your function returned ("),
]  # fmt: skip


@pytest.mark.parametrize("look, answer, said", LOOKS, ids=[f"{look[0]} {k}" for k, look in enumerate(LOOKS)])
def test_a_check_that_cannot_use_a_result_does_not_say_that_the_function_raised(look, answer, said, capsys):
    names = dict(Checks=Checks, same=same, answer=answer, ROW=ROW, torch=torch)
    exec(compile(CELL.replace("LOOK", look), "<test cell>", "exec"), names)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not yet" in line]
    assert said in line and "raised" not in line


@pytest.mark.parametrize("wrong", [lambda: {}["x"], lambda: bool.x, lambda: torch.zeros(2) @ ROW, lambda: [][3]])
def test_what_the_function_raises_is_still_the_functions(wrong, capsys):
    names = dict(Checks=Checks, same=same, answer=lambda: {"x": wrong()}, ROW=ROW)
    exec(compile(CELL.replace("LOOK", 'same(answer()["x"], 1)'), "<test cell>", "exec"), names)
    assert "not yet    look: your function raised " in capsys.readouterr().out


def test_a_form_that_fits_is_no_difference():
    for got, expected in [
        (ROW, ROW),
        (ROW.numpy(), ROW),
        ((1, 2.0), [1, 2.0]),
        ({"a": [1]}, {"a": [2]}),
        (np.float64(1), 2.0),
    ]:
        assert forms.difference(got, expected) == ""
