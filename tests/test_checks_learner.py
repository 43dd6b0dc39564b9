"""Predictions, warm-ups, hints, solutions, and the learner's own pieces."""

import ast
import linecache
import random

import pytest
import torch

from course_lib.checks import cells, check, mine, namespace, pieces, predict, predictions, store, warmup, warmups
from course_lib.checks.curve import points

ROUND_TRIP = """def round_trip(w, s, b):
    qmax = 2 ** (b - 1) - 1
    return s * torch.clip(torch.round(w / s), -qmax, qmax)
"""


def cell(source, name="round_trip", **scope):
    """The function that a notebook cell with this source defines."""
    filename = f"<cell {len(linecache.cache)} {name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    scope = {"torch": torch, "check": check, **scope}
    exec(compile(source, filename, "exec"), scope)
    return scope[name]


# predictions


def test_a_guess_is_stored_before_its_outcome():
    prediction = predict("ch01.bits", 30, unit="dB")
    assert [(r["event"], r["guess"]) for r in store.records()] == [("predict", 30)]
    said = str(prediction.outcome(torch.tensor(36.5)))
    assert "your guess: 30 dB" in said and "outcome: 36.5 dB" in said and "difference: +6.5 dB" in said
    assert predictions.all_predictions() == {"ch01.bits": (30, 36.5, "dB")}


def test_a_prediction_in_one_line_runs_the_measurement_after_the_guess_is_stored():
    def measure():
        assert store.records("predict")[0]["guess"] == 5
        return 7

    assert predict("ch01.n", 5, outcome=measure).value == 7


def test_the_first_guess_counts_and_no_guess_runs_on():
    predict("ch01.n", 5, 7)
    predict("ch01.n", 7, 7)
    assert predictions.all_predictions()["ch01.n"] == (5, 7, "")
    assert "You made no guess" in str(predict("ch01.m", None, 7))
    assert "ch01.m" not in predictions.all_predictions()
    with pytest.raises(TypeError, match="guess must be a number, a short text or None, got list"):
        predict("ch01.n", [3])


# warm-ups


def test_a_warm_up_asks_three_different_questions_and_stays_the_same_for_the_day(monkeypatch):
    first = warmup("ch02")
    assert len({name for name, _, _ in first.asked}) == 3
    assert first.asked[0][0].startswith("ch01.") and first.asked[1][0].startswith("ch00.")
    assert warmup("ch02").asked == first.asked
    monkeypatch.setattr(warmups, "_today", lambda: "2031-01-01")
    assert warmup("ch02").asked != first.asked


def test_answers_are_marked_one_sentence_each():
    warm = warmup("ch02")
    right = [question.answer for _, _, question in warm.asked]
    assert warm.answer(*right).right == [True] * 3
    marked = warm.answer(right[0] + 100, None, "x")
    assert marked.right == [False, None, False]
    lines = str(marked).splitlines()
    assert "So it is" in lines[0] and "Not attempted." in lines[1] and "A number is asked for" in lines[2]
    assert warm.answer(None, None, None).right == [None] * 3
    assert len(store.records("warmup")) == 2  # an unattended run leaves no mark
    with pytest.raises(TypeError, match="3 questions, got 4 answers"):
        warm.answer(1, 2, 3, 4)


@pytest.mark.parametrize("chapter", ["ch00", "02", None])
def test_a_warm_up_for_nothing_is_one_sentence(chapter):
    with pytest.raises(ValueError, match="warm-ups begin with ch02|chapter must be"):
        warmup(chapter)


def test_questions_from_far_back_are_four_or_more_chapters_old(monkeypatch):
    monkeypatch.setattr(warmups, "questions", lambda c: (lambda rng: warmups.Question("?", int(c[2:]), "."),))
    for day in range(10):
        monkeypatch.setattr(warmups, "_today", lambda day=day: str(day))
        back = [9 - question.answer for _, _, question in warmup("ch09").asked]
        assert back[:2] == [1, 2] and back[2] >= 4


@pytest.mark.parametrize("chapter", namespace.chapters())
def test_every_question_has_fresh_numbers_and_accepts_its_own_answer(chapter):
    for question in warmups.questions(chapter):
        made = [question(random.Random(seed)) for seed in range(30)]
        assert len({q.text for q in made}) > 2, f"{question.__name__} always asks the same"
        for q in made:
            assert warmups._mark(q, q.answer)[0] and not warmups._mark(q, q.answer + 10 * q.atol + 0.5)[0]
            assert "\n" not in q.text and q.because.endswith((".", ":"))


# hints and solutions


def test_hints_come_one_by_one_and_the_last_one_stays():
    exercise = check.ch01.round_trip
    shown = [str(exercise.hint()) for _ in range(4)]
    assert [hint in text for hint, text in zip([*exercise.hints, exercise.hints[2]], shown, strict=True)] == [True] * 4
    assert exercise.hints[0] in str(exercise.hint(1))


def test_a_solution_needs_an_attempt_or_now_and_is_remembered():
    exercise = check.ch01.round_trip
    assert "Try it once first" in str(exercise.solution()) and store.records("solution") == []
    exercise(None)
    assert "Try it once first" in str(exercise.solution())  # an empty answer is no attempt
    exercise(lambda w, s, b: w)
    assert "torch.clip(torch.round(w / s), -qmax, qmax)" in str(exercise.solution())
    assert len(store.records("solution")) == 1
    assert "marked as seen" in str(check.ch01.scale.solution(now=True))


# pieces


def test_a_passed_cell_is_saved_whole_and_used(course_home):
    answer = cell("HALF = 2\n" + ROUND_TRIP + "\ncheck.ch01.round_trip\nr = check.ch01.round_trip(None)\n")
    assert "Saved: round_trip is now a piece" in str(check.ch01.round_trip(answer))
    saved = (course_home / "my_quantizer" / "ch01.round_trip.py").read_text()
    assert "HALF = 2" in saved and "\n# r = check.ch01.round_trip(None)" in saved
    ast.parse(saved)
    loaded = mine.pieces()
    assert loaded.whose["round_trip"] == "yours" and loaded.whose["scale"] == "the course's"
    assert loaded.round_trip(torch.tensor([0.73]), 0.1, 4).item() == pytest.approx(0.7)


def test_a_name_from_another_cell_is_asked_into_this_one(course_home):
    source = ROUND_TRIP.replace("2 ** (b - 1) - 1", "largest(b)")
    result = check.ch01.round_trip(cell(source, largest=lambda b: 2 ** (b - 1) - 1))
    assert result.state == "pass" and "the cell uses largest but does not define it" in str(result)
    assert not list(course_home.glob("my_quantizer/*"))


def test_an_earlier_piece_may_be_used_by_name():
    check.ch01.round_trip(cell(ROUND_TRIP))
    scope = {"round_trip": check.ch01.round_trip.reference}
    answer = cell(
        "def scale(w, b):\n    round_trip(w, 1.0, b)\n    top = w.abs().max()\n"
        "    return top / (2 ** (b - 1) - 1) if top > 0 else torch.tensor(1.0)\n",
        "scale",
        **scope,
    )
    result = check.ch01.scale(answer)
    in_order = [e.name for e in namespace.exercises("ch01").values()]
    assert in_order.index("round_trip") < in_order.index("scale")
    assert "Saved: scale" in str(result)


def test_a_saved_piece_that_breaks_later_falls_back_and_says_why(course_home):
    folder = course_home / "my_quantizer"
    folder.mkdir()
    (folder / "ch01.round_trip.py").write_text("import no_such_module\n")
    (folder / "ch01.scale.py").write_text("def other():\n    pass\n")
    loaded = pieces.load()
    assert loaded.round_trip is check.ch01.round_trip.reference
    assert "yours could not be loaded: it raised ModuleNotFoundError" in loaded.whose["round_trip"]
    assert "it does not define scale" in loaded.whose["scale"]


def test_a_saved_piece_that_never_ends_is_given_up(course_home, monkeypatch):
    monkeypatch.setattr(pieces, "LOAD_S", 0.2)
    (course_home / "my_quantizer").mkdir()
    (course_home / "my_quantizer" / "ch01.round_trip.py").write_text("while True:\n    pass\n")
    assert "took longer than 0.2 s" in pieces.load().whose["round_trip"]


@pytest.mark.parametrize(
    "source, kept",
    [
        ("x = 1\n", "x = 1"),
        ("x = 1\nget_ipython().run_line_magic('time', 'x')\n", "x = 1\n# get_ipython().run_line_magic('time', 'x')"),
        ("x = 1; check.ch01.f(x)\n", "x = 1"),
        ("check.ch01.f(\n    3,\n)\ny = 2", "# check.ch01.f(\n#     3,\n# )\ny = 2"),
        ("get_ipython().run_cell_magic('time', '', 'x = 1\\ncheck.a(x)\\n')", "x = 1\n# check.a(x)"),
        ("def f():\n    return check\n", "def f():\n    return check"),
    ],
)
def test_checks_and_magics_are_commented_out(source, kept):
    assert cells.without_checks(source) == kept


def test_a_learner_reads_that_progress_could_not_be_saved(course_home, monkeypatch):
    blocked = course_home / "file"
    blocked.write_text("")
    monkeypatch.setenv("COURSE_HOME", str(blocked))
    result = check.ch01.round_trip(cell(ROUND_TRIP))
    assert result.state == "pass" and "your progress could not be saved" in str(result)
    assert "could not be saved" in str(check.ch01.round_trip.hint())
    assert "could not be saved" in str(predict("ch01.n", 3))
    assert warmup("ch02").answer(1, 2, 3)


def test_my_curve_keeps_the_latest_run_of_each_scheme():
    run = {"name": "ch01", "scheme": "int4", "bytes": 10, "kl": 0.5, "own": True, "exact": 3, "n": 6}
    for exact in (3, 4):
        store.append("curve", **(run | {"exact": exact}))
    store.append("curve", name="ch01", scheme="int3")  # half a record
    assert [(p["task"], p["own"]) for p in points()] == [(4 / 6, True)]
    with pytest.raises(ValueError, match="chapter must be one of ch01"):
        mine("ch77")
