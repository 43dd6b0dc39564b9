"""Spaced retrieval from the learner's log: laws of the schedule, the notebook of the day, the command, the picture."""

import html
import itertools
import json
import os
import random
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib import review_command, workspace
from course_lib.checks import (
    history,
    namespace,
    pieces,
    progress,
    review,
    review_notebook,
    review_sample,
    review_schedule,
    reviews,
    store,
    warmup,
)
from course_lib.checks.review_schedule import INTERVALS, MOST, cards, chosen, due
from course_lib.cli import main
from course_lib.viz.plots import ch15
from course_lib.workspace import Workspace

ROOT = Path(__file__).parents[1]
START = date(2026, 3, 2)
NUMBERS = itertools.count()
ONE, TWO = "ch01.round_trip", "ch06.hessian"
FILES = {f"ch{path.name[:2]}": path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


def record(event, day=0, exercise=ONE, minute=0, **fields):
    """A record `day` days after START, at noon on this machine's clock."""
    at = datetime.combine(START + timedelta(days=day), datetime.min.time()).astimezone()
    at = (at + timedelta(hours=12, minutes=minute)).astimezone(UTC)
    return {"id": f"{next(NUMBERS):09}", "at": at.isoformat(), "event": event, "exercise": exercise, **fields}


def on(day):
    return START + timedelta(days=day)


def box(records, day, exercise=ONE):
    """(box, days from START until due)."""
    card = cards(records, on(day))[exercise]
    return card.box, (card.due - START).days


# the schedule, step by step


def test_a_pass_at_the_first_try_climbs_through_leitners_boxes():
    log = [record("attempt", state="pass")]
    assert box(log, 0) == (3, 7)
    for day, expected in ((7, (4, 28)), (28, (5, 88)), (88, (5, 148)), (150, (5, 210))):
        log.append(record("review", day, state="pass"))
        assert box(log, day) == expected
    log.append(record("review", 210, state="fail"))
    assert box(log, 210) == (1, 211)
    log.append(record("review", 211, state="pass"))
    assert box(log, 211) == (2, 214)


@pytest.mark.parametrize(
    "before, expected",
    [
        ([], 7),
        ([record("attempt", state="fail", mistake="no clipping")], 3),
        ([record("attempt", state="not attempted")], 7),
        ([record("hint", hint=1)], 3),
        ([record("solution")], 1),
        ([record("solution"), record("attempt", state="fail"), record("hint", hint=1)], 1),
        ([record("review", state="fail"), record("review", state="pass")], 7),
        ([record("hint", hint=1, exercise=TWO), record("solution", exercise=TWO)], 7),
    ],
    ids=["clean", "a mistake", "the stub", "a hint", "the solution", "all three", "reviews of nothing", "another's"],
)
def test_the_first_wait_says_how_it_was_passed(before, expected):
    assert box([*before, record("attempt", minute=1, state="pass")], 0)[1] == expected


def test_what_was_never_passed_has_no_card():
    log = [record("attempt", state="fail"), record("hint"), record("solution"), record("review", state="pass")]
    assert cards(log, on(9)) == {} and cards([], on(0)) == {}


@pytest.mark.parametrize("event", ["hint", "solution"])
def test_help_in_a_review_sends_it_back_and_the_pass_after_it_changes_nothing(event):
    log = [record("attempt", state="pass"), record(event, 7), record("review", 7, minute=1, state="pass")]
    assert box(log, 7) == (1, 8)


def test_between_due_days_nothing_counts():
    log = [record("attempt", state="pass")]
    log += [record("review", d, state=s) for d in (0, 1, 6) for s in ("pass", "fail")]
    log += [record("solution", 3), record("hint", 5), record("attempt", 6, state="fail")]
    assert box(log, 6) == (3, 7)
    log += [record("attempt", 7, state="pass"), record("attempt", 7, state="fail")]  # the chapter's cell, run again
    assert box(log, 7) == (3, 7)


def test_days_are_those_of_the_learners_calendar(monkeypatch):
    late = {"id": "1", "at": "2026-03-02T23:30:00+00:00", "event": "attempt", "exercise": ONE, "state": "pass"}
    for zone, day in (("UTC0", 2), ("NZST-12", 3), ("EST5", 2)):
        with monkeypatch.context() as patch:
            patch.setenv("TZ", zone)
            time.tzset()
            assert cards([late], date(2026, 3, 5))[ONE].passed == date(2026, 3, day)
    time.tzset()


# its laws, on logs drawn at random


EVENTS = st.builds(
    lambda event, day, minute, exercise, state: record(event, day, exercise, minute, state=state, mistake="x"),
    st.sampled_from(["attempt", "attempt", "review", "review", "review", "review", "hint", "solution"]),
    st.integers(0, 90),
    st.integers(0, 600),
    st.sampled_from([ONE, TWO]),
    st.sampled_from(["pass", "pass", "fail"]),
)
LOGS = st.lists(EVENTS, max_size=24).map(lambda log: [record("attempt", state="pass"), *log])


@given(LOGS)
def test_nothing_is_due_before_its_interval(log):
    for card in cards(log, on(100)).values():
        assert card.due - card.last == timedelta(days=INTERVALS[card.box - 1])
        for day in card.reviews:
            before = cards(log, day - timedelta(days=1))[card.exercise]
            assert before.due <= day and (day - before.last).days >= before.interval


@given(LOGS, st.integers(90, 200), st.sampled_from(["review", "hint", "solution"]))
def test_failing_never_lengthens_and_passing_never_shortens(log, day, event):
    before = cards(log, on(day))[ONE]
    failed = cards([*log, record(event, day, minute=700, state="fail")], on(day))[ONE]
    passed = cards([*log, record("review", day, minute=700, state="pass")], on(day))[ONE]
    assert failed.interval <= before.interval <= passed.interval
    assert failed.due <= passed.due and failed.due <= max(before.due, on(day + 1))


@given(LOGS, st.randoms(use_true_random=False))
def test_the_order_of_the_records_is_irrelevant_and_twice_is_once(log, rng):
    mixed = [*log, *log[: len(log) // 2]]
    rng.shuffle(mixed)
    assert cards(mixed, on(95)) == cards(log, on(95))


@given(LOGS, st.integers(0, 90))
def test_what_lies_in_the_future_does_not_count_yet(log, day):
    noon = datetime.combine(on(day), datetime.max.time()).astimezone()
    assert cards(log, on(day)) == cards([r for r in log if datetime.fromisoformat(r["at"]) <= noon], on(day))


JUNK = [
    None, 7, "text", [], {}, {"id": 1, "at": 2, "event": 3},
    {"id": "a", "at": "yesterday", "event": "attempt", "exercise": ONE, "state": "fail"},
    {"id": "b", "at": "9999-12-31T23:59:59-12:00", "event": "solution", "exercise": ONE},
    {"id": "c", "at": "0001-01-01T00:00:00+12:00", "event": "solution", "exercise": ONE},
    {"id": "d", "at": "2026-03-01", "event": "attempt", "exercise": [ONE], "state": "pass"},
    {"id": "e", "at": "2026-03-01", "event": "attempt"},
    {"id": "f", "at": "2026-03-01", "event": "attempt", "exercise": ONE, "state": ["pass"]},
    {"id": "g", "at": "2026-03-08T12:00:00", "event": "review", "exercise": ONE, "state": {"pass": 1}},
    {"id": "h", "at": "2026-03-01", "event": "dream", "exercise": ONE, "state": "pass"},
]  # fmt: skip


@given(LOGS, st.permutations(JUNK))
def test_records_that_make_no_sense_change_nothing(log, junk):
    assert cards([*junk, *log, *junk], on(95)) == cards(log, on(95))


def test_lines_of_the_log_that_are_broken_change_nothing(course_home):
    store.extend([record("attempt", state="pass"), record("hint", 1, hint="two")])
    before = cards(store.records(), on(9))
    with open(store.log_file(), "ab") as file:
        file.write(b'{"id": "x", "at": "2026-03-0\n\xff\xfe\n[]\n\n{"id": "y", "at": "2026-03-09", "event": "rev')
    assert cards(store.records(), on(9)) == before and history.standing(ONE).passed


def test_what_of_the_log_cannot_be_read_is_said_and_what_is_newer_is_not(course_home, capsys, monkeypatch):
    """A disk that filled a log with zeros once looked like a learner who had never passed anything."""
    assert store.trouble() == []
    store.extend([record("attempt", state="pass"), record("dream", 1, size=3) | {"version": 9}])
    assert store.trouble() == [] and main(["review", "--show"]) == 0 and "damaged" not in capsys.readouterr().out
    with open(store.log_file(), "ab") as file:
        file.write(b'{"id": "x", "at": "2026-03-0\n\n')
    assert store.trouble() == [f"1 line of your log is damaged and left out: what it recorded does not count"
                               f" ({store.log_file()})."]  # fmt: skip
    store.log_file().write_bytes(bytes(90) + b"\n\xff\xfe")
    for command in (["review", "--show"], ["progress"], ["progress", "--export", str(course_home / "out.json")]):
        assert main(command) == 0
        assert capsys.readouterr().out.strip().split("\n")[-1].startswith("2 lines of your log are damaged")
    store.log_file().unlink()
    store.log_file().mkdir()
    assert main(["review"]) == 0
    said = capsys.readouterr().out
    assert "Your log cannot be read, so that nothing in it counts here ([Errno " in said and said.count("\n") == 2


def test_a_clock_that_went_back_makes_nothing_due_and_one_that_ran_ahead_heals():
    log = [record("attempt", state="pass"), record("review", 7, state="pass")]
    assert due(cards(log, date(2020, 1, 1)).values(), date(2020, 1, 1)) == []
    ahead = [*log, record("review", 400, state="pass")]
    assert box(ahead, 28) == (4, 28)
    assert box([*ahead, record("review", 28, state="pass")], 28) == (5, 88)


# which, and how many


def passed(number, day, **fields):
    return record("attempt", day, f"ch{number:02d}.x", state="pass", **fields)


def test_the_most_overdue_come_first_and_named_mistakes_weigh_twice():
    log = [passed(n, n) for n in (1, 2, 3)]
    assert [c.exercise for c in chosen(cards(log, on(12)).values(), on(12))] == ["ch01.x", "ch02.x", "ch03.x"]
    log.insert(0, record("attempt", 0, "ch03.x", state="fail", mistake="upside down"))
    found = {c.exercise: c.urgency(on(12)) for c in chosen(cards(log, on(12)).values(), on(12))}
    assert list(found.items()) == [("ch03.x", 14), ("ch01.x", 5), ("ch02.x", 4)]  # ch03 waits 3 days now: due on day 6
    nameless = [record("attempt", 0, "ch03.x", state="fail"), *log[1:]]
    assert cards(nameless, on(12))["ch03.x"].urgency(on(12)) == 7


def test_five_a_day_and_what_was_reviewed_counts():
    log = [passed(n, 0) for n in range(9)]
    today = on(7)
    first = chosen(cards(log, today).values(), today)
    assert len(first) == MOST == 5
    log += [record("review", 7, c.exercise, state=s) for c, s in zip(first[:2], ("pass", "fail"), strict=True)]
    assert chosen(cards(log, today).values(), today) == first[2:]
    log += [record("review", 7, c.exercise, state="pass") for c in first[2:]]
    assert chosen(cards(log, today).values(), today) == []
    assert len(due(cards(log, today).values(), today)) == 4
    assert len(chosen(cards(log, on(8)).values(), on(8))) == 5  # the four that were left, and the one that failed


def test_a_learner_who_always_knows_it_sees_an_exercise_four_times_in_three_months():
    log = [record("attempt", state="pass")]
    for day in range(100):
        if due(cards(log, on(day)).values(), on(day)):
            log.append(record("review", day, state="pass"))
    assert [r["at"][:10] for r in log] == [on(d).isoformat() for d in (0, 7, 28, 88)]


# mistakes by name


def test_mistakes_made_on_two_occasions():
    def wrong(name, day=0, minute=0, exercise=ONE, event="attempt"):
        return record(event, day, exercise, minute, state="fail", mistake=name)

    log = [wrong("cut", 0), wrong("cut", 0, 1), wrong("cut", 1), wrong("cut", 2, exercise=TWO, event="review")]
    log += [wrong("up", 0, 2), wrong("down", 0, 3), wrong("up", 0, 4), wrong("down", 0, 5, TWO)]
    log += [wrong(None, 5), record("attempt", 6, state="pass", mistake="cut"), wrong("once", 5)]
    found = history.mistakes(random.sample(log, len(log)))
    assert found == [("cut", 3, (ONE, TWO)), ("down", 2, (ONE, TWO)), ("up", 2, (ONE,))]
    assert {m.name for m in history.mistakes(log, least=1)} == {"cut", "up", "down", "once"}


def test_the_learner_s_sheet_of_mistakes(course_home):
    assert str(review.mistakes()) == "No mistake came back so far."
    store.extend([record("attempt", d, state="fail", mistake=f"<b>{n:02}") for d in (0, 1) for n in range(14)])
    said = str(review.mistakes())
    assert "<b>00: 2 times: ch01.round_trip" in said and said.endswith("And 2 more.")
    assert "<b>" not in reviews.Mistakes().html()


# a review in the log


def ago(event, days, exercise=ONE, **fields):
    """A record of so many days before now."""
    at = datetime.now(UTC) - timedelta(days=days)
    store.extend([record(event, exercise=exercise, **fields) | {"at": at.isoformat()}])


def good(w, s, b):
    return namespace.find(ONE).reference(w, s, b)


def bad(w, s, b):
    return s * (w / s).round()


def test_a_right_review_moves_the_box_and_nothing_else(course_home):
    ago("attempt", 9, state="fail", mistake="no clipping")
    ago("attempt", 8, state="pass")
    before = history.standing(ONE)
    result = review.ch01.round_trip(good)
    assert result.passed and "Box 3 of 5: it comes again in 7 days, on " in str(result)
    assert [r["event"] for r in store.records()] == ["attempt", "attempt", "review"]
    after = history.standing(ONE)
    assert (after.attempts, after.passed, after.last) == (before.attempts, True, before.last)
    assert not pieces.folder().exists(), "a review must not change the learner's quantizer"
    assert "The day's first answer counts: box 3 of 5, next on " in str(review.ch01.round_trip(bad))
    assert reviews.known()[ONE].box == 3


def test_a_wrong_review_names_the_mistake_and_comes_again_tomorrow(course_home):
    ago("attempt", 8, state="pass")
    result = review.ch01.round_trip(bad)
    assert "Likely mistake: no clipping" in str(result) and "Back to box 1: it comes again in 1 day" in str(result)
    assert store.records()[-1]["mistake"] == "no clipping"
    assert "The day's first answer counts: box 1" in str(review.ch01.round_trip(good))
    assert reviews.known()[ONE].mistakes == ("no clipping",) and reviews.chosen() == []
    assert str(review()).startswith("Done for today: 1 reviewed.\nTo come: 1 tomorrow.")


def test_a_review_that_is_not_due_or_not_begun_or_of_nothing_passed(course_home):
    assert "pass it once with `check.ch01.round_trip(round_trip)`" in str(review.ch01.round_trip(good))
    assert store.records() == []
    ago("attempt", 2, state="pass")
    assert "It was not due, so this changes nothing: box 3 of 5" in str(review.ch01.round_trip(good))
    before = store.records()
    assert "not attempted" in str(review.ch01.round_trip(...)) and store.records() == before


def test_a_log_that_cannot_be_written_is_said(course_home, monkeypatch):
    ago("attempt", 8, state="pass")

    def full(*_, **__):
        raise store.StoreError("your progress could not be saved (disk full)")

    monkeypatch.setattr(store, "append", full)
    assert "Note: your progress could not be saved (disk full)." in str(review.ch01.round_trip(good))


def test_names_are_completed_and_misspellings_helped():
    assert {"ch01", "boxes", "mistakes"} <= set(dir(review)) and "round_trip" in dir(review.ch01)
    assert repr(review.ch01.round_trip).startswith("ch01.round_trip (build)")
    with pytest.raises(AttributeError, match="did you mean round_trip"):
        _ = review.ch01.roundtrip
    with pytest.raises(AttributeError, match="there are no exercises called check.ch99"):
        _ = review.ch99


def test_reviews_change_no_standing_and_so_no_level(course_home):
    """What versions before reviews compute from a log is what they compute without its reviews."""
    for seed in range(30):
        rng = random.Random(seed)
        log = [record(rng.choice(["attempt", "hint", "solution"]), rng.randrange(9), state="pass") for _ in range(5)]
        log += [record("review", rng.randrange(9), state=rng.choice(["pass", "fail"])) for _ in range(5)]
        (course_home / "log.jsonl").unlink(missing_ok=True)
        store.extend([r for r in log if r["event"] != "review"])
        without = history.standings()
        store.extend([r for r in log if r["event"] == "review"])
        assert history.standings() == without


def test_hints_begin_anew_in_a_review(course_home):
    ago("hint", 9, hint=1)
    ago("hint", 9, hint=2)
    assert "hint 3 of 3" in str(review.ch01.round_trip.hint())
    ago("attempt", 8, state="pass")
    store.log_file().write_text("".join(line for line in store.log_file().open() if '"hint": 3' not in line))
    assert "hint 1 of 3" in str(review.ch01.round_trip.hint()) and "hint 2 of 3" in str(review.ch01.round_trip.hint())
    assert reviews.known()[ONE].box == 1, "help counts as not known"
    assert history.standing(ONE).hints == 2


# what is said


def test_what_is_due_is_told_in_a_table_and_a_sentence(course_home):
    assert str(review()) == "Nothing to review yet: what you pass comes back after one to seven days."
    eight = namespace.every()[:8]
    for k, exercise in enumerate(eight):
        ago("attempt", 7 + k, exercise.id, state="pass")
    ago("attempt", 5, TWO, state="pass")
    said = str(review())
    assert said.startswith(f"5 exercises are due for review today.\n  {eight[-1].id} ")
    assert "due for 7 days" in said and "3 more are due: 5 a day are enough." in said
    assert "To come: 1 within a week." in said and "work/review.ipynb" in said
    assert "<table" in reviews.Due().html() and repr(review) == said


def test_the_reminder_stands_where_a_learner_looks_only_when_something_is_due(course_home, capsys):
    assert "review" not in str(warmup("ch02"))
    ago("attempt", 8, state="pass")
    assert str(warmup("ch02")).endswith("\n1 exercise is due for review: `course review`.")
    assert "<code>course review</code>" in warmup("ch02").html()
    assert progress.main([]) == 0
    assert capsys.readouterr().out.endswith("1 exercise is due for review: `course review`.\n")
    review.ch01.round_trip(good)
    assert "review" not in str(warmup("ch02"))


def test_exercises_that_are_gone_or_cannot_be_checked_here_are_not_asked(course_home, monkeypatch):
    for name in (ONE, "ch01.gone", "ch77.x", "nonsense", "ch12.row_sum"):
        ago("attempt", 8, name, state="pass")
    assert set(reviews.known()) == {ONE, "ch12.row_sum"}
    monkeypatch.setattr(reviews.importlib.util, "find_spec", lambda name: None)
    assert set(reviews.known()) == {ONE}


# progress moves


def test_an_export_carries_the_reviews_along(course_home, tmp_path, monkeypatch):
    ago("attempt", 8, state="pass")
    review.ch01.round_trip(good)
    before = reviews.known()
    assert progress.main(["--export", str(tmp_path / "moved.json")]) == 0
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "new home"))
    assert reviews.known() == {}
    assert progress.main(["--import", str(tmp_path / "moved.json")]) == 0
    assert reviews.known() == before and before[ONE].box == 4


# the notebook


def card_of(exercise, **fields):
    return review_schedule.Card(exercise, on(0), 2, 2, on(0), **fields)


def made(*cards, today=None):
    return nbformat.reads(review_notebook.notebook(list(cards), today or on(3), FILES).decode(), as_version=4)


def test_the_notebook_says_when_and_what_went_wrong_and_shows_the_blank_stub():
    notebook = made(card_of(TWO, mistakes=("no factor 2/n",)), card_of("ch12.row_sum"))
    nbformat.validate(notebook)
    title, setup, text, stub, *_, last = notebook.cells
    assert title.source == f"# Reviews of 5 March 2026\n\n{review_notebook.SENTENCE}"
    assert "From [chapter 06](06-gptq.ipynb): " in text.source
    assert "You passed it on 2 March 2026, after mistakes or hints." in text.source
    assert "<details><summary>What went wrong so far</summary>\n\n- no factor 2\\/n\n" in text.source
    assert stub.source == f"{namespace.find(TWO).stub}\n\nreview.ch06.hessian(hessian)"
    assert "import triton.language as tl" in setup.source and last.source == "review()"
    assert "triton" not in made(card_of(TWO)).cells[1].source
    assert notebook.metadata.kernelspec.name == "python3"


def rendered(source):
    """(the text, the HTML) that nbconvert makes of a Markdown cell."""
    from nbconvert.filters import markdown2html

    page = markdown2html(source)
    return html.unescape(re.sub(r"<[^>]+>", "", page)), page


@pytest.mark.parametrize("exercise", namespace.every(), ids=lambda e: e.id)
def test_what_is_shown_is_the_task_and_neither_the_answer_nor_a_diagnosis(exercise):
    names = tuple(wrong.name for wrong in exercise.wrong)
    notebook = made(card_of(exercise.id, mistakes=names))
    text, page = rendered(notebook.cells[2].source)
    flat = " ".join(text.split())
    for said in (exercise.spec, exercise.title, *names):
        assert " ".join(said.replace("`", "").split()) in flat
    assert page.count("<a ") == 2  # the chapter, and the heading's own anchor
    whole = "\n".join(cell.source for cell in notebook.cells)
    assert not any(wrong.diagnosis in whole for wrong in exercise.wrong)
    assert exercise.reference_source().strip() not in whole and not any(hint in whole for hint in exercise.hints)


HOSTILE = "<script>alert(1)</script> [x](javascript:1) ![y](http://z) **b** `c` \n# h $x^2$ </details> & _e_ |"


def test_a_name_from_a_strange_log_stays_text():
    text, page = rendered(made(card_of(ONE, mistakes=(HOSTILE,))).cells[2].source)
    assert "<script" not in page and "<img" not in page and "<strong>" not in page and page.count("<a ") == 2
    assert page.count("</details>") == 1 and "**b** c # h $x^2$" in " ".join(text.split())


@pytest.mark.parametrize("text", ["a*b*c and _d_", "x[0](a)", "<b>no</b>", "~~no~~", "&amp; & \\*", "one ` alone *x*"])
def test_a_task_is_shown_to_the_letter(text):
    assert rendered(review_notebook.plain(text))[0].strip() == text


def test_a_chapter_without_a_notebook_is_a_key_error():
    with pytest.raises(KeyError, match="ch06"):
        review_notebook.notebook([card_of(TWO)], on(3), {})


# as %reset -f does, which takes a quarter of a second
CLEAN = "for _name in {*globals()} - {'In', 'Out', 'get_ipython', 'exit', 'quit', 'open'}:\n"
CLEAN += "    if not _name.startswith('_'):\n        del globals()[_name]"


def on_its_own(exercise):
    """The code of its notebook in a clean namespace: what stands before the stub, the stub, the solved stub."""
    code = [c for c in made(card_of(exercise.id)).cells if c.cell_type == "code"]
    *before, stub, last = [cell.source for cell in code]
    assert last == "review()" and stub == f"{exercise.stub}\n\nreview.{exercise.id}({exercise.answer_name})"
    solved = f"{exercise.reference_source().strip()}\n\nreview.{exercise.id}({exercise.answer_name})"
    return [nbformat.v4.new_code_cell(source) for source in ("\n\n".join([CLEAN, *before]), stub, solved)]


@pytest.mark.long
def test_every_exercise_can_be_reviewed_on_its_own(course_home):
    """As it is nothing is attempted and nothing fails; with the reference for an answer it passes, and is counted."""
    from nbclient import NotebookClient

    every = namespace.every()
    store.extend([record("attempt", exercise=e.id, state="pass") for e in every])
    cells = [on_its_own(exercise) for exercise in every]
    notebook = nbformat.v4.new_notebook(cells=[cell for three in cells for cell in three])
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute()
    for exercise, (ready, stub, solved) in zip(every, cells, strict=True):
        assert not ready.outputs
        for cell, state in ((stub, "not attempted"), (solved, "passed")):
            (shown,) = cell.outputs
            assert shown.data["text/plain"].startswith(f"{exercise.id}: {state}"), shown.data["text/plain"]
        assert "Box 4 of 5: it comes again in 21 days" in shown.data["text/plain"]
    assert [r["exercise"] for r in store.records("review")] == [e.id for e in every] and not pieces.folder().exists()


# the command


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A small checkout whose notebooks are named as the course's, and one exercise that is due."""
    root = tmp_path / "checkout"
    (root / "notebooks").mkdir(parents=True)
    for name in FILES.values():
        (root / "notebooks" / name).write_bytes(b'{"cells": []}')
    monkeypatch.setattr(workspace, "repository", lambda: root)
    ago("attempt", 8, state="pass")
    return Workspace()


def backups(space):
    return list((space.work / "backups").glob("*")) if (space.work / "backups").exists() else []


def test_the_command_writes_what_is_due_and_says_so(space, capsys):
    assert main(["review"]) == 0
    said = capsys.readouterr().out
    first, second, *_ = said.splitlines()
    assert first == "1 exercise is due for review today."
    assert second == "ch01.round_trip  The round trip  box 3, due for 1 day"
    assert "They are in work/review.ipynb" in said
    notebook = nbformat.read(space.work / "review.ipynb", as_version=4)
    assert "review.ch01.round_trip(round_trip)" in notebook.cells[3].source
    assert (space.work / FILES["ch01"]).exists(), "its links must lead somewhere"
    assert not backups(space) and space.outdated() == ([], [])


def test_once_begun_today_s_notebook_stays_as_it_is(space, capsys):
    main(["review"])
    at = space.work / "review.ipynb"
    at.write_text(at.read_text().replace("...", "return w"))
    mine = at.read_bytes()
    assert main(["review"]) == 0 and "asks for them already; it stays as it is" in capsys.readouterr().out
    assert at.read_bytes() == mine and not backups(space)


def test_yesterday_s_is_replaced_and_kept_where_it_was_edited(space, capsys):
    at = space.work / "review.ipynb"
    main(["review"])
    old = at.read_text().replace(f'"day": "{date.today()}"', '"day": "2026-01-01"')
    at.write_text(old)  # the day is no source: not edited
    assert main(["review"]) == 0 and not backups(space)
    edited = old.replace("...", "return w")
    at.write_text(edited)
    capsys.readouterr()
    assert main(["review"]) == 0
    (kept,) = backups(space)
    assert kept.read_text() == edited and "return w" not in at.read_text()
    assert f"What you had there is kept as {Path('work/backups') / kept.name}." in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"{ half", b"[]", b'{"metadata": 3}', b"\xff\xfe"])
def test_a_file_that_is_none_of_ours_is_kept(space, data):
    space.add()
    (space.work / "review.ipynb").write_bytes(data)
    assert main(["review"]) == 0
    assert [kept.read_bytes() for kept in backups(space)] == [data]
    nbformat.validate(nbformat.read(space.work / "review.ipynb", as_version=4))


def test_a_new_exercise_of_today_makes_a_new_notebook(space):
    main(["review"])
    ago("attempt", 8, TWO, state="pass")
    main(["review"])
    assert (space.work / "review.ipynb").read_text().count("\\n\\nreview.ch") == 2


def test_show_and_an_empty_log_write_nothing(space, capsys, course_home):
    assert main(["review", "--show"]) == 0 and "ch01.round_trip" in capsys.readouterr().out
    store.log_file().unlink()
    assert main(["review"]) == 0 and capsys.readouterr().out.startswith("Nothing to review yet")
    assert not space.work.exists()


def test_bad_input_is_one_sentence(space, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        main(["review", "ch01"])
    assert "unrecognized arguments: ch01" in capsys.readouterr().err
    (space.originals / FILES["ch01"]).unlink()
    assert main(["review"]) == 1
    assert capsys.readouterr().err.startswith("course review: There is no notebook of ch01 in ")
    monkeypatch.setattr(workspace, "repository", lambda: space.root / "nowhere")
    assert main(["review"]) == 1 and capsys.readouterr().err.count("\n") == 1


def test_a_write_that_fails_leaves_the_old_notebook(space, monkeypatch, capsys):
    main(["review"])
    at = space.work / "review.ipynb"
    at.write_text(at.read_text().replace('"day": "', '"day": "old '))
    before = at.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("course_lib.files.os.replace", full)
    assert main(["review"]) == 1 and "No space left" in capsys.readouterr().err
    assert at.read_bytes() == before


def test_the_command_is_listed_and_nothing_but_the_log_is_read(space, capsys):
    assert main([]) == 0 and "\n  review     old exercises that are due today" in capsys.readouterr().out
    assert review_command.main(["--show"]) == 0


# the picture


def test_an_empty_log_shows_an_example_marked_as_such(course_home):
    shown = review.boxes()
    assert shown["example"] and shown["told"].startswith("An example: ")
    assert ch15.boxes(shown).axes[0].get_title(loc="left").startswith("An example: ")
    ago("attempt", 8, state="pass")
    mine = review.boxes()
    assert not mine["example"] and mine["marks"] == [(3, 0, "01", 1)]
    assert ch15.boxes(mine).axes[0].get_title(loc="left") == "1 of 1 passed exercises is due, the others wait"


def test_the_made_up_learner_s_log_is_one_that_could_be():
    today = date(2026, 11, 27)
    log = review_sample.records(today)
    assert all(store.is_record(r) for r in log) and max(r["at"] for r in log)[:10] <= today.isoformat()
    names = {e.id: {w.name for w in e.wrong} for e in namespace.every()}
    assert all(r["mistake"] in names[r["exercise"]] for r in log if "mistake" in r)
    found = review_sample.cards(today)
    assert {c.box for c in found} == {1, 2, 3, 4, 5} and due(found, today) and log == review_sample.records(today)
    for day in {r["at"][:10] for r in log if r["event"] == "review"}:
        assert sum(r["event"] == "review" and r["at"][:10] == day for r in log) <= MOST


def test_no_mark_hides_another_and_all_lie_in_their_box():
    for seed in range(2):
        rng = random.Random(seed)
        drawn = [(k, rng.randint(0, INTERVALS[k - 1]), f"{rng.randint(0, 15):02}", rng.randint(1, 6))
                 for k in (rng.randint(1, 5) for _ in range(60))]  # fmt: skip
        figure = ch15.boxes({"marks": sorted(set(drawn)), "intervals": INTERVALS})
        figure.draw_without_rendering()
        (axes,) = figure.axes
        counts = [text for text in axes.texts if "×" in text.get_text()]
        spots = [part.get_window_extent() for part in (*axes.lines, *counts)]
        for a, b in itertools.combinations(spots, 2):
            assert min(a.x1, b.x1) - max(a.x0, b.x0) < 2 or min(a.y1, b.y1) - max(a.y0, b.y0) < 2
        frame = axes.get_window_extent()
        assert all(frame.x0 < s.x0 and s.x1 < frame.x1 + 20 and frame.y0 < s.y0 and s.y1 < frame.y1 for s in spots)
    with pytest.raises(ValueError, match=r"marks must lie in boxes 1 … 5, got \(6, 0, '01', 1\)"):
        ch15.boxes({"marks": [(6, 0, "01", 1)], "intervals": INTERVALS})


def test_due_marks_are_squares_and_the_others_circles():
    (axes,) = ch15.boxes({"marks": [(1, 0, "01", 2), (3, 5, "02", 1)], "intervals": INTERVALS}).axes
    assert [line.get_marker() for line in axes.lines] == ["s", "o"]
    assert [t.get_text() for t in axes.texts] == ["01", "×2", "02"]


# chapter 15


def test_the_chapter_s_cells_run_on_an_empty_log_and_on_one_of_one(course_home, monkeypatch):
    from course_lib import viz

    notebook = json.loads((ROOT / "notebooks" / "15-mastery.ipynb").read_text(encoding="utf-8"))
    source = {c["id"]: "".join(c["source"]) for c in notebook["cells"]}
    shown = []
    monkeypatch.setattr(viz, "show", lambda figure, alt: shown.append(alt))
    for told in ("An example: ", "Of 1 passed, 0 in box 1, "):
        exec(source["ch15-boxes"], {"ch15": ch15, "review": review, "viz": viz})
        assert shown.pop().startswith(told)
        ago("attempt", 8, state="pass")
    assert "review.mistakes()" in source["ch15-mistakes"] and os.environ["COURSE_HOME"] == str(course_home)
