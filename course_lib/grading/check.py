"""`course check FILE.ipynb`: the visible checks of your copy of a problem set, before you hand it in.

There is no sandbox, because it is the learner's own code. The notebook runs from top to bottom in a process of its own,
as "Restart Kernel and Run All Cells" would run it, with the test cells as they were released. The points come later,
from the same properties on hidden numbers.
"""

import argparse
import contextlib
import io
import multiprocessing
import re
import sys
from pathlib import Path

from course_lib.grading import match, notebooks, source, submission
from course_lib.grading.generate import root_of
from course_lib.grading.match import Found
from course_lib.grading.source import Assignment, Question
from course_lib.grading.submission import Unreadable

PATIENCE_S = 120.0  # without any news from the notebook


def main(argv=None) -> int:
    """Run the command. Exit status: 0 when all visible checks hold, 3 when some do not, 1 when nothing could be run."""
    parser = argparse.ArgumentParser(prog="course check", description=__doc__.split("\n\n")[0].partition(": ")[2])
    parser.add_argument("file", type=Path, metavar="FILE.ipynb", help="your copy of a problem set")
    parser.add_argument("--exercises", type=Path, metavar="DIR", help="where the released sets lie; exercises/")
    parser.add_argument("--source", type=Path, metavar="DIR", help="a teacher's private folder: its exercises/")
    options = parser.parse_args(argv)
    try:
        notebook, repairs = submission.parse(options.file.read_bytes())
        exercises = options.exercises or root_of(options.source) / "exercises"
        assignment = released(exercises, notebook, options.file.stem)
    except (Unreadable, OSError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    found = match.find(notebook, assignment)
    for sentence in repairs + found.repairs:
        print(f"Note: {sentence}")
    if options.file.name != f"{assignment.notebook}.ipynb":
        print(f"Note: hand it in as {assignment.notebook}.ipynb.")
    held = list(run(assignment, found))
    for answer in assignment.written:
        done = found.written.get(answer.id, "").split() not in ([], answer.stub.split())
        print(f"{answer.id}: {'answered' if done else 'not answered yet'}; a person reads it.")
    print(f"{sum(held)} of {len(assignment.questions)} questions: all visible checks hold.")
    return 0 if sum(held) == len(assignment.questions) else 3


def released(exercises: Path, notebook: dict, stem: str) -> Assignment:
    """The released set that a notebook belongs to: by its name, else by its cells. Errors: ValueError."""
    paths = sorted(exercises.glob("*/*.ipynb"))
    sets = [source.parse(notebooks.read(path), path.parent.name, path.stem) for path in paths]
    named = [one for one in sets if stem.startswith((one.notebook, one.short))]
    rated = [(len([p for p in match.find(notebook, one).cells if p.id]), one) for one in named or sets]
    count, best = max(rated, key=lambda pair: pair[0], default=(0, None))
    if not count:
        raise ValueError(f"This is none of the problem sets in {exercises}: none of its questions is in there.")
    return best


def run(assignment: Assignment, found: Found):
    """Print each question's visible checks as they come; yields whether all of them hold."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, assignment.questions, found), daemon=True)
    process.start()
    theirs.close()
    running = "the notebook"
    try:
        while True:
            if not ours.poll(PATIENCE_S):
                print(f"Stopped: {running} has not ended for {PATIENCE_S:.0f} s.")
                return
            kind, content = ours.recv()
            if kind == "running":
                running = content
            elif kind == "said":
                print(content)
            else:
                yield content
    except (EOFError, BrokenPipeError):  # the process is gone; on Windows it is poll that says so
        process.join()
        if process.exitcode:
            print(f"Stopped: {running} has ended the process.")
    finally:
        process.kill()


def _run(pipe, questions: tuple[Question, ...], found: Found) -> None:
    """In the process of its own: all cells in their order, each question's test where the notebook has it."""
    from course_lib.grading.inside.cells import Space

    space, pending = Space(), list(questions)
    tests = {question.test.id: question for question in questions}
    for part in found.all:
        if part.id in tests and tests[part.id] in pending:
            _test(pipe, space, tests[part.id])
            pending.remove(tests[part.id])
        elif not pending:
            break
        elif part in found.cells:
            pipe.send(("running", f"cell {part.id or part.at + 1}"))
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                error = space.run(part.at, part.source, PATIENCE_S / 2)
            if error and part.id:
                pipe.send(("said", f"{part.id}: the cell stopped with {error['type']}: {error['text']}"))
    for question in pending:
        _test(pipe, space, question)


def _test(pipe, space, question: Question) -> None:
    pipe.send(("running", f"the test of {question.id}"))
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink):
        error = space.run(0, question.test.released, PATIENCE_S / 2)
    said = sink.getvalue().rstrip()
    held = re.search(r"^(\d+) of (\d+) visible checks hold", said, re.M)
    said += f"\n  not yet    {error['type']}: {error['text']}" if error else ""
    pipe.send(("said", said + "\n"))
    pipe.send(("held", not error and (held is None or held[1] == held[2])))
