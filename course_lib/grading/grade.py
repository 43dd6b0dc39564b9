"""`course grade PSNN`: grade what a class has handed in, each notebook in a sandbox."""

import argparse
import sys
from pathlib import Path

from course_lib.grading import bubblewrap, overlay, report
from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.engine import Batch
from course_lib.grading.generate import Course, ReleaseError
from course_lib.grading.pool import PoolBroken


def main(argv=None) -> int:
    """Run the command. Exit status: 0 all graded, 3 some could not be graded, 1 nothing was done, 2 bad usage."""
    options = _parser().parse_args(argv)
    try:
        if not options.scheduler:
            bubblewrap.find()
        opened = overlay.opened(options.source, options.gradebook, options.cohort)
        opened.keep(options.gradebook or opened.course.gradebook, opened.course.sets([options.set]))
        results = run(options, opened.course)
    except (NoSandbox, PoolBroken, ReleaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError  # takes its time, and most never need it

        if not isinstance(error, SQLAlchemyError):
            raise
        print(f"The gradebook cannot be used: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    print(report.table(results))
    if options.json:
        report.write(options.json, results)
    return report.exit_status(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course grade",
        description="Grade what a class has handed in (DIR/STUDENT/PSNN…/*.ipynb), each notebook in a sandbox. "
        "A notebook that was graded before, with the same tests and the same secret seed, keeps its grade.",
        epilog="Exit status: 0 all graded, 3 some could not be graded, 1 nothing was done, 2 wrong usage.",
    )
    add = parser.add_argument
    add("set", metavar="PSNN", help="a problem set: ps01, or the whole name of its folder")
    add("--submitted", type=Path, metavar="DIR", help="where the class lies; .nbgrader/submitted if not given")
    add("--student", action="append", default=[], metavar="ID", help="only this student; may be given several times")
    add("--workers", type=int, default=1, metavar="N", help="how many notebooks at a time; 1 if not given")
    add("--scheduler", default="", metavar="ADDRESS", help="a Dask cluster whose machines grade, as tcp://HOST:8786; "
        "see teaching/clusters.md")  # fmt: skip
    add("--gradebook", metavar="URL", help="nbgrader's gradebook, as sqlite:///FILE or postgresql+psycopg2://…; graded "
        "notebooks go to autograded/ beside such a FILE, else to .nbgrader/autograded")  # fmt: skip
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on where a batch has stopped (so it does anyway)")
    again.add_argument("--force", action="store_true", help="grade everything again, with the same seed")
    add("--new-seed", action="store_true", help="draw new hidden cases; all are graded again")
    add("--reason", default="", metavar="TEXT", help="why you grade again; history and feedback show it")
    add("--json", type=Path, metavar="FILE", help="write a report for programs")
    add("--source", type=Path, metavar="DIR", help="your private folder, laid over the course's; or a folder of sets")
    add("--cohort", metavar="NAME", help="the class, where the gradebook does not know it from `course release`")
    return parser


def run(options, course: Course) -> list[dict]:
    """Grade, with a progress bar and one writer; the results. Errors: those that end the command."""
    from filelock import FileLock, Timeout
    from tqdm import tqdm

    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}.")
    if options.workers > 1 and options.scheduler:
        raise ValueError("--workers is for this machine; with --scheduler the cluster has workers of its own.")
    submitted = options.submitted or course.root / ".nbgrader" / "submitted"
    if not submitted.is_dir():
        raise ValueError(f"There is nothing to grade in {submitted}: run `course collect {options.set} FOLDER` first.")
    batch = Batch(
        course, course.sets([options.set])[0], submitted, options.gradebook or course.gradebook,
        tuple(options.student), options.workers, options.force, options.new_seed, say=tqdm.write,
        scheduler=options.scheduler, reason=options.reason,
    )  # fmt: skip
    home = batch.graded_folder().parent
    home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(home / "grade.lock", timeout=0), tqdm(unit="notebook", disable=None) as bar:
            results = []
            for total, result in batch.run():
                bar.total = total
                bar.update()
                results.append(result)
    except Timeout:
        raise ValueError("Another `course grade` is writing to this gradebook; wait until it has ended.") from None
    return results
