"""`course export PSNN`: the grades of a class as a CSV file, for Canvas, for Moodle or for a spreadsheet."""

import argparse
import sys
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import export_rows, overlay, source
from course_lib.grading.export_rows import Line
from course_lib.grading.feedback_view import title
from course_lib.grading.generate import Course, ReleaseError, configuration
from course_lib.grading.gradebook import opened


def main(argv=None) -> int:
    """Run the command. Exit status: 0 all are written and final, 3 not all, 1 nothing was done, 2 wrong usage."""
    from sqlalchemy.exc import SQLAlchemyError

    options = _parser().parse_args(argv)
    try:
        found, path = run(options, overlay.opened(options.source, options.gradebook).course)
    except (ReleaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"The gradebook cannot be used: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    notes = list(said(found, options.to, options.by))
    print("\n".join([*notes, f"{path}"]))
    return 3 if notes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course export",
        description="Write a set's grades as CSV, with your points from the Formgrader, late penalties and extensions "
        "as nbgrader has them. Whoever has no score is left out of the files for Canvas and Moodle: no silent zero.",
        epilog="Exit status: 0 all are written and final, 3 not all, 1 nothing was done, 2 wrong usage.",
    )
    add = parser.add_argument
    add("set", metavar="PSNN", help="a problem set: ps01, or the whole name of its folder")
    add("--for", dest="to", choices=("canvas", "moodle", "plain"), default="plain", help="plain if not given")
    add("--out", type=Path, metavar="FILE", help="PSNN-canvas.csv and so on, here, if not given")
    add("--column", metavar="TITLE", help="the assignment's name there, for Canvas as its own export writes it: "
        "'Title (12345)'; the set's title if not given, which makes a new assignment")  # fmt: skip
    add("--by", choices=("email", "username"), default="email", help="how Moodle finds a student; email if not given")
    add("--gradebook", metavar="URL", help="nbgrader's gradebook, as for `course grade`")
    add("--source", type=Path, metavar="DIR", help="your private folder, or a folder of sets")
    return parser


def run(options, course: Course) -> tuple[list[Line], Path]:
    """Write the file; the grades and where they are. Errors: ValueError where nobody has handed in."""
    assignment = source.load(course.source / course.sets([options.set])[0])
    with opened(options.gradebook or course.gradebook, configuration(course)) as book:
        if not book.results(assignment.name):
            raise ValueError(f"Nobody has a grade for {assignment.name} yet; run `course grade {options.set}` first.")
        book.settle(assignment.name)
        found = export_rows.lines(book.book, assignment.name)
    column, path = options.column or title(assignment), options.out or Path(f"{assignment.short}-{options.to}.csv")
    rows = {
        "canvas": lambda: export_rows.canvas(found, column),
        "moodle": lambda: export_rows.moodle(found, column, options.by),
        "plain": lambda: export_rows.plain(found, assignment.name),
    }[options.to]()
    write_atomic(path, export_rows.write(rows, bom=options.to == "plain"))
    return found, path


def said(found: list[Line], to: str, by: str):
    """What the teacher should know before the file is imported, a sentence each."""
    scored = [line for line in found if line.score is not None]
    kinds = {  # of one student; of several it says "have" and "are"
        "handed in nothing": [line for line in found if line.state == "not handed in"],
        "could not be graded": [line for line in found if line.score is None and line.state != "not handed in"],
        "still has an answer to be read": [line for line in scored if not line.is_final],
        f"is left out, having no {by} in the gradebook": [
            line for line in scored if to == "moodle" and not export_rows.identity(line, by)
        ],
    }
    for what, some in kinds.items():
        if some:
            names = ", ".join(line.student for line in some[:8]) + (", …" if len(some) > 8 else "")
            words = what if len(some) == 1 else what.replace("still has", "still have").replace("is left", "are left")
            yield f"{len(some)} {words}: {names}"
