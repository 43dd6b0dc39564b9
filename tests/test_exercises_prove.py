"""Every live exercise is proved, and the proof itself notices what is wrong with an exercise."""

import pytest
import torch

from course_lib.checks import Case, Wrong, law, namespace, prove
from tests import toys


@pytest.mark.parametrize("exercise", namespace.every(), ids=lambda e: e.id)
def test_the_checks_of_every_live_exercise_work(exercise):
    assert prove.problems(exercise) == []


def good(**changes):
    """The toy, with every property breakable."""
    return toys.exercise(**({"properties": toys.exercise().properties[:2]} | changes))


def test_the_toys_are_sound():
    assert prove.problems(good()) == []
    assert prove.problems(toys.value_exercise()) == []


def too_few():
    return good(wrong=toys.exercise().wrong[:3])


def harmless():
    return good(wrong=[*toys.exercise().wrong, Wrong("harmless", toys.double, "Nothing is wrong.")])


def alike():
    return good(wrong=[*toys.exercise().wrong, Wrong("same again", lambda x, top=10.0: 2.0 * x, "Clip it, please.")])


def wrong_reference():
    return good(properties=[*good().properties, law("positive", lambda got, x, top=10.0: bool((got > 0).all()))])


def idle_property():
    return good(properties=[*good().properties, law("finite", lambda got, x, top=10.0: bool(got.isfinite().all()))])


def other_signature():
    return good(stub="def double(x):\n    ...\n")


def large_example():
    return good(cases=[Case("large", torch.arange(-50.0, 50.0), 10.0)], properties=[law("sum", total)])


def total(got, x, top=10.0):
    return float(got.sum()) == float(toys.double(x, top).sum())


@pytest.mark.parametrize(
    "make, said",
    [
        (too_few, "has 3 known-wrong answers"),
        (harmless, "'harmless' gives 'pass'"),
        (alike, "'same again' is diagnosed as 'no limit'"),
        (wrong_reference, "the reference fails: positive"),
        (idle_property, "no wrong answer fails the property 'finite'"),
        (large_example, "shows 101 numbers; add a smaller case"),
        (other_signature, "stub takes (x), reference (x, top=10.0)"),
        (lambda: good(hints=["one"]), "has 1 hints"),
        (lambda: good(cases=good().cases * 2), "two cases are called 'one'"),
        (lambda: good(spec="a\nb"), "longer than one line"),
        (lambda: toys.value_exercise(solution_source=None), "needs a solution_source"),
        (lambda: toys.value_exercise(solution_source="claim = 3"), "as shown to learners does not pass"),
    ],
)
def test_the_proof_notices(make, said):
    assert any(said in problem for problem in prove.problems(make())), prove.problems(make())


def test_a_stub_that_does_something_is_noticed():
    exercise = toys.value_exercise(stub='claim = {"half": 0.5, "count": 7}')
    assert "the stub gives 'pass', not 'not attempted'" in prove.problems(exercise)


def test_the_command_lists_and_proves(capsys):
    assert prove.main(["ch01.round_trip"]) == 0
    assert "The round trip" in capsys.readouterr().out
    assert prove.main(["--prove", "ch01.round_trip"]) == 0
    assert "1 exercises, 0 problems" in capsys.readouterr().out.replace("1 exercise,", "1 exercises,")
    assert prove.main(["ch01.roundtrip"]) == 2
    assert "did you mean round_trip" in capsys.readouterr().out


def test_the_command_fails_when_a_proof_fails(monkeypatch, capsys):
    monkeypatch.setattr(namespace, "every", lambda: [too_few()])
    assert prove.main(["--prove"]) == 1
    assert "ch99.double: has 3 known-wrong answers" in capsys.readouterr().out
