"""`course grade --scheduler`: a class on a Dask cluster, one of whose workers is killed; what is refused, and how."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from course_lib.files import repository
from course_lib.grading import notebooks, remote, scheduler, source
from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.grade import main
from course_lib.grading.scheduler import Cluster, NoCluster
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting
from tests.registered import gradebook

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))
RIGHT = {c.grade_id: notebooks.without_markers(c.source) for c in PS01.cells if c.solution and not c.grade}
WRONG = RIGHT | {"q1": RIGHT["q1"].replace("-top, top - 1", "-top, top")}
SLOW = RIGHT | {"q5": "import time\n\ntime.sleep(1.5)\n" + RIGHT["q5"]}
STUDENTS = {"anna": RIGHT, "bert": WRONG, "carl": SLOW, "dora": SLOW, "emil": SLOW, "<fay>": WRONG}
QUIET = {"dashboard_address": ":0", "silence_logs": 50}
HERE = QUIET | {"processes": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a class, and a gradebook that knows the set."""
    folder = tmp_path_factory.mktemp("cluster")
    for student, answers in STUDENTS.items():
        notebook = notebooks.read(ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
        for raw in notebook["cells"]:
            raw["source"] = answers.get(raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"])
        (folder / "submitted" / student / PS01.name).mkdir(parents=True)
        (folder / "submitted" / student / PS01.name / f"{PS01.notebook}.ipynb").write_text(json.dumps(notebook))
    shutil.copy(gradebook(tmp_path_factory), folder / "gradebook.db")
    return folder


def start(place, *more):
    command = [sys.executable, "-m", "course_lib", "grade", "ps01", "--submitted", place / "submitted", *more]
    command += ["--gradebook", f"sqlite:///{place}/gradebook.db", "--json", place / "report.json"]
    return subprocess.Popen(
        list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def finish(process, place):
    """{student: (status, score, reasons)} of a command that has ended well."""
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 0 and "Traceback" not in complaints, complaints
    entries = json.loads((place / "report.json").read_text())["submissions"]
    return {e["student"]: (e["status"], e["score"], [q["reasons"] for q in e["questions"]]) for e in entries}


def rows(place):
    with closing(sqlite3.connect(place / "gradebook.db")) as book:
        try:
            return dict(book.execute("select student, count(*) from course_result group by student"))
        except sqlite3.OperationalError:  # not there yet, or just being written
            return {}


@pytest.mark.sandbox
def test_a_worker_that_is_killed_costs_nobody_a_grade(place):
    with LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as cluster:
        victim = cluster.workers[0].pid
        process = start(place, "--scheduler", cluster.scheduler_address)
        wait_for(lambda: rows(place) and busy(cluster, victim))
        below = graders(victim)
        os.kill(victim, signal.SIGKILL)
        assert below and len(rows(place)) < len(STUDENTS)
        found = finish(process, place)
        assert victim not in [nanny.pid for nanny in cluster.workers.values()]
        wait_for(lambda: not any(psutil.pid_exists(pid) for pid in below))  # its sandbox has ended with it
        left = [graders(nanny.pid) for nanny in cluster.workers.values()]
        assert not any(left)
    assert len(rows(place)) == len(STUDENTS) and set(rows(place).values()) == {1}
    assert {status for status, *_ in found.values()} == {"graded"}
    assert found["anna"][1] == found["carl"][1] == 20 and found["bert"][1] == found["<fay>"][1] == 18
    assert finish(start(place, "--force"), place) == found
    assert not list(Path(tempfile.gettempdir()).glob(f"course-grade-{victim}-*"))  # the hidden tests are gone


def busy(cluster, pid):
    """Whether a worker has a submission at the moment."""
    addresses = [nanny.worker_address for nanny in cluster.workers.values() if nanny.pid == pid]
    return any(cluster.scheduler.workers[address].processing for address in addresses)


def graders(pid):
    """The processes below a worker, its sandbox among them."""
    try:
        return [p.pid for p in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


# ---- without a sandbox: a worker in this process, and a stand-in for what it starts


class House:
    """Stands for a grading process on a worker; a student's name says what becomes of it."""

    made, closed = 0, 0

    def __init__(self, parcel):
        House.made += 1
        self.pool, self.said, self.since = self, [], 0.0

    def close(self):
        House.closed += 1

    def run(self, units):
        student = units[0].student
        if student == "no sandbox":
            raise NoSandbox("There is none.")
        if student == "slow":
            time.sleep(0.5)
        self.said.append("slowly")
        yield units[0], {"lost": None, "other": {"student": "anna"}}.get(student, {"student": student, "score": 1.5})


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A set with its hidden half, and workers that start nothing."""
    monkeypatch.setattr(remote, "House", House)
    House.made = House.closed = 0
    for path in ("graded/ps09/q1.py", "graded/ps09/__pycache__/q1.pyc", "sets/ps09/ps09.ipynb", "sets/ps08/x.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return Setting(str(tmp_path), str(tmp_path / "sets" / "ps09"), "", 7)


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two workers in this process."""
    with LocalCluster(n_workers=2, threads_per_worker=2, **HERE) as cluster:
        yield cluster


def run(cluster, setting, students, say=print):
    with Cluster(cluster.scheduler_address, setting, say) as workers:
        return {unit.student: result for unit, result in workers.run([Submission(s) for s in students])}


def test_every_unit_comes_back_once_and_a_reply_for_somebody_else_is_none(cluster, setting):
    told = []
    students = [f"s{number}" for number in range(40)]
    found = run(cluster, setting, [*students, "lost", "other"], told.append)
    assert found == {s: {"student": s, "score": 1.5} for s in students} | {"lost": None, "other": None}
    assert told == ["slowly"]  # once, whoever says it
    assert 1 <= House.made <= 4 and House.closed == House.made  # no more than threads, and none is left


def test_few_are_on_their_way_at_a_time(cluster, setting, monkeypatch):
    monkeypatch.setattr(scheduler, "AHEAD_BYTES", 10)
    units = [Submission(str(n), (("a.ipynb", b"x" * size),)) for n, size in enumerate([4, 4, 400, 4, 4])]
    with Cluster(cluster.scheduler_address, setting) as workers:
        assert sorted(unit.student for unit, _ in workers.run(units)) == list("01234")


def test_a_worker_with_another_version_grades_nothing(cluster, setting, monkeypatch):
    versions = iter(["course 1", "course 2", "course 2"])
    monkeypatch.setattr(remote, "library", lambda: next(versions))
    with pytest.raises(NoSandbox, match=r"has another version of the course \(course 2\).*\(course 1\)"):
        run(cluster, setting, ["anna"])
    assert House.made == 0


def test_a_worker_without_a_sandbox_ends_the_batch(cluster, setting):
    with pytest.raises(NoSandbox, match="The worker inproc://.* cannot grade. There is none."):
        run(cluster, setting, ["no sandbox"])
    assert House.closed == House.made


def test_a_cluster_without_workers_says_so_and_goes_on_when_one_comes(setting, monkeypatch):
    monkeypatch.setattr(scheduler, "PATIENCE_S", 0.0)
    told = []
    with LocalCluster(n_workers=0, **HERE) as empty:

        def say(sentence):
            told.append(sentence)
            empty.scale(1)

        assert run(empty, setting, ["anna"], say) == {"anna": {"student": "anna", "score": 1.5}}
    assert "no workers" in told[0] and told[1:] == ["slowly"]


def test_a_scheduler_that_ends_is_one_sentence(setting, monkeypatch):
    monkeypatch.setattr(scheduler, "CONNECT_S", 0.5)
    with LocalCluster(n_workers=1, **HERE) as short:
        with pytest.raises(NoCluster, match="is gone. What was graded is kept"):
            with Cluster(short.scheduler_address, setting) as workers:
                for _ in workers.run([Submission(s) for s in ("anna", "slow", "slow2")]):
                    short.close()


def test_what_travels_is_the_set_and_its_hidden_half(setting, tmp_path):
    there = tmp_path / "there"
    unpacked = remote.Parcel.pack("name", setting).unpack(there)
    files = sorted(path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file())
    assert files == ["graded/ps09/q1.py", "solutions/ps09/ps09.ipynb"]
    assert (there / files[0]).read_text() == files[0]
    assert (unpacked.root, unpacked.folder, unpacked.seed) == (str(there), str(there / "solutions" / "ps09"), 7)


def test_slots_of_one_machine_differ_and_come_free():
    (one, first), (two, second) = remote._slot(), remote._slot()
    first.close()
    again, third = remote._slot()
    second.close()
    third.close()
    assert remote.FIRST_SLOT <= one < two and again == one


@pytest.mark.parametrize(
    "more, said",
    [(["--scheduler", "tcp://127.0.0.1:9"], "No Dask scheduler answers at tcp://127.0.0.1:9"),
     (["--scheduler", "nonsense://"], "No Dask scheduler answers at nonsense://"),
     (["--scheduler", "tls://127.0.0.1:9"], "tls:// needs certificates"),
     (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "--workers is for this machine"),
     (["--scheduler", "without"], "pip install distributed")],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(place, tmp_path_factory, capsys, monkeypatch, tmp_path, more, said):
    monkeypatch.setattr(scheduler, "CONNECT_S", 0.3)
    if "without" in more:
        monkeypatch.setitem(sys.modules, "distributed", None)
    book = tmp_path / "gradebook.db"
    shutil.copy(gradebook(tmp_path_factory), book)
    assert main(["ps01", "--submitted", str(place / "submitted"), "--gradebook", f"sqlite:///{book}", *more]) == 1
    err = capsys.readouterr().err
    assert said in err and err.strip().count("\n") == 0


def test_the_guide_shows_the_projection_that_was_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "grade_speed.json").read_text(encoding="utf-8"))
    guide = (ROOT / "teaching" / "clusters.md").read_text(encoding="utf-8")
    assert "\n".join(measured["results"]["projection"]) in guide
