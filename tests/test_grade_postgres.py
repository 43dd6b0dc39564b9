"""The gradebook on a PostgreSQL server that the test starts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from traitlets.config import Config

from course_lib.files import repository
from course_lib.grading import results, source
from course_lib.grading.generate import Course, generate
from course_lib.grading.gradebook import Book
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission

pytest.importorskip("psycopg2", reason="psycopg2-binary is not among the course's packages yet")
PROGRAMS = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ["PATH"].split(os.pathsep))]
INITDB = next((folder / "initdb" for folder in PROGRAMS if (folder / "initdb").exists()), None)
pytestmark = pytest.mark.skipif(INITDB is None, reason="PostgreSQL is not installed here")
PS01 = source.load(next((repository() / "solutions").glob("ps01-*")))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a fresh server, which listens on a socket in a folder only."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="course-pg-"))  # a socket's path must be short
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    if user:
        os.chown(folder, 65534, 65534)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    subprocess.run([INITDB, "-D", folder / "data", "-U", "postgres", "-A", "trust"], check=True, **quiet)
    control = [INITDB.parent / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", f"-k {folder} -c listen_addresses=''", "start"], check=True, **quiet)
    yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder, ignore_errors=True)


def test_the_whole_way_on_postgresql(url, tmp_path):
    generate(Course(repository() / "solutions"), PS01.name, tmp_path, url)
    book = Book(url, Config())
    assert book.knows(PS01)
    seed = book.seed(PS01.name)
    scores = {question.id: Score(3.0) for question in PS01.questions}
    result = results.entry(Submission("anna"), PS01, "graded", scores, []) | {"written": {"explain": True}}
    for content in ("one", "two"):
        book.save(PS01, "anna", result, content, "measure")
    book.close()
    again = Book(url, Config())
    assert again.seed(PS01.name) == seed and again.results(PS01.name)["anna"][0] == "two"
    submission = again.book.find_submission(PS01.name, "anna")
    assert (submission.score, submission.max_score, submission.needs_manual_grade) == (15, 25, True)
    again.close()
