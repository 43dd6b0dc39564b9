"""What a check says of two mistakes at once, of a result that lacks little, and of errors that are met every day."""

import hashlib
import math

import numpy as np
import pytest
import torch

from course_lib.checks import Case, Wrong, check, equals_reference, errors, lacking, namespace, plain
from course_lib.checks.shorten import number
from course_lib.checks.verdict import FAIL, PASS
from tests import toys
from tests.test_checks import message


def both_ends(x, top=10.0):
    return {"low": x.min().item(), "high": x.max().item()}


@pytest.fixture
def ends():
    """An exercise with two entries in its result, and a known mistake in each."""
    return toys.exercise(
        stub="def both_ends(x, top=10.0):\n    ...\n",
        reference=both_ends,
        properties=[equals_reference()],
        wrong=[
            Wrong("first for low", lambda x, top=10.0: both_ends(x) | {"low": x[0].item()}, "Not the first."),
            Wrong("last for high", lambda x, top=10.0: both_ends(x) | {"high": x[-1].item()}, "Not the last."),
            Wrong("constant", lambda x, top=10.0: {"low": 0.0, "high": 1.0}, "Look at x."),
        ],
    )


def test_mistakes_in_two_entries_of_a_result_are_named_together(ends):
    judged = ends.judge(lambda x, top=10.0: {"low": x[0].item(), "high": x[-1].item()})
    assert (judged.diagnosis.wrong.name, judged.diagnosis.second.name) == ("first for low", "last for high")
    assert judged.mistake is None
    assert str(judged.diagnosis) == (
        "Perhaps two mistakes at once: first for low. Not the first. And: last for high. Not the last."
    )
    assert ends.judge(lambda x, top=10.0: {"low": x[0].item(), "high": x.max().item() + 1}).diagnosis is None
    assert ends.judge(ends.wrong[1].answer).mistake is ends.wrong[1]


def test_mistakes_in_cases_apart_are_named_together():
    def no_sign(x, top=10.0):
        return torch.clip(2 * x.abs(), max=top)

    cases = [Case("low", torch.tensor([-1.0])), Case("high", torch.tensor([7.0])), Case("both", torch.tensor([2.0]))]
    no_limit = toys.exercise().wrong[0]
    exercise = toys.exercise(cases=cases, wrong=[no_limit, Wrong("no sign", no_sign, "Keep the sign.")])
    told = exercise.judge(lambda x, top=10.0: 2 * x.abs()).diagnosis
    assert (told.wrong.name, told.second.name) == ("no limit", "no sign")
    assert exercise.judge(lambda x, top=10.0: 2 * x.abs() + (x == 2)).diagnosis is None  # a third thing is wrong


def test_what_one_mistake_leaves_of_another_is_a_part_where_numbers_say_much():
    wrong = Wrong("thrice", lambda x, top=10.0: 3 * x, "Twice.")

    def thrice_and_half(x, top=10.0):
        return 3 * x + 0.5 * (x > 4)

    def named(*values):
        cases = [Case(str(value), torch.tensor([value])) for value in values]
        return toys.exercise(cases=cases, wrong=[wrong], properties=[equals_reference()]).judge(thrice_and_half)

    told = named(0.25, 0.75, 1.25, 5.0, 6.0).diagnosis
    assert (told.wrong, told.explains, told.failing, told.whole) == (wrong, 3, 5, False)
    assert named(0.25, 0.75, 5.0, 6.0).diagnosis is None  # two cases
    assert named(1.0, 2.0, 3.0, 5.0, 6.0).diagnosis is None  # 3, 6 and 9: small whole numbers are alike by chance
    assert named(0.25, 0.75, 1.25, *(5.0 + k for k in range(7))).diagnosis is None  # three of ten


ONE, ROW, COLUMN = torch.zeros(()), torch.zeros(3), torch.zeros(3, 1)


@pytest.mark.parametrize(
    "got, expected, said",
    [
        (ROW.double(), ROW, "if its numbers are right, .to(torch.float32) is all that is missing"),
        (ROW.to(torch.complex64), ROW, ""),
        (COLUMN.double(), ROW, ""),
        (COLUMN, ROW, "an axis of length 1 too many"),
        (ROW, COLUMN, "an axis of length 1 is missing, which keepdim=True keeps"),
        (ONE, torch.zeros(1, 1), "an axis of length 1 is missing, which keepdim=True keeps"),
        (COLUMN.T, COLUMN, "are rows and columns exchanged (.T)?"),
        (torch.zeros(2, 3), torch.zeros(3, 2), "are rows and columns exchanged (.T)?"),
        (torch.zeros(2, 6), torch.zeros(3, 4), ""),
        (torch.zeros(2, 3, 2), torch.zeros(2, 6), "if its numbers are right, .reshape(2, 6) is all that is missing"),
        (torch.zeros(0, 2), torch.zeros(0), ""),
        (torch.zeros(4), ROW, ""),
    ],
)
def test_what_a_tensor_lacks(got, expected, said):
    assert lacking.how_to_mend(got, expected).removeprefix("; ") == said


def test_what_is_no_tensor_is_told_how_to_become_one():
    said = lacking.how_to_make(torch.tensor([3.0, 1.0]).topk(1), torch.int64)
    assert said == "; max, min, sort and topk give (values, indices): take .values or .indices"
    assert lacking.how_to_make([1, 2], torch.int8) == "; write torch.tensor(…, dtype=torch.int8)"
    assert lacking.how_to_make([ROW, ROW], torch.float32) == "; torch.stack(…) makes one tensor of many"
    assert lacking.how_to_make(b"ab", torch.uint8).startswith("; torch.tensor(list(…), dtype=torch.uint8)")
    assert lacking.how_to_make(3.0, torch.float32) == ""
    said = message(check.ch07.salient, lambda x, k: x.abs().mean(0).topk(k))
    assert said.endswith("got a tuple of 2 items; max, min, sort and topk give (values, indices): take .values or "
                         ".indices.")  # fmt: skip


def test_one_number_counts_in_any_form_and_dtype():
    for form in (float, torch.tensor, np.float32, lambda v: torch.tensor(v, dtype=torch.float64), np.array):
        assert check.ch01.scale.judge(lambda w, b, form=form: form(step(w, b))).state == PASS
    assert check.ch01.scale.judge(lambda w, b: torch.tensor(step(w, b), dtype=torch.complex64)).state == FAIL
    grid = check.ch02.clamped
    assert grid.judge(lambda w, b: tuple(v.int() if k else v for k, v in enumerate(grid.reference(w, b)))).state == PASS


def step(w, b):
    return w.abs().max().item() / (2 ** (b - 1) - 1) or 1.0


def converted(value, dtype, other):
    if isinstance(value, torch.Tensor):
        return value.to(other) if value.dtype == dtype else value
    if isinstance(value, (list, tuple)):
        return type(value)(converted(item, dtype, other) for item in value)
    return value


CHOICES = [e for e in namespace.every() if e.kind in ("measure", "design") and e.takes_function]


@pytest.mark.parametrize("exercise", CHOICES, ids=lambda exercise: exercise.id)
def test_who_chooses_the_best_chooses_the_same_in_float64(exercise):
    """The best of a case is the best by more than rounding: a right answer in float64 must not lose a race of ulps."""

    def doubled(*args):
        given = converted(plain.fresh(args), torch.float32, torch.float64)
        return converted(exercise.reference(*given), torch.float64, torch.float32)

    assert exercise.judge(doubled).state == PASS


def single(value):
    if isinstance(value, float):
        return torch.tensor(value).item()
    return type(value)(map(single, value)) if isinstance(value, (list, tuple)) else value


FIGURES = "ch03.tokens_per_s ch03.break_even ch03.speedup ch12.predicted ch13.wilson ch13.mcnemar ch14.cost ch15.off_by"


@pytest.mark.parametrize("name", FIGURES.split())
def test_figures_worked_out_in_float32_are_near_enough(name):
    exercise = namespace.find(name)
    assert exercise.judge(lambda *args: single(exercise.reference(*args))).state == PASS


def test_a_set_and_a_generator_are_told_to_become_a_list():
    said = message(check.ch09.spend, lambda gains, costs, budget: set(gains))
    assert said.startswith("Your function returns the wrong kind of result: expected a list of 1 item, got a set; list")
    assert "got a generator; list(…) makes a list of it." in message(
        check.ch05.fold, lambda gain, weights, s: (gain / s, (w * s for w in weights))
    )


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu])
def test_floats_of_eight_bits_which_torch_does_not_compare_are_told_to_be_widened(dtype):
    said = message(check.ch10.fp8_rows, lambda x: (check.ch10.fp8_rows.reference(x)[0].abs().to(dtype), x[:, :1]))
    assert "expected a float32 tensor of shape (1, 2) as item 0, got a float8_e" in said
    assert "if its numbers are right, .to(torch.float32) is all that is missing" in said


def test_floats_of_four_bits_which_torch_cannot_read_are_refused():
    pairs = torch.zeros(1, 2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    assert "got a tensor of float4_e2m1fn_x2, two numbers a byte" in message(check.ch10.fp8_rows, lambda x: pairs)


def test_arguments_that_only_a_later_case_gives_are_missed_before_the_first_call():
    said = message(check.ch03.weight_bytes, lambda params, bits, group: 0)
    assert said.startswith(
        "Your function takes (params, bits, group); the check calls it with (params, bits, group, sc"
    )


def huge(x, top=10.0):
    return torch.zeros(10**14)


def leaves(x, top=10.0):
    raise SystemExit


@pytest.mark.parametrize(
    "answer, said",
    [
        (
            lambda x, top=10.0: 10**5000,
            "expected a float32 tensor of shape (1,), got a whole number of 16,610 bits, too l",
        ),
        (lambda x, top=10.0: [-(10**5000)], "got a whole number of 16,610 bits, too large to check."),
        (lambda x, top=10.0: 10**300, "got the integer 1.0000e+300."),
        (huge, "raised MemoryError (it asked for more memory than there is), on line"),
        (leaves, "raised SystemExit (it asked Python to end), on line"),
        (lambda x, top=10.0: ONE, "got a float32 tensor without axes; an axis of length 1 is missing"),
    ],
)
def test_strange_answers_get_one_clear_sentence(answer, said):
    assert said in message(toys.exercise(), answer)


def test_a_number_too_large_for_a_float_is_no_crash_where_one_is_asked():
    for answer in (lambda w, b: 10**5000, lambda w, b: 10**300, lambda w, b: -(2**1000)):
        assert check.ch01.scale.judge(answer).state == FAIL


W = torch.ones(2, 3)
RAISED = {
    "need one truth value": lambda: 1 if W > 0 else 2,
    "Python's own `max` and `min`": lambda: max(W, W + 1),
    "as `int()` gives it": lambda: range(W),
    "take `.values` or `.indices`": lambda: W.max(dim=1) / 7,
    "`.values` or `.indices`": lambda: W[:, torch.sort(W)],
    "it is `.indices`": lambda: W[torch.sort(W)],
    "take one number": lambda: float(W),
    "the functions of `math` take one": lambda: math.sqrt(W),
    "`keepdim=True` or `[:, None]`": lambda: W / W.amax(dim=1),
    "keeps one for the rows": lambda: torch.ones(2).add_(torch.ones(3, 2)),
    "is a `.T` missing": lambda: W @ W,
    "one dtype on both sides": lambda: W @ W.int().T,
    "write `w = w / s`": lambda: W.int().div_(2),
    "wants exactly as many numbers": lambda: torch.ones(9).reshape(-1, 8),
    "take a number": lambda: torch.minimum(W, 0),
    "`.long()` first": lambda: W >> 1,
    "written `**`": lambda: 2.0 ^ 2.0,
    "in Python a power": lambda: W ^ 2,
    "`.float()` first": lambda: W.int().mean(),
    "of the stub is still there": lambda: torch.cat([W, ...]),
    "`import math`": lambda: eval("math.pi", {}),
    "`import numpy as np`": lambda: eval("np.pi", {}),
    "`from statistics import NormalDist`": lambda: eval("NormalDist()", {}),
    "for one number there is `math`": lambda: torch.sqrt(2.0),
    "a hash is of bytes": lambda: hashlib.sha256("ada"),
}


@pytest.mark.parametrize("helps", RAISED)
def test_errors_that_are_met_every_day_come_with_what_helps(helps):
    """Against the errors that this torch and this Python really raise."""
    said = message(toys.exercise(), lambda x, top=10.0: RAISED[helps]())
    assert ". What helps: " in said and helps in said.split("What helps")[1] and said.count("\n") == 0


def test_of_other_errors_nothing_is_guessed():
    said = [
        "KeyError: 'x'",
        "NameError: name 'qmax' is not defined",
        "ValueError: no",
        "ZeroDivisionError: division by 0",
    ]
    assert not any(map(errors.remark, said))


@pytest.mark.parametrize(
    "value, text", [(1.9999998807907104, "1.99999988"), (3141.60009765625, "3141.6"), (3091.28, "3091.28"),
                    (2.0, "2.0"), (math.pi, "3.142"), (1 + 1e-15, "1.000000000000001")]  # fmt: skip
)  # fmt: skip
def test_a_number_is_no_longer_than_it_takes_not_to_look_whole(value, text):
    assert number(value) == text
