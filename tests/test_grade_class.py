"""A mixed class of thirty through the command: honest, wrong, damaged and hostile; stopped by kill -9 and run again."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_lib.grading.submission import Submission
from tests.hostile import bank, runs
from tests.hostile.bank import QUESTIONS

pytestmark = pytest.mark.sandbox
WAIT_S = 900  # on any machine

# notebook: (status, the points of q1 to q5, or None where nothing can be graded)
CLASS = {
    "honest/helpers": ("graded", "44444"), "honest/magics": ("graded", "44444"),
    "honest/neighbour": ("needs_manual", "44444"), "honest/numpy_answers": ("graded", "44444"),
    "honest/plain": ("graded", "44444"), "honest/prints": ("graded", "44444"),
    "honest/recursion": ("graded", "44444"), "honest/reordered": ("graded", "44444"),
    "honest/unicode": ("needs_manual", "44444"), "honest/warnings": ("graded", "44444"),
    # wrong
    "honest/half_right": ("graded", "21434"), "honest/one_fails": ("graded", "04004"),
    "honest/only_one": ("graded", "00400"), "honest/other_halves": ("graded", "33343"),
    "honest/raises_sometimes": ("graded", "34434"), "honest/syntax_error": ("graded", "44044"),
    "honest/untouched": ("graded", "00000"), "honest/wrong_arguments": ("graded", "04044"),
    "honest/wrong_dtypes": ("graded", "04400"),
    # damaged
    "damage/cut_short": ("unreadable", None), "damage/empty_file": ("unreadable", None),
    "damage/metadata_stripped": ("recovered", "44444"), "damage/old_format": ("recovered", "44444"),
    "damage/renamed": ("recovered", "44444"), "damage/wrong_encoding": ("recovered", "44444"),
    # hostile
    "comparison/tolerance": ("graded", "04444"), "liars/always_equal": ("graded", "04004"),
    "outlive/daemon": ("graded", "40444"), "pipe/forged_frames": ("graded", "40444"),
    "reading/gradebook": ("graded", "40444"),
}  # fmt: skip


def entries() -> list[bank.Entry]:
    return [bank.load(bank.BANK / f"{name}.py") for name in CLASS]


def command(place: bank.Place) -> list[str]:
    found = [
        Path(sys.executable).with_name("course"),
        "grade",
        "ps01",
        "--submitted",
        place.submitted,
        "--workers",
        "2",
    ]
    return list(map(str, [*found, "--gradebook", f"sqlite:///{place.gradebook}", "--json", place.path / "report.json"]))


def rows(place: bank.Place) -> dict[str, int]:
    """{account: how often its result is in the gradebook}; nothing while there is no table, or it is being written."""
    with contextlib.closing(sqlite3.connect(place.gradebook)) as book, contextlib.suppress(sqlite3.OperationalError):
        return dict(book.execute("select student, count(*) from course_result group by student"))
    return {}


def scores(place: bank.Place) -> dict[str, float]:
    """{account: points}, as nbgrader reads its gradebook."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{place.gradebook}") as book:
        return {s.student_id: s.score for s in book.assignment_submissions(bank.source_path().parent.name)}


def below(pid: int) -> list[int]:
    """The processes that one has started, their children included."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [p for child in children for p in (int(child), *below(int(child)))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def killed_in_the_middle(place: bank.Place) -> set[str]:
    """Start the command, and kill it when some are graded; who that was. What it has started ends with it."""
    options = dict(cwd=place.path, env=runs.environment(place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process, end = subprocess.Popen(command(place), **options), time.monotonic() + WAIT_S
    while len(rows(place)) < 5:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    family = below(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(map(alive, family)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(family) > 2
    return set(rows(place))


@pytest.mark.long
def test_a_mixed_class_of_thirty(subtests):
    handed_in = entries()
    assert len(handed_in) == 30
    with runs.a_place() as place:
        bank.make_class(handed_in, place)
        before = killed_in_the_middle(place)
        done = subprocess.run(
            command(place), cwd=place.path, env=runs.environment(place), capture_output=True, text=True, timeout=WAIT_S
        )
        report = json.loads((place.path / "report.json").read_text(encoding="utf-8"))["submissions"]
        found, book = {entry["student"]: entry for entry in report}, scores(place)
        count = rows(place)
    assert done.returncode == 3, done.stderr[-3000:]  # some could not be read
    assert len(report) == 30 and 5 <= len(before) < 30
    assert count == {Submission(entry.student).account: 1 for entry in handed_in}
    for entry, (status, points) in zip(handed_in, CLASS.values(), strict=True):
        with subtests.test(entry.student):
            result = found[entry.student]
            by_id = {question["id"]: question["score"] for question in result["questions"]}
            expected = [float(p) for p in points] if points else [None] * 5
            assert (result["status"], [by_id[q] for q in QUESTIONS]) == (status, expected)
            total = sum(expected) if points else None
            assert (result["score"], result["max_score"]) == (total, 20.0)
            assert book[Submission(entry.student).account] == (total or 0.0)
            assert all(q["reasons"] for q in result["questions"] if q["score"] is not None and q["score"] < 4)
