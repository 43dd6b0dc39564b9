"""nbgrader's settings: problem sets are written in solutions/, students get exercises/, all else is in .nbgrader/."""

import os
import sys
from pathlib import Path

root = Path(__file__).resolve().parent
private = root / ".nbgrader"  # ignored by git
private.mkdir(exist_ok=True)

# Hidden tests import graded/, which is never installed; nbgrader calls alembic by name.
for name, folder in (("PYTHONPATH", root), ("PATH", Path(sys.executable).parent)):
    os.environ[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name)]))

c = get_config()  # noqa: F821 - jupyter defines it
c.CourseDirectory.root = str(root)
c.CourseDirectory.course_id = "quantization"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.CourseDirectory.submitted_directory = ".nbgrader/submitted"
c.CourseDirectory.autograded_directory = ".nbgrader/autograded"
c.CourseDirectory.feedback_directory = ".nbgrader/feedback"
c.CourseDirectory.solution_directory = ".nbgrader/solution"
c.CourseDirectory.db_url = f"sqlite:///{private}/gradebook.db"
c.NbGrader.logfile = str(private / "nbgrader.log")
c.Execute.timeout = 60  # seconds a cell: a slow machine needs some to load a model

# nbgrader's own autograde runs a student's code beside its tests, with all your rights. Here the command and the
# Formgrader's button run `course grade`, and generate_feedback writes the page of `course feedback`.
c.Autograde.exporter_class = "course_lib.grading.formgrader.Sandboxed"
c.GenerateFeedback.exporter_class = "course_lib.grading.formgrader.Page"
