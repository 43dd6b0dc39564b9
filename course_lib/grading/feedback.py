"""`course feedback PSNN`: a page for each student, with what was lost and why."""

import argparse
import shlex
import sys
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import feedback_page, feedback_view, history, overlay, source
from course_lib.grading.generate import Course, ReleaseError, configuration
from course_lib.grading.gradebook import opened


def main(argv=None) -> int:
    """Run the command and return its exit status: 0, or 1 with one sentence."""
    from sqlalchemy.exc import SQLAlchemyError

    options = _parser().parse_args(argv)
    try:
        print(run(options, overlay.opened(options.source, options.gradebook).course))
    except (ReleaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"The gradebook cannot be used: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course feedback",
        description="Write a page for each student that `course grade` has graded: every question, its points, what "
        "was lost and why, your comments and points from the Formgrader; no hidden test, no path, no script.",
    )
    add = parser.add_argument
    add("set", metavar="PSNN", help="a problem set: ps01, or the whole name of its folder")
    add("--student", action="append", default=[], metavar="ID", help="only this student; may be given several times")
    add("--gradebook", metavar="URL", help="nbgrader's gradebook, as for `course grade`")
    add("--out", type=Path, metavar="DIR", help="where to put DIR/STUDENT/PSNN…/….html; feedback/ beside the graded "
        "notebooks if not given, where `nbgrader release_feedback` looks for it")  # fmt: skip
    add("--source", type=Path, metavar="DIR", help="your private folder, or a folder of sets")
    return parser


def run(options, course: Course) -> str:
    """Write the pages; what to tell the teacher."""
    assignment = source.load(course.source / course.sets([options.set])[0])
    url = options.gradebook or course.gradebook
    out = (options.out or course.beside(url) / "feedback").resolve()
    with opened(url, configuration(course)) as book:
        book.settle(assignment.name)
        graded = book.results(assignment.name)
        called = {result["student"]: account for account, (_, _, result) in graded.items()}
        wanted = [called.get(student, student) for student in options.student] or sorted(graded)
        if not wanted:
            raise ValueError(f"Nobody has a grade for {assignment.name} yet; run `course grade {options.set}` first.")
        lines = [write(book, course, assignment, student, url, out) for student in wanted]
        changes = [c for c in history.changes(book.db, assignment.name) if c.student in wanted]
    lines += ["", f"{len(wanted)} pages below {out}"]
    if changes:
        lines += ["", "Grades that were given again (UTC):", history.table(changes)]
    return "\n".join([*lines, "", "One of them again, with the same hidden numbers:", _again(options)])


def write(book, course: Course, assignment, student: str, url: str, out: Path) -> str:
    """Write a student's page; a line about it."""
    graded = course.beside(url) / "autograded" / student / assignment.name / f"{assignment.notebook}.ipynb"
    view = feedback_view.view(book, assignment, student, graded)
    folder = out / student / assignment.name
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{assignment.notebook}.html", feedback_page.render(view))
    score = f"{history.points(view.points)} of {history.points(view.of)}"
    return f"{student:16}  {score:16}{'  an answer waits for you' if view.waits else ''}".rstrip()


def _again(options) -> str:
    more = ["--gradebook", options.gradebook] if options.gradebook else []
    more += ["--source", str(options.source)] if options.source else []
    return f"  course grade {options.set} --student ID --force --reason TEXT {shlex.join(more)}".rstrip()
