"""The gradebook on a PostgreSQL server that the test starts."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2
import pytest
from traitlets.config import Config

from course_lib import doctor
from course_lib.files import repository
from course_lib.grading import results, source
from course_lib.grading.generate import Course, generate
from course_lib.grading.gradebook import Book
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission

pytestmark = pytest.mark.postgres
NOBODY = 65534  # the server refuses to run as root
START_S = 120
PS01 = source.load(next((repository() / "solutions").glob("ps01-*")))


@pytest.fixture(scope="module")
def url():
    """The address of a fresh server, which listens on a socket in a folder only and ends with the tests."""
    folder = Path(tempfile.mkdtemp(prefix="course-pg-", dir="/tmp"))  # a socket's path must be short
    server = None
    try:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if user:
            os.chown(folder, NOBODY, NOBODY)
        initdb, log = Path(doctor.postgres()).resolve(), folder / "log"
        with open(log, "wb") as words:
            said = {"stdin": subprocess.DEVNULL, "stdout": words, "stderr": words, "cwd": folder, **user}
            make = [initdb, "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
            assert subprocess.run(make, **said).returncode == 0, log.read_text()
            run = [initdb.parent / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-F"]
            server = subprocess.Popen(run, start_new_session=True, **said)  # Ctrl-C is for pytest
        wait(server, folder, log)
        yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once, whoever is connected
            server.wait(START_S)
        shutil.rmtree(folder, ignore_errors=True)


def wait(server: subprocess.Popen, folder: Path, log: Path) -> None:
    """Until the server lets a client in."""
    end = time.monotonic() + START_S
    while True:
        try:
            return psycopg2.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg2.OperationalError:
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)


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
