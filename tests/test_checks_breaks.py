"""The kind "break": what an input is told, and that only the fault that is meant counts."""

import importlib
import itertools

import numpy as np
import pytest
import torch

from course_lib.checks import Wrong, breaks, compare, namespace, render
from course_lib.checks.breaks import break_exercise
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS
from tests import toys

BREAKS = [exercise for exercise in namespace.every() if exercise.kind == "break"]


def largest(x):
    """Promise: the largest number of x."""
    return x[:2].max()


def _trial(program, x):
    got = program(x).item()
    return got == x.max().item(), f"the largest is {got:g}"


def toy(**changes):
    fields = dict(
        id="ch99.largest", title="t", spec="s", program=largest, right=lambda x: x.max(), trial=_trial,
        legal=lambda x: x.dim() == 1 and len(x) > 0 or "One row.", name="x", asked="a row",
        answer="torch.tensor([0.0, 0.0, 1.0])",
        wrong=[Wrong("short", torch.ones(1), "Short.", like=lambda x: len(x) < 3),
               Wrong("two", torch.ones(3), "The first two hold the largest."),
               Wrong("long", torch.tensor([0.0, 0.0, 0.0, 1.0]), "Too long."),
               Wrong("flat", torch.tensor(1.0), "No row.")],
        hints=["a", "b", "c"], passed="Well broken.")  # fmt: skip
    return break_exercise(**(fields | changes))


def told(exercise, answer):
    return render.Result(exercise, exercise.judge(answer)).text()


def test_an_input_of_any_size_is_judged_by_what_both_programs_make_of_it():
    exercise = toy()
    assert exercise.judge(...).state == NOT_ATTEMPTED
    said = told(exercise, torch.tensor([-3.0, -3.0, 2.0]))
    assert "With the author's program the largest is -3. With a right one the largest is 2.\nWell broken." in said
    assert "With both programs the largest is 5." in told(exercise, torch.tensor([5.0, 1.0]))
    assert "Yours has 5 numbers. 3 are enough." in told(exercise, torch.arange(5.0))
    assert exercise.judge(np.float32([-3, -3, 2])).state == PASS, "an array of that kind counts as a tensor"


def test_what_a_right_program_cannot_do_either_is_not_the_fault():
    exercise = toy(trial=lambda program, x: (bool(x.isfinite().all()) and _trial(program, x)[0], "it is lost"))
    judgement = exercise.judge(torch.tensor([0.0, 0.0, float("inf")]))
    assert judgement.first.failure.message.startswith("Even with a right program it is lost.")


def test_a_mistake_is_found_only_among_inputs_that_fail_as_its_example_does():
    exercise = toy()
    for answer, name in ((torch.ones(2), "short"), (torch.ones(7), "two"), (torch.arange(9.0), "long"),
                         (torch.ones(2, 2), "flat")):  # fmt: skip
        assert exercise.judge(answer).mistake.name == name
    for other in ([0.0, 0.0, 1.0], torch.ones(3, dtype=torch.int64), np.ones(3), b"", "x", {"x": 1}):
        judgement = exercise.judge(other)
        assert judgement.state == FAIL and judgement.mistake is None, other
        assert "expected a float32 tensor, got " in judgement.first.failure.message


def test_a_tensor_of_another_type_hears_how_to_write_one():
    for wanted, given, how in ((torch.float32, torch.ones(3, dtype=torch.int64), "; write 1.0 for 1"),
                               (torch.float32, torch.ones(3).double(), "; add dtype=torch.float32"),
                               (torch.int8, torch.ones(3), "; add dtype=torch.int8"),
                               (torch.int8, torch.ones(3, dtype=torch.int64), "; add dtype=torch.int8")):  # fmt: skip
        with pytest.raises(compare.Mismatch, match=f"got an? [a-z0-9]+ tensor of shape \\(3,\\){how}$"):
            compare.fit(given, compare.AnyShape(wanted))
    for wanted, how in ((torch.float32, r"torch.tensor\(…\)"), (torch.int8, r"torch.tensor\(…, dtype=torch.int8\)")):
        with pytest.raises(compare.Mismatch, match=f"got a list of 2 items; write {how}$"):
            compare.fit([-128, 1], compare.AnyShape(wanted))
    with pytest.raises(compare.Mismatch, match=r"expected bytes, got a tuple of 2 items; write bytes\(\[…\]\)$"):
        compare.fit((4, 0), b"")
    with pytest.raises(compare.Mismatch, match="got the number 1.5$"):
        compare.fit(1.5, compare.AnyShape(torch.int8))


def test_mistakes_that_look_like_others_are_told_apart():
    array, search = (namespace.find(f"ch{name}") for name in ("08.break_array", "07.break_search"))
    for kind, power in ((4, 62), (10, 61), (10, 63)):
        eight = kind.to_bytes(8, "little") + (2**power).to_bytes(8, "little")
        assert array.judge(eight).mistake.name == "a type of eight bytes"
    for count, name in (
        (1000, "more than there is, and refused"),
        (64, "the count the wrong way round"),
        (2**40, "more than there is, and refused"),
    ):
        alone = (4).to_bytes(4, "little") + count.to_bytes(8, "little")  # 64 is 2**62, read from its other end
        assert array.judge(alone).mistake.name == name
    honest = (4).to_bytes(4, "little") + (1).to_bytes(8, "little") + bytes(4)
    assert array.judge(honest).mistake.name == "an honest array"
    for size in (0, 4, 10):
        digits = array.judge(size.to_bytes(4, "little") + str(2**62).encode())
        assert digits.mistake.name == "a count in digits"
    many = torch.full((1, 65), 1e-4)
    assert search.judge((many, torch.ones(1, 65))).mistake is None  # too many, whatever they are
    assert search.judge((many[:, :2], torch.ones(1, 2))).mistake.name == "extreme numbers"


def test_a_mistake_that_stumbles_over_an_answer_is_not_its_name():
    value = toys.value_exercise()
    stumbles = Wrong("stumbles", {"half": 2, "count": 0}, "Never.", like=lambda got: got["third"])
    judgement = toys.value_exercise(wrong=[stumbles, *value.wrong]).judge(value.wrong[0].answer)
    assert judgement.state == FAIL and judgement.mistake.name == value.wrong[0].name


def test_usable_is_the_answer_that_passed_else_the_course_s():
    exercise, mine = toy(), torch.tensor([1.0, 1.0, 2.0])
    assert exercise.usable(mine) == (mine, "yours")
    for other in (..., None, torch.ones(3), "x"):
        assert exercise.usable(other) == (exercise.reference, "the course's")


def test_shapeless_keeps_kinds():
    form = compare.shapeless((torch.zeros(2, dtype=torch.int8), [b"ab", 3]))
    assert form == (compare.AnyShape(torch.int8), [b"ab", 3])
    assert compare.wanted(form[0]) == "an int8 tensor"
    assert breaks.size((torch.zeros(2, 3), b"abc")) == 9


@pytest.mark.parametrize("exercise", BREAKS, ids=lambda e: e.id)
def test_stub_and_solution_differ_in_the_input_alone(exercise):
    head, answer = exercise.stub.rsplit("\n", 1)
    solved, given = exercise.reference_source().rsplit("\n", 1)
    assert head == solved and head.startswith("def ") and "Promise: " in head
    assert answer.startswith(f"{exercise.answer_name} = ...  # ") and given.startswith(f"{exercise.answer_name} = ")
    assert len(exercise.cell.splitlines()) <= 15


@pytest.mark.parametrize("exercise", BREAKS, ids=lambda e: e.id)
def test_nothing_smaller_than_the_course_s_input_does_it(exercise):
    if isinstance(exercise.reference, bytes):
        smaller = [exercise.reference[:k] + exercise.reference[k + 1 :] for k in range(len(exercise.reference))]
    elif isinstance(exercise.reference, tuple):  # one channel in place of two
        smaller = [tuple(t[:, [k]] for t in exercise.reference) for k in range(2)]
    else:
        smaller = [exercise.reference[[k]] for k in range(len(exercise.reference))]
    assert all(exercise.judge(each).state == FAIL for each in smaller)


def test_no_single_int8_and_no_two_without_minus_128_break_the_first_one():
    exercise = namespace.find("ch01.break_narrow")
    ends = (-128, -127, -126, -64, -8, -7, -1, 0, 1, 7, 8, 64, 111, 119, 120, 126, 127)
    found = [
        pair for n in (1, 2) for pair in itertools.product(ends, repeat=n)
        if exercise.judge(torch.tensor(pair, dtype=torch.int8)).state == PASS
    ]  # fmt: skip
    assert found and all(len(pair) == 2 and -128 in pair for pair in found)
    assert {max(map(abs, set(pair) - {-128})) for pair in found} == {0, 1, 7, 8, 64, 111, 119}


def test_random_layers_that_are_heard_everywhere_do_not_break_the_search():
    exercise, g = namespace.find("ch07.break_search"), torch.Generator().manual_seed(0)
    for _ in range(40):
        x, w = torch.randn(1, 2, generator=g) * torch.tensor([8.0, 1.0]), torch.randn(1, 2, generator=g)
        assert exercise.judge((x, w)).state == FAIL
        x[:, 1] = 0
    for loud in (8.0, 1.0, 0.5):  # 1 ** α is 1, so a factor of 1 for silent channels would leave nothing to choose
        layer = torch.tensor([[loud, 0.0]]), torch.tensor([[0.45, 1.0]])
        assert exercise.judge(layer).state == PASS


def test_the_programs_pass_what_their_authors_tried():
    """As the chapters tell it."""
    g = torch.Generator().manual_seed(1)

    def keeps(name, given):
        module = importlib.import_module(f"course_lib.checks.{name}")
        assert module.trial(getattr(module, module.EXERCISE.stub.split("(")[0].removeprefix("def ")), given)[0]

    for _ in range(1000):
        keeps("ch01.break_narrow", torch.randint(-127, 128, (8,), generator=g, dtype=torch.int8))
    keeps("ch02.break_watch", torch.randn(1000, 16, generator=g).relu())
    for _ in range(100):
        keeps("ch07.break_search", (torch.randn(16, 8, generator=g), torch.randn(6, 8, generator=g)))
    for size, count in itertools.product((0, 4, 10), (*range(1001), *(2**k for k in range(61)))):
        head = size.to_bytes(4, "little") + count.to_bytes(8, "little")
        keeps("ch08.break_array", head)
        keeps("ch08.break_array", head + bytes(min(count, 1000) * {0: 1, 4: 4, 10: 8}[size]))
