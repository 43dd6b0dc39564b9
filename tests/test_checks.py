"""What a check says about right, wrong, empty, broken and hostile answers."""

import ast
import dataclasses
import functools

import numpy as np
import pytest
import torch

from course_lib.checks import Case, Wrong, check, compare, equals_reference, law
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS
from tests import toys


@pytest.fixture
def double():
    return toys.exercise()


def first(exercise, answer):
    judgement = exercise.judge(answer)
    assert judgement.state == FAIL
    return judgement.first


def message(exercise, answer):
    return first(exercise, answer).failure.message


def test_a_right_answer_passes_and_says_what_held(double):
    judgement = double.judge(lambda x, top=10.0: (x + x).clip(max=top))
    assert judgement.state == PASS
    assert [v.name for v in judgement.verdicts] == [p.name for p in double.properties] + ["leaves its inputs unchanged"]


@pytest.mark.parametrize("answer", [None, ..., [None, ...], {"a": None}])
def test_an_empty_answer_is_not_attempted(double, answer):
    assert double.judge(answer).state == NOT_ATTEMPTED


def test_a_function_that_is_not_written_yet_is_not_attempted(double):
    def stub(x, top=10.0):
        raise NotImplementedError

    assert double.judge(stub).state == NOT_ATTEMPTED
    assert double.judge(functools.partial(lambda x, top=10.0: None)).state == NOT_ATTEMPTED


def test_the_unchanged_stub_is_not_attempted_even_when_it_is_broken_code_to_repair(double):
    stub = "def double(x, top=10.0):\n    # mend me\n    return 2 * x\n"
    repair = toys.exercise(kind="repair", stub=stub)
    scope = {}
    exec(stub.replace("# mend me", "# a comment is no repair"), scope)
    assert repair.judge(scope["double"]).state == NOT_ATTEMPTED
    exec(stub.replace("2 * x", "3 * x"), scope)
    assert repair.judge(scope["double"]).state == FAIL


def test_an_unchanged_stub_that_imports_is_known_whether_compiled_whole_or_statement_by_statement(double):
    stub = "import math\n\ndef double(x):\n    return x * math.floor(2.5) + math.ceil(0.0)\n"
    exercise = dataclasses.replace(double, stub=stub)
    for parts in ([ast.parse(stub).body], [[s] for s in ast.parse(stub).body]):  # IPython takes the second road
        names = {}
        for part in parts:
            exec(compile(ast.Module(part, []), "<cell>", "exec"), names)
        assert exercise(names["double"]).state == NOT_ATTEMPTED


def test_a_forgotten_return_is_an_attempt_and_is_named(double):
    def answer(x, top=10.0):
        2 * x

    assert "is the return missing" in message(double, answer)


def test_the_smallest_failing_case_is_shown_and_cut_to_one_number(double):
    failure = first(double, lambda x, top=10.0: torch.where(x == 6.0, 99.0, (2 * x).clip(max=10))).failure
    assert failure.case.startswith("beyond")
    assert failure.inputs["x"].tolist() == [6.0]
    assert (failure.got.tolist(), failure.expected.tolist()) == ([99.0], [10.0])
    assert failure.message == "The result differs: yours 99.0, expected 10.0."


def test_a_mistake_that_needs_its_neighbours_is_not_cut(double):
    failure = first(double, lambda x, top=10.0: (2 * x).clip(max=10) + (len(x) > 1)).failure
    assert failure.case == "beyond" and len(failure.inputs["x"]) == 2
    assert failure.message == "The result differs at [0]: yours 11.0, expected 10.0 (2 of 2 numbers differ)."


@pytest.mark.parametrize("number", range(4))
def test_each_known_mistake_is_named(double, number):
    wrong = double.wrong[number]
    other = toys.exercise()  # the same functions, and yet another exercise object
    assert double.judge(wrong.answer).mistake.name == wrong.name
    assert wrong.diagnosis in str(other(wrong.answer))


def test_a_mistake_is_named_by_behaviour_not_by_identity(double):
    assert double.judge(lambda x, top=10.0: x * 2.0).mistake.name == "no limit"
    assert double.judge(lambda x, top=10.0: [][3]).mistake is None
    assert double.judge(lambda x, top=10.0: {"a": 1}["b"]).mistake.name == "raises"
    assert double.judge(lambda x, top=10.0: 2 * x + (x == 1.5)).diagnosis is None  # like "no limit", not where it shows


@pytest.fixture
def wider():
    """The toy exercise and two cases more: at -4 and -5 no known mistake is wrong but the one that adds two."""
    low = [Case("low", torch.tensor([-4.0, 0.5, 0.25])), Case("lower", torch.tensor([-5.0, 0.5, 0.25, 0.0]))]
    return toys.exercise(cases=[*toys.exercise().cases, *low])


def test_one_of_two_mistakes_is_named_and_said_to_be_one_of_two(wider):
    both = wider.judge(lambda x, top=10.0: 2 * x + (x == -4))  # no limit; and -4, which needs none, is off
    assert (both.diagnosis.wrong.name, both.diagnosis.explains, both.diagnosis.failing) == ("no limit", 2, 3)
    assert both.mistake is None  # for the log, and for a class' insights, only what explains all counts
    told = str(wider(lambda x, top=10.0: 2 * x + (x == -4)))
    assert "Perhaps in part: no limit. Clip the result at top. (It explains 2 of the 3 cases that fail, not the" in told
    assert "there is a second mistake, or another one that looks like it." in told
    assert "Perhaps" not in str(wider(lambda x, top=10.0: 2 * x))
    in_place = wider.judge(lambda x, top=10.0: x.mul_(2))  # that the input changes is told apart
    assert in_place.mistake.name == "no limit"


def test_a_mistake_is_not_named_where_it_explains_little(wider):
    def off_at_two(x, top=10.0):
        return 2 * x + (x == -4) + (x == -5)

    assert wider.judge(off_at_two).diagnosis.wrong.name == "no limit"  # two cases of four
    fewer = toys.exercise(cases=wider.cases[:1] + wider.cases[3:])
    assert fewer.judge(off_at_two).diagnosis is None  # one of three
    assert wider.judge(lambda x, top=10.0: 2 * x + (x == 6)).diagnosis is None  # unlike it in the case that is shown
    assert wider.judge(lambda x, top=10.0: 2 * x + (x == 12)).diagnosis is None  # unlike it in another


def test_what_counts_as_alike_makes_no_second_mistake(wider):
    unlimited = Wrong("no limit", lambda x, top=10.0: 2 * x - 8e-4, "Clip the result at top.")
    exercise = toys.exercise(alike=compare.Tolerance(atol=1e-3), wrong=[unlimited], cases=wider.cases)
    off = exercise.judge(lambda x, top=10.0: 2 * x - torch.where(x == 0.5, -8e-4, 8e-4))
    assert off.diagnosis == (unlimited, 2, 2)  # at 0.5 each is alike to the right answer, but not they to each other


def test_what_changes_its_input_is_not_taken_for_what_is_nearly_right(wider):
    def in_place(x, top=10.0):
        return x.mul_(2).clip_(max=top)

    changed = Wrong("in place", in_place, "Work on a copy.")
    exercise = toys.exercise(alike=compare.Tolerance(atol=1e-3), wrong=[changed])
    assert exercise.judge(in_place).mistake is changed
    assert exercise.judge(lambda x, top=10.0: toys.double(x, top) + 8e-4).diagnosis is None


def test_of_several_partial_mistakes_the_one_that_explains_most_is_named(wider):
    six = Wrong("six", lambda x, top=10.0: torch.where(x == 6, 12.0, toys.double(x, top)), "Six, too.")
    exercise = toys.exercise(cases=wider.cases, wrong=[six, *wider.wrong])
    assert exercise.judge(six.answer).mistake is six
    assert exercise.judge(lambda x, top=10.0: 2 * x + (x == -4)).diagnosis.wrong.name == "no limit"


def test_the_wrong_kind_is_named_before_values_are_compared(double):
    assert "expected a float32 tensor of shape (1,), got a float64 tensor" in message(
        double, lambda x, top=10: x.double()
    )
    assert "got a float32 tensor of shape (1, 1)" in message(double, lambda x, top=10.0: x[None])
    assert "got a list of 1 item" in message(double, lambda x, top=10.0: x.tolist())
    assert "got the number 3.0" in message(double, lambda x, top=10.0: 3.0)
    assert "an object of type Lie" in message(double, lambda x, top=10.0: Lie())
    assert "sparse" in message(double, lambda x, top=10.0: x.to_sparse())


def test_a_list_of_another_length_is_told_what_is_wrong_with_it_not_its_length():
    said = message(check.ch09.spend, lambda gains, costs, budget: list(gains))
    assert said.startswith("Yours cost ") and "list" not in said
    assert " bytes are left, and " in message(check.ch09.spend, lambda gains, costs, budget: [])
    law_free = first(check.ch14.opinion, lambda *args: []).failure
    assert law_free.only_size and "returns a list of another length: expected a list of" in law_free.message


def test_a_tensor_of_another_shape_is_told_what_a_law_makes_of_it():
    """Where a law asks for that; a tensor of another shape must not be judged by laws that only happen to run on it."""
    said = message(check.ch06.hessian, lambda x: x @ x.T)
    assert said.startswith("x has ") and "one row and one column for each weight, not for each token" in said
    assert message(check.ch04.pack, lambda codes, b: codes) == "2 codes of 4 bits are 8 bits. They fill 1 byte, not 2."
    flat = first(check.ch04.pack, lambda codes, b: codes[None]).failure
    assert (
        flat.only_size and "expected a uint8 tensor of shape (1,), got a uint8 tensor of shape (1, 2)" in flat.message
    )
    other = first(check.ch07.salient, lambda x, k: x.abs().mean(dim=0)[:k]).failure
    assert not other.only_size and "expected an int64 tensor" in other.message

    def speaks(got, x, top=10.0):
        return f"{got.numel()} numbers"

    for any_shape, said in (
        (True, "1 numbers"),
        (False, "Your function returns the wrong kind of result: expected a "),
    ):
        double = toys.exercise(properties=[equals_reference(), law("says", speaks, any_shape=any_shape)])
        assert message(double, lambda x, top=10.0: (2 * x).clip(max=top)[None]).startswith(said)


class Lie:
    """Claims to be equal to everything."""

    shape, dtype = (1,), torch.float32

    def __eq__(self, other):
        return True

    def __repr__(self):
        raise RuntimeError("no")


def test_numpy_answers_count(double):
    assert double.judge(lambda x, top=10.0: np.clip(2.0 * x.numpy().astype(np.float64), None, top)).state == PASS


def test_a_changed_input_is_named(double):
    def answer(x, top=10.0):
        return x.mul_(2).clip_(max=top)

    verdict = first(double, answer)
    assert verdict.name == "leaves its inputs unchanged" and "its input x" in verdict.failure.message
    assert verdict.failure.inputs["x"].tolist() == [1.5]  # as it was


def test_a_returned_buffer_that_changes_later_fools_nobody():
    buffer = torch.zeros(1)

    def answer(x, top=10.0):
        buffer.copy_(torch.clip(2 * x, max=top))
        return buffer

    one_each = [Case(str(v), torch.tensor([float(v)])) for v in range(4)]
    assert toys.exercise(cases=one_each).judge(answer).state == PASS


def test_an_exception_is_one_sentence_with_the_line(double):
    def answer(x, top=10.0):
        y = x * 2
        return y / y.nothing

    said = message(double, answer)
    assert "raised AttributeError" in said and "return y / y.nothing" in said and "\n" not in said
    assert first(double, answer).failure.inputs["x"].tolist() == [1.5]


def test_wrong_arguments_recursion_exit_and_memory_are_sentences(double):
    def endless(x, top=10.0):
        return endless(x, top)

    def leave(x, top=10.0):
        raise SystemExit

    assert "takes (x); the check calls it with (x, top)" in message(double, lambda x: x).replace("top=10.0", "top")
    assert "calls itself without an end" in message(double, endless)
    assert "SystemExit" in message(double, leave)
    assert "more memory than there is" in message(double, lambda x, top=10.0: bytearray(2**62))
    assert "too large to check" in message(double, lambda x, top=10.0: torch.zeros(1).expand(2**30))
    assert "write check.ch99.double(double), without calling it" in message(double, torch.zeros(2))


def test_an_exception_that_cannot_be_printed_is_still_a_sentence(double):
    class Mean(Exception):
        def __str__(self):
            raise RuntimeError

    def answer(x, top=10.0):
        raise Mean

    assert "raised Mean" in message(double, answer)


def test_the_stop_button_gets_through(double):
    def answer(x, top=10.0):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        double.judge(answer)


def test_prints_are_kept_apart_and_cut(double, capsys):
    def answer(x, top=10.0):
        print("<b>bold</b>" + "x" * 100_000)
        return torch.clip(2 * x, max=top)

    result = double(answer)
    assert result.state == PASS and capsys.readouterr().out == ""
    assert "&lt;b&gt;bold" in result.html() and "<b>" not in result.html() and len(result.html()) < 10_000


def test_nan_is_an_answer_that_can_be_right_or_wrong():
    nan = Case("nan", torch.tensor([float("nan"), 1.0]))
    exercise = toys.exercise(cases=[nan], properties=[equals_reference()])
    assert exercise.judge(toys.double).state == PASS
    assert "yours 0.0, expected nan" in message(exercise, lambda x, top=10.0: torch.nan_to_num(2 * x))


def test_a_claim_that_stumbles_over_the_result_is_a_failure_not_a_crash():
    exercise = toys.exercise(properties=[law("has three", lambda got, x, top=10.0: got[3] > 0)])
    assert message(exercise, toys.double) == "This could not be checked on your result (IndexError)."


def test_a_value_exercise():
    exercise = toys.value_exercise()
    assert exercise.judge({"half": 0.5, "count": 7}).state == PASS
    assert exercise.judge({"half": torch.tensor(0.5), "count": np.int64(7)}).state == PASS
    assert exercise.judge({"half": ..., "count": ...}).state == NOT_ATTEMPTED
    assert exercise.judge({"half": 0.5, "count": 8}).mistake.name == "eight"
    assert "missing 'count'" in message(exercise, {"half": 0.5})
    assert exercise.judge({"half": 0.5, "count": None}).message == "Not checked yet, still empty: count."
    for blank in ("x", [1], object()):  # a blank left open must not be filled in by the message
        assert "7" not in message(exercise, {"half": 0.5, "count": blank})
    assert "got the string '7'" in message(exercise, {"half": 0.5, "count": "7"})
    assert "type function" in message(exercise, lambda: 1)


def test_partial_credit_goes_by_property_and_tells_no_case(double):
    graded = toys.exercise(points=6)
    lines = graded.grade(lambda x, top=10.0: (3 * x).clip(max=top))
    assert [(line.ok, line.points) for line in lines] == [(False, 2.0), (True, 2.0), (True, 2.0)]
    assert graded.score(lambda x, top=10.0: (3 * x).clip(max=top)) == 4.0
    assert lines[0].message == "The result differs on at least one case."
    assert graded.score(None) == 0 and graded.grade(None)[0].message == "Not attempted."
    assert graded.score(lambda: None) == 0 and graded.score(toys.double) == 6


def test_names_are_found_completed_and_suggested():
    assert {"ch00", "ch01"} <= set(dir(check)) and "round_trip" in dir(check.ch01)
    with pytest.raises(AttributeError, match="did you mean round_trip"):
        check.ch01.roundtrip  # noqa: B018
    with pytest.raises(AttributeError, match=r"did you mean ch\d\d"):
        check.ch1  # noqa: B018
    assert repr(check.ch01.round_trip).startswith("ch01.round_trip (build): round_trip(w, s, b) ")


@pytest.mark.parametrize(
    "changes, said",
    [(dict(id="round"), "id must"), (dict(kind="guess"), "kind of"), (dict(stub="import torch"), "must define")],
)
def test_a_badly_defined_exercise_says_so(changes, said):
    with pytest.raises(ValueError, match=said):
        toys.exercise(**changes)


def test_a_wrong_answer_may_change_its_input_and_be_known_for_it():
    def in_place(x, top=10.0):
        return x.mul_(2).clip_(max=top)

    exercise = toys.exercise(wrong=[Wrong("in place", in_place, "Make a new tensor.")])
    assert exercise.judge(lambda x, top=10.0: x.add_(x).clip_(max=top)).mistake.name == "in place"


def test_a_partly_filled_claim_says_what_is_open():
    claim = check.ch01.error_bound
    judged = claim.judge({"worst": 0.1, "reach": ..., "at_2_4": None})
    assert judged.state == NOT_ATTEMPTED and judged.message == "Not checked yet, still empty: reach, at_2_4."
    assert claim.judge({"worst": ..., "reach": ..., "at_2_4": ...}).message.startswith("Nothing to check yet")
