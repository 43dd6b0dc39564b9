"""Batches with stand-ins for the workers: what is graded again and what is not, workers that die, wrong usage."""

import importlib
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from course_lib.files import repository
from course_lib.grading import bubblewrap, engine, pool, quick, results, source
from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.generate import Course
from course_lib.grading.grade import main
from course_lib.grading.pool import Pool, PoolBroken
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission
from tests.registered import gradebook

ROOT = repository()
FOLDER = next((ROOT / "solutions").glob("ps01-*"))
PS01 = source.load(FOLDER)

# ---- workers


def give(pipe, slot, setting):
    """A worker that gives each student's name back; what a name begins with says what happens."""
    if slot == 7:
        pipe.send(("no sandbox", "there is none"))
        return
    if slot == 8:
        return
    pipe.send(("ready", setting == "cold"))
    while True:
        try:
            unit, _seed = pipe.recv()
        except EOFError:
            return
        if unit.student.startswith("dies"):
            os._exit(9)
        if unit.student.startswith("slow"):
            time.sleep(30)
        once = os.path.join(setting, unit.student)
        if unit.student.startswith("once") and not os.path.exists(once):
            open(once, "w").close()
            os._exit(9)
        pipe.send(("graded", {"student": unit.student, "slot": slot}))


class Give:
    """Work that needs no preparation."""

    def __init__(self, setting, slots):
        self.setting = setting

    def renew(self, slot):
        pass

    def serve(self, pipe, slot):
        give(pipe, slot, self.setting)

    def close(self):
        pass


def run(students, setting, size=2, **more):
    with Pool(size, setting, work=Give, **more) as workers:
        return {unit.student: result for unit, result in workers.run([Submission(s) for s in students])}


def test_every_unit_comes_back_once_whatever_happens_to_its_worker(tmp_path):
    students = ["a", "dies1", "b", "once1", "dies2", "c", "once2"]
    found = run(students, str(tmp_path))
    assert sorted(found) == sorted(students)
    assert {s for s, result in found.items() if result is None} == {"dies1", "dies2"}
    assert all(result["student"] == s for s, result in found.items() if result)


def test_a_worker_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "UNIT_S", 0.5)
    found = run(["a", "slow", "b"], str(tmp_path), size=1)
    assert found["slow"] is None and found["a"] and found["b"]


def test_no_worker_waits_for_work_that_is_there(tmp_path, monkeypatch):
    with Pool(1, str(tmp_path), work=Give) as workers:
        first = workers.run([Submission("a"), Submission("b")])
        next(first)
        assert workers.workers[0].unit.student == "b"  # while the result for a is being written
        assert next(first)[0].student == "b"
        wait = pool.connection.wait
        monkeypatch.setattr(pool.connection, "wait", lambda *a, **k: workers.workers[0].unit and wait(*a, **k))
        assert [unit.student for unit, _ in workers.run([Submission("c")])] == ["c"]  # a cluster's worker


def test_two_workers_have_slots_of_their_own(tmp_path):
    with Pool(2, str(tmp_path), work=Give) as workers:
        list(workers.run([Submission(str(n)) for n in range(20)]))
        assert [one.slot for one in workers.workers] == [0, 1]


def test_a_system_without_nested_namespaces_is_told_once(tmp_path):
    told = []
    run(["a", "b"], "cold", say=told.append)
    assert len(told) == 1 and "slowly" in told[0]


@pytest.mark.parametrize("slot, error", [(7, NoSandbox), (8, PoolBroken)])
def test_workers_that_cannot_start_end_the_batch(slot, error, tmp_path):
    workers = Pool(0, str(tmp_path), work=Give)
    workers.workers = [pool._Worker(slot, workers.mother)]
    with workers, pytest.raises(error):
        list(workers.run([Submission("a")]))


# ---- batches


class Fake:
    """Stands for a Pool: gives every submission three points a question."""

    graded: list = []

    def __init__(self, size, setting, say):
        self.seed = setting.seed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, units):
        Fake.seed = self.seed
        for unit in units:
            Fake.graded.append(unit.student)
            if unit.student == "lost":
                yield unit, None
                continue
            result = results.entry(unit, PS01, "graded", {q.id: Score(3.0, ["why"]) for q in PS01.questions}, [])
            yield unit, result | {"written": {"explain": False}, "notebook": '{"cells": []}'}


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    return gradebook(tmp_path_factory)


@pytest.fixture
def course(tmp_path, monkeypatch, registered):
    """grade(*options): run the command with stand-ins; (exit status, {student: entry}, who was graded)."""
    monkeypatch.setattr(engine, "Pool", Fake)
    monkeypatch.setattr(bubblewrap, "find", lambda: "bwrap")
    (tmp_path / "gradebook.db").write_bytes(registered.read_bytes())

    def grade(*more):
        Fake.graded = []
        paths = ["--submitted", tmp_path / "submitted", "--gradebook", f"sqlite:///{tmp_path}/gradebook.db"]
        status = main(list(map(str, ["ps01", *paths, "--json", tmp_path / "r.json", *more])))
        report = tmp_path / "r.json"
        found = json.loads(report.read_text())["submissions"] if status in (0, 3) else []
        return status, {entry["student"]: entry for entry in found}, sorted(Fake.graded)

    def hand_in(student, text="{}"):
        folder = tmp_path / "submitted" / student / PS01.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{PS01.notebook}.ipynb").write_text(text)

    return SimpleNamespace(grade=grade, hand_in=hand_in, path=tmp_path)


def test_only_what_is_new_is_graded_again(course):
    course.hand_in("anna")
    course.hand_in("bert")
    status, found, graded = course.grade()
    assert status == 0 and graded == ["anna", "bert"] and found["anna"]["score"] == 15
    assert course.grade() == (0, found, []) and course.grade("--resume") == (0, found, [])
    course.hand_in("bert", '{"cells": []}')
    course.hand_in("carl")
    assert course.grade()[2] == ["bert", "carl"]
    assert course.grade("--student", "anna", "--student", "carl")[1].keys() == {"anna", "carl"}
    assert course.grade("--force")[2] == ["anna", "bert", "carl"]


def test_a_new_seed_grades_everybody_again_and_stays(course):
    course.hand_in("anna")
    course.grade()
    first = Fake.seed
    assert course.grade("--force")[2] == ["anna"] and Fake.seed == first
    assert course.grade("--new-seed")[2] == ["anna"] and Fake.seed != first
    second = Fake.seed
    assert course.grade()[2] == [] and course.grade("--force")[2] == ["anna"] and Fake.seed == second


def test_a_changed_test_grades_everybody_again(course, monkeypatch):
    course.hand_in("anna")
    course.grade()
    monkeypatch.setattr(engine, "VERSION", "another")
    assert course.grade()[2] == ["anna"]


def test_a_failure_of_the_grader_is_no_zero_and_tried_anew(course):
    course.hand_in("lost")
    status, found, _ = course.grade()
    assert status == 3 and (found["lost"]["status"], found["lost"]["score"]) == ("failed", None)
    assert course.grade()[2] == ["lost"]


def test_one_writer_at_a_time(course, capsys):
    from filelock import FileLock

    course.hand_in("anna")
    with FileLock(course.path / "grade.lock"):
        assert course.grade()[0] == 1
    assert "Another `course grade`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [(["ps77"], "There is no problem set 'ps77'"), (["ps01", "--workers", "0"], "at least 1"),
     (["ps01", "--submitted", "/no/such/folder"], "nothing to grade in /no/such/folder")],
)  # fmt: skip
def test_wrong_usage_is_one_sentence(course, capsys, arguments, said):
    course.hand_in("anna")
    options = {"--submitted": course.path / "submitted", "--gradebook": f"sqlite:///{course.path}/gradebook.db"}
    more = [str(word) for name, value in options.items() if name not in arguments for word in (name, value)]
    assert main([*arguments, *more]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert course.grade("--student", "nobody")[0] == 1 and "handed in nothing" in capsys.readouterr().err


def test_without_bubblewrap_nothing_is_graded(course, capsys, monkeypatch):
    course.hand_in("anna")
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(course.path))
    assert course.grade()[0] == 1 and bubblewrap.INSTALL in capsys.readouterr().err


def test_graded_notebooks_lie_beside_the_gradebook_or_where_nbgrader_looks(course):
    course.hand_in("anna")
    course.grade()
    assert (course.path / "autograded" / "anna" / PS01.name / f"{PS01.notebook}.ipynb").is_file()
    home = Course(ROOT / "solutions")
    for url in (home.gradebook, "postgresql+psycopg2://localhost/grades"):
        batch = engine.Batch(home, PS01.name, course.path, url)
        assert batch.graded_folder() == ROOT / ".nbgrader" / "autograded"


def test_nbgrader_is_imported_without_a_grammar_and_a_server_that_nobody_uses():
    code = "import sys; from course_lib.grading import quick; quick.nbgrader(); from nbgrader.api import Gradebook\n"
    code += "assert 'jsonschema' in sys.modules and not {'rfc3987_syntax', 'jupyter_server'} & set(sys.modules)\n"
    code += "from nbgrader.server_extensions import formgrader; import nbgrader\n"
    code += "formgrader.load_jupyter_server_extension = print; nbgrader.load_formgrader('loaded when wanted')"
    said = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert said.stdout == "loaded when wanted\n"
    with quick.without("json"):  # is loaded already
        assert importlib.import_module("json") is json
    with quick.without("wave"), pytest.raises(ImportError):
        importlib.import_module("wave")
    assert importlib.import_module("wave")
