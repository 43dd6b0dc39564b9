"""`course progress`: what is passed, what was seen, and the file that carries it to another machine."""

import argparse
import ast
import json
from pathlib import Path

from course_lib.checks import history, mastery, namespace, pieces, render, reviews, store
from course_lib.checks.verdict import NOT_ATTEMPTED, PASS
from course_lib.files import write_atomic

FORMAT = "course-progress-1"


MARKS = {"passed": "✓", "passed, solution seen": "(✓)", "not yet": "✗", "solution seen": "○", NOT_ATTEMPTED: "·"}


class Progress(render.Shown):
    """The learner's progress as a table, one chapter a row."""

    def __init__(self):
        standings = history.standings()
        self.rows = [(e, standings.get(e.id, history.Standing())) for e in namespace.every()]

    def summary(self) -> str:
        """One sentence."""
        passed = sum(s.passed for _, s in self.rows)
        return f"{passed} of {len(self.rows)} exercises passed."

    def chapters(self) -> list[tuple[str, str, str]]:
        """Chapter, how many of its exercises are passed, and each exercise with its mark."""
        found = {}
        for exercise, standing in self.rows:
            found.setdefault(exercise.chapter, []).append((exercise.name, standing))
        return [
            (
                chapter,
                f"{sum(s.passed for _, s in own)} of {len(own)}",
                "  ".join(f"{MARKS[s.state]} {name}" for name, s in own),
            )
            for chapter, own in found.items()
        ]

    def legend(self) -> str:
        """What the marks mean, those that occur."""
        states = {s.state for _, s in self.rows}
        return ", ".join(f"{mark} {state}" for state, mark in MARKS.items() if state in states)

    def text(self) -> str:
        lines = [("chapter", "passed", "exercises"), *self.chapters()]
        shown = [f"{chapter:9}{passed:9}{names}" for chapter, passed, names in lines]
        return "\n".join([*shown, self.legend(), self.summary()])

    def html(self) -> str:
        head = "".join(f'<th scope="col" {render.CELL}>{name}</th>' for name in ("chapter", "passed", "exercises"))
        body = ""
        for cells in self.chapters():
            body += '<tr style="background:none">'
            body += "".join(f"<td {render.CELL}>{render.escape(cell)}</td>" for cell in cells) + "</tr>"
        style = f"border-collapse:collapse; color:{render.INK}"
        table = f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        inside = f"<strong>{self.summary()}</strong>{table}{render.paragraph(self.legend())}"
        return render.box("Your progress", render.BARS[PASS], inside)


def show() -> Progress:
    """Show the progress in a notebook."""
    return render.show(Progress())


def export_to(path) -> int:
    """Write the log and the learner's pieces into one file; returns the number of records."""
    records = store.records()
    saved = {p.stem: p.read_text(encoding="utf-8") for p in sorted(pieces.folder().glob("*.py"))}
    content = {"format": FORMAT, "records": records, "pieces": saved}
    write_atomic(path, json.dumps(content, ensure_ascii=False, indent=1))
    return len(records)


def import_from(path) -> tuple[int, int]:
    """Merge an exported file; returns how many records and pieces were new. Errors: ValueError with one sentence."""
    content = _read(path)
    known = {exercise.id for exercise in namespace.every() if exercise.piece}
    mine, theirs = _saved_at(store.records()), _saved_at(content["records"])
    new_pieces = 0
    for name, source in content["pieces"].items():
        target = pieces.folder() / f"{name}.py"
        newer = not target.exists() or theirs.get(name, "") > mine.get(name, "")
        if name in known and newer and _is_python(source):
            pieces.folder().mkdir(parents=True, exist_ok=True)
            new_pieces += not target.exists() or target.read_text(encoding="utf-8") != source
            write_atomic(target, source)
    return store.merge(content["records"]), new_pieces


def _read(path) -> dict:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ValueError(f"{path} could not be read ({type(err).__name__})") from err
    good = isinstance(content, dict) and content.get("format") == FORMAT
    if not good or not isinstance(content.get("records"), list) or not isinstance(content.get("pieces"), dict):
        raise ValueError(f"{path} is not a file that `course progress --export` wrote")
    return content


def _saved_at(records) -> dict[str, str]:
    """When each piece was last saved."""
    return {r["exercise"]: r["at"] for r in records if store.is_record(r) and r["event"] == "piece" and "exercise" in r}


def _is_python(source) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, TypeError):
        return False
    return True


def main(argv=None) -> int:
    """`course progress [--export FILE | --import FILE]`."""
    parser = argparse.ArgumentParser(prog="course progress", description="Show, export or import what you have solved.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--export", metavar="FILE", help="write your progress and your pieces into one file")
    group.add_argument("--import", metavar="FILE", dest="source", help="merge such a file; twice is the same as once")
    options = parser.parse_args(argv)
    try:
        if options.export:
            print("\n".join([f"{export_to(options.export)} records written to {options.export}", *store.trouble()]))
        elif options.source:
            records, new = import_from(options.source)
            print(f"{records} new records and {new} new pieces from {options.source}")
        else:
            shown = [Progress().text(), f"{mastery.Mastery().title()}."]
            print("\n".join([*shown, *reviews.reminder(), *store.trouble()]))
    except (ValueError, OSError, store.StoreError) as err:
        print(f"course progress: {err}")
        return 1
    return 0
