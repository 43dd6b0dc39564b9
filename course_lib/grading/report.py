"""What a batch has given: the JSON report, the table, the exit status."""

import json
from collections import Counter
from pathlib import Path

from course_lib.files import write_atomic

STATUSES = ("graded", "needs_manual", "recovered", "unreadable", "failed")
TROUBLE = {"unreadable", "failed"}
WORDS = {
    "graded": "graded", "needs_manual": "graded, with an answer for you to read", "recovered": "graded after a repair",
    "unreadable": "not readable, so not graded", "failed": "not graded, the grader failed",
}  # fmt: skip
FIELDS = ("student", "assignment", "status", "score", "max_score", "questions", "notes")


def write(path: Path, results: list[dict]) -> None:
    """The JSON report, by student."""
    entries = [{name: result[name] for name in FIELDS} for result in by_student(results)]
    write_atomic(path, json.dumps({"submissions": entries}, indent=1) + "\n")


def by_student(results: list[dict]) -> list[dict]:
    return sorted(results, key=lambda result: result["student"])


def table(results: list[dict]) -> str:
    """One line a student: the points of each question, the sum, the status; then how often each status occurred."""
    if not results:
        return "There is nothing to grade."
    ids = [q["id"] for q in results[0]["questions"] if q["score"] is not None or q["id"] in _auto(results)]
    width = max(8, *(len(_shown(result["student"])) for result in results))
    lines = [f"{'student':{width}}  " + " ".join(f"{name:>6}" for name in ids) + "    total  status"]
    for result in by_student(results):
        scores = {q["id"]: q["score"] for q in result["questions"]}
        points = " ".join(f"{_points(scores.get(name)):>6}" for name in ids)
        total = f"{_points(result['score'])}/{result['max_score']:g}"
        lines.append(f"{_shown(result['student']):{width}}  {points} {total:>8}  {result['status']}")
        if result["status"] in TROUBLE | {"recovered"}:
            lines += [f"{'':{width}}  · {_shown(note)}" for note in result["notes"]]
    count = Counter(result["status"] for result in results)
    lines += ["", *(f"{count[status]:5}  {WORDS[status]}" for status in STATUSES if count[status])]
    return "\n".join(lines)


def _auto(results: list[dict]) -> set[str]:
    return {q["id"] for result in results for q in result["questions"] if q["score"] is not None}


def _points(score) -> str:
    return "-" if score is None else f"{score:g}"


def _shown(text: str) -> str:
    """A text without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text.encode("utf-8", "replace").decode())


def exit_status(results: list[dict]) -> int:
    """0 when every submission has a score, 3 when some could not be graded."""
    return 3 if any(result["status"] in TROUBLE for result in results) else 0
