"""Grade the bank with `course grade` and print what became of each notebook; --write keeps it in README.md."""

import argparse
import time

from course_lib.files import write_atomic
from tests.hostile import bank, runs
from tests.hostile.bank import BANK, QUESTIONS, Entry

README = BANK / "README.md"
HEAD = """\
# The bank of hostile and honest notebooks

Each file is one notebook that somebody hands in: what it tries, what it deserves. `tests/test_hostile.py` grades them
in one class with `course grade` (five slow ones with `HOSTILE=full` only), and looks for points that were not deserved,
secrets that came out, changes outside of the sandbox, and harm to the others. `bank.py` says how to add one.

`python -m tests.hostile --write` grades all of them and writes this table; a test holds it to the bank.

*Deserved* and *got* name the questions of problem set 1 that are not worth all their 4 points, 20 in all.
*0–4* is where several results are fair. *Problems*: points, leaks, writes, scripts, all that `checks.py` looks for.

"""
COLUMNS = ("notebook", "what it tries", "deserved", "got", "status", "problems")


def deserved(entry: Entry) -> str:
    """The questions that do not deserve all points.

    >>> deserved(Entry("a", "b", "c", {}, {"q1": 4.0, "q2": (0, 4), "q3": 0.0}))
    'q2 0–4, q3 0'
    """
    words = {q: "–".join(f"{p:g}" for p in (d if isinstance(d, tuple) else (d,))) for q, d in entry.deserved.items()}
    return ", ".join(f"{q} {word}" for q, word in words.items() if word != "4") or "all"


def got(submission: dict | None) -> str:
    """The questions that have not got all points."""
    if not submission or submission["score"] is None:
        return "no score"
    points = {q["id"]: q["score"] for q in submission["questions"] if q["id"] in QUESTIONS}
    return ", ".join(f"{q} {p:g}" for q, p in points.items() if p != bank.POINTS) or "all"


def row(entry: Entry, graded: runs.Graded) -> tuple[str, ...]:
    """One entry's line."""
    submission = graded.submissions.get(entry.student)
    kinds = sorted({problem.split(":")[0] for problem in graded.problems(entry)})
    status = submission["status"] if submission else "missing"
    return (*said(entry), got(submission), status, ", ".join(kinds) or "none")


def said(entry: Entry) -> tuple[str, ...]:
    """The part of a line that the bank itself says."""
    return f"{entry.family}/{entry.name}", entry.tries.replace("|", "\\|"), deserved(entry)


def table(rows: list[tuple[str, ...]]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> int:
    """Run the command; the exit status is 1 if there was any problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="*", metavar="FAMILY or FAMILY/NAME", help="all if none is given")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"write {README.name}")
    options = parser.parse_args()
    entries = [e for e in bank.every() if not options.only or {e.family, f"{e.family}/{e.name}"} & {*options.only}]
    started = time.monotonic()
    with runs.a_place() as place:
        graded = runs.course_grade(entries, place, workers=options.workers)
        outside = graded.problems_outside()
        found = {entry.student: graded.problems(entry) for entry in entries}
        text = table([row(entry, graded) for entry in entries])
    print(text)
    bad = [*outside, *(f"{student}: {problem}" for student, problems in found.items() for problem in problems)]
    print(*bad, sep="\n")
    print(f"{len(entries)} notebooks in {time.monotonic() - started:.0f} s, {len(bad)} problems")
    if options.write:
        write_atomic(README, HEAD + text)
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
