"""Run a grader over a class made from the bank, and keep all that comes back."""

import compileall
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading.submission import Submission
from tests.hostile import bank, checks
from tests.hostile.bank import CANARY, ROOT, Entry, Place

LARGE = 8 << 20  # bytes that nobody wants to open
SECONDS = 2  # what a cell, and the test of a question, may take in these runs; waiting for a processor is free
SECRET = {"COURSE_SECRET_CANARY": CANARY["environ"], "PGPASSWORD": CANARY["environ"]}


@dataclass
class Graded:
    """What came of one run."""

    place: Place
    status: int
    said: str
    submissions: dict = field(default_factory=dict)
    before: dict = field(default_factory=dict)
    contacts: list = field(default_factory=list)
    count: int = 0  # entries in the report
    pages: dict = field(default_factory=dict)  # student -> {name: bytes} that goes to the student

    def problems(self, entry: Entry) -> list[str]:
        """What is wrong about one student's result."""
        submission, pages = self.submissions.get(entry.student), self.pages.get(entry.student, {})
        returned = {"report.json": json.dumps(submission).encode(), **pages}
        found = checks.of_scores(entry, submission) + checks.of_secrets(entry, returned)
        found += [f"size: {name} has {len(data)} bytes" for name, data in returned.items() if len(data) > LARGE]
        return found + checks.of_pages({name: data for name, data in pages.items() if name.endswith(".html")})

    def problems_outside(self) -> list[str]:
        """What was changed, left, or reached outside of the sandbox by anybody."""
        place, after = self.place, snapshot(self.place)
        found = checks.of_changes(self.before, after) + checks.of_processes()
        found += [f"network: {contact}" for contact in self.contacts]
        spots = [Path(p) for p in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/etc", "/root", "/dev/mqueue")]
        return found + checks.of_marks([*spots, place.submitted], [ROOT, place.path])


def snapshot(place: Place) -> dict:
    """All that must stay as it is."""
    folders = (place.submitted, place.home, place.old_book.parent, ROOT / "graded", ROOT / "solutions")
    return {path: said for folder in folders for path, said in checks.snapshot(folder).items()}


@contextlib.contextmanager
def listening(contacts: list):
    """Servers on this machine that nobody in the sandbox may reach; yields their port."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp, abstract = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
    udp.bind(("127.0.0.1", port))
    abstract.bind(f"\0course-hostile-{port}")
    abstract.listen()

    def serve(what, wait):
        with contextlib.suppress(OSError):
            while wait():
                contacts.append(what)

    servers = (("tcp", tcp, tcp.accept), ("udp", udp, lambda: udp.recv(99)), ("unix", abstract, abstract.accept))
    for name, _, wait in servers:
        threading.Thread(target=serve, args=(name, wait), daemon=True).start()
    try:
        yield port
    finally:
        for _, server, _ in servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()


@contextlib.contextmanager
def a_place():
    """A folder that every user can enter, outside of the course and of pytest's private folders."""
    folder = Path(tempfile.mkdtemp(prefix="course-class-")).resolve()
    try:
        folder.chmod(0o755)
        yield Place(folder / "class")
    finally:
        subprocess.run(["rm", "-rf", folder], stderr=subprocess.DEVNULL)  # shutil falls over folders in folders


def environment(place: Place, **more: str) -> dict:
    """The grader's environment, which holds a secret."""
    return {**os.environ, **SECRET, "HOME": str(place.home), "COURSE_TIME_LIMIT": str(SECONDS), **more}


def naive(entries: list[Entry], place: Place, seeds: tuple[int, ...] = (), timeout: float = 600) -> Graded:
    """The class as the naive grader sees it, in a bubblewrap that protects this machine from it.

    With seeds, every answer is judged on the hidden cases that each of them draws, too.
    """
    bank.make_class(entries, place)
    before = snapshot(place)
    wall = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    for path in (ROOT, sys.prefix, sys.base_prefix):  # which may lie below /tmp themselves
        wall += ["--ro-bind", path, path]
    wall += ["--bind", place.path, place.path, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent"]
    report, pages = place.path / "report.json", place.path / "feedback"
    command = [*wall, "--chdir", ROOT, sys.executable, "-m", "tests.hostile.naive", place.submitted, report, pages]
    home = {"IPYTHONDIR": str(place.path / "ipython"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, [*command, *seeds])), cwd=ROOT, env=environment(place, **home), capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip
    assert report.exists(), done.stderr[-3000:]
    graded = Graded(place, done.returncode, done.stdout + done.stderr, before=before)
    graded.submissions = {s["student"]: s for s in json.loads(report.read_text())["submissions"]}
    for page in pages.glob("*/page.html"):
        graded.pages[page.parent.name] = {"page.html": page.read_bytes()}
    return graded


def course_grade(entries: list[Entry], place: Place, workers: int = 2, timeout: float = 3000) -> Graded:
    """The class as `course grade` sees it, and what its students are shown."""
    contacts: list = []
    compileall.compile_dir(ROOT / "graded", quiet=2)  # or another test's import would be taken for a student's change
    with listening(contacts) as place.port:
        bank.make_class(entries, place)
        before = snapshot(place)
        report = place.path / "report.json"
        command = [Path(sys.executable).with_name("course"), "grade", "ps01", "--submitted", place.submitted]
        command += ["--gradebook", f"sqlite:///{place.gradebook}", "--json", report, "--workers", workers]
        done = subprocess.run(
            list(map(str, command)), cwd=place.path, env=environment(place), capture_output=True, timeout=timeout,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        assert report.exists(), f"exit status {done.returncode}: {done.stderr[-3000:]}"
    graded = Graded(place, done.returncode, done.stdout + done.stderr, before=before, contacts=contacts)
    submissions = json.loads(report.read_text(encoding="utf-8"))["submissions"]
    graded.count = len(submissions)
    graded.submissions = {submission["student"]: submission for submission in submissions}
    for entry in entries:
        folder = place.path / "autograded" / Submission(entry.student).account
        files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        graded.pages[entry.student] = files
    return graded


def feedback(graded: Graded, students: str) -> None:
    """Add nbgrader's own feedback pages, for the students whose names match."""
    place = graded.place
    settings = dict(
        root=place.path, db_url=f"sqlite:///{place.gradebook}", autograded_directory="autograded",
        feedback_directory="feedback", student_id=students,
    )  # fmt: skip
    flags = [f"--CourseDirectory.{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "nbgrader", "generate_feedback", bank.source_path().parent.name, *flags]
    done = subprocess.run(command, cwd=place.path, env=environment(place), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for student, pages in graded.pages.items():
        for page in (place.path / "feedback" / Submission(student).account).rglob("*.html"):
            pages[page.name] = page.read_bytes()
