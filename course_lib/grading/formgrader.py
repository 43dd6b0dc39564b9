"""What nbgrader's own buttons and commands do in this course.

`nbgrader autograde` and the Formgrader's lightning run a student's code with all rights of the teacher, and the tests
beside it. nbgrader_config.py names these two classes as exporters, so that autograde becomes `course grade`, and
generate_feedback writes the page of `course feedback`.
"""

import os
import subprocess
import sys
from pathlib import Path

from nbconvert.exporters import Exporter, NotebookExporter
from nbgrader.converters.base import NbGraderException

from course_lib.files import repository
from course_lib.grading import feedback_page, feedback_view, overlay, source
from course_lib.grading.generate import Course
from course_lib.grading.gradebook import opened


def course_of(coursedir) -> Course:
    """The course that nbgrader works on."""
    return overlay.opened(Path(coursedir.root, coursedir.source_directory)).course


class Sandboxed(NotebookExporter):
    """For `c.Autograde.exporter_class`: made when autograde begins, grades in its place and leaves it nothing to do."""

    def __init__(self, config=None, **more):
        super().__init__(config=config, **more)
        self._grade(self.parent)
        self.parent.assignments = {}

    def _grade(self, autograde) -> None:
        """Run `course grade`; its words go to nbgrader's log. Errors: NbGraderException."""
        here = autograde.coursedir
        one = [] if here.student_id == "*" else ["--student", here.student_id]
        command = [
            sys.executable, "-m", "course_lib", "grade", here.assignment_id, *one, *(["--force"] * autograde.force),
            "--source", Path(here.root, here.source_directory).resolve(),
            "--submitted", Path(here.root, here.submitted_directory).resolve(), "--gradebook", here.db_url,
        ]  # fmt: skip
        path = os.pathsep.join(filter(None, [str(repository()), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            list(map(str, command)),
            cwd=here.root,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        for line in done.stdout.splitlines():
            autograde.log.info(line)
        if done.returncode not in (0, 3):
            raise NbGraderException(done.stderr.strip().split("\n")[-1] or f"course grade ended with {done.returncode}")


class Page(Exporter):
    """For `c.GenerateFeedback.exporter_class`: the page of `course feedback` for a graded notebook."""

    settled = False  # lateness, once for a whole class

    def from_filename(self, filename, resources=None, **_):
        """(the page, resources) for nbgrader's writer."""
        told = resources["nbgrader"]
        course = course_of(self.parent.coursedir)
        assignment = source.load(course.source / told["assignment"])
        with opened(told["db_url"], self.config) as book:
            if not self.settled:
                book.settle(assignment.name)
                self.settled = True
            view = feedback_view.view(book, assignment, told["student"], Path(filename))
        return feedback_page.render(view), resources | {"output_extension": ".html"}
