"""`course collect` and `course check`: what comes before and around the grading."""

import json
import os
from datetime import datetime, timezone

import pytest

from course_lib.files import repository
from course_lib.grading import check, collect, notebooks, source, submission, times

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))
AT = datetime(2026, 11, 30, 18, tzinfo=timezone.utc)

# ---- collect


def put(folder, *paths, text="{}"):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def handed_in(into):
    return {s.student: sorted(name for name, _ in s.files) for s in submission.discover(into, PS01)}


@pytest.mark.parametrize(
    "path, student",
    [
        ("anna.ipynb", "anna"), ("anna-ps01.ipynb", "anna"), ("anna_PS01 final.ipynb", "anna"),
        ("a.b@c.edu.ipynb", "a.b@c.edu"), ("leeanna_LATE_4711_98_ps01.ipynb", "leeanna"),
        ("Anna Lee_4711_assignsubmission_file_/ps01.ipynb", "Anna Lee"), ("leeanna_4711_98_ps01-1.ipynb", "leeanna"),
        ("anna/whatever.ipynb", "anna"), ("anna/deep/er/x.ipynb", "anna"),
    ],
)  # fmt: skip
def test_students_are_found_in_names(tmp_path, path, student):
    put(tmp_path / "from", path)
    collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT)
    assert handed_in(tmp_path / "to") == {student: [f"{PS01.notebook}.ipynb"]}


def test_a_pattern_of_ones_own(tmp_path):
    put(tmp_path / "from", "2026/ps01/anna_x.ipynb", "2026/ps01/other.ipynb")
    lines = collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT, r".*/(?P<student>\w+)_x\.ipynb")
    assert list(handed_in(tmp_path / "to")) == ["anna"] and "other" in lines[0]


def test_the_time_is_the_collectors_and_stays_for_the_same_content(tmp_path):
    put(tmp_path / "from", "anna.ipynb", "bert.ipynb")
    put(tmp_path / "from", "anna/timestamp.txt", text="2000-01-01 00:00:00 UTC")
    os.utime(tmp_path / "from" / "anna.ipynb", (0, 0))
    collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT)
    later = AT.replace(hour=20)
    put(tmp_path / "from", "bert.ipynb", text="{ }")
    lines = collect.collect(tmp_path / "from", tmp_path / "to", PS01, later)
    assert lines[0] == "anna: as before"
    record = times.read(tmp_path / "to")
    assert times.of(record, PS01.name, "anna") == AT.replace(tzinfo=None)
    assert times.of(record, PS01.name, "bert") == later.replace(tzinfo=None)
    assert times.of(record, PS01.name, "carl") is None
    assert (tmp_path / "to" / "anna" / PS01.name / "timestamp.txt").read_text() == "2026-11-30 18:00:00 UTC\n"


def test_a_new_version_replaces_the_old_one_and_links_are_left_out(tmp_path):
    put(tmp_path / "from", "anna/a.ipynb", "anna/b.ipynb")
    (tmp_path / "from" / "bert.ipynb").symlink_to(tmp_path / "from" / "anna" / "a.ipynb")
    put(tmp_path / "from", "<b>.ipynb")
    lines = collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT)
    assert [line.split(":")[0] for line in lines] == ["left out", "left out", "anna", "1 student"]
    assert handed_in(tmp_path / "to") == {"anna": ["b.ipynb", f"{PS01.notebook}.ipynb"]}
    (tmp_path / "from" / "anna" / "b.ipynb").unlink()
    collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT)
    assert handed_in(tmp_path / "to") == {"anna": [f"{PS01.notebook}.ipynb"]}


def test_the_command(tmp_path, capsys):
    put(tmp_path / "from", "anna.ipynb")
    where = [str(tmp_path / "from"), "--submitted", str(tmp_path / "to")]
    assert collect.main(["ps01", *where, "--at", "2026-11-30T18:00+00:00"]) == 0
    assert times.read(tmp_path / "to")[PS01.name]["anna"]["at"] == "2026-11-30T18:00:00+00:00"
    for wrong in (["ps77", *where], ["ps01", *where, "--at", "yesterday"], ["ps01", "/no/such", *where[1:]]):
        assert collect.main(wrong) == 1
    assert capsys.readouterr().err.count("\n") == 3


def test_what_a_teacher_gets_wrong_at_first_is_said(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "all.zip").write_bytes(b"PK")
    for path, why in {"empty": "There is no notebook (.ipynb) below", "all.zip": "unpack it first"}.items():
        assert collect.main(["ps01", str(tmp_path / path), "--submitted", str(tmp_path / "to")]) == 1
        assert why in capsys.readouterr().err
    ps02 = next((ROOT / "exercises").glob("ps02-*/*.ipynb")).read_text(encoding="utf-8")
    put(tmp_path / "from", "anna.ipynb", text=ps02)
    put(tmp_path / "from", "bert.ipynb", text=notebook({}))
    put(tmp_path / "from", "cleo.ipynb", text=ps02[: len(ps02) // 2])
    lines = collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT)
    assert ["does not look like ps01" in line for line in lines] == [True, False, False, False]
    assert ["no complete notebook" in line for line in lines] == [False, False, True, False]


# ---- with a roster

ROSTER = (
    "id,first_name,last_name,email,lms_user_id\nanna,Anna,Lee,a.lee@x.edu,4711\nbert,Bert,O'Neil,b@x.edu,12\ncarl,,,,\n"
)


@pytest.mark.parametrize(
    "path",
    [
        "Anna Lee_99_assignsubmission_file_/ps01.ipynb", "leeanna_4711_98_ps01.ipynb", "xyz_LATE_4711_98_ps01.ipynb",
        "a.lee@x.edu.ipynb", "Lee, Anna/ps01.ipynb", "ANNA-ps01.ipynb",
    ],
)  # fmt: skip
def test_a_roster_turns_names_into_ids(tmp_path, path):
    put(tmp_path / "from", path)
    put(tmp_path, "roster.csv", text=ROSTER)
    lines = collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT, None, tmp_path / "roster.csv")
    assert list(handed_in(tmp_path / "to")) == ["anna"]
    assert lines[1:] == ["nothing yet from: bert, carl", "1 student, 3 on the roster"]


def test_strangers_are_kept_and_shared_names_are_not_guessed(tmp_path):
    put(tmp_path / "from", "Dora X/a.ipynb", "Bert O'Neil/a.ipynb", "Max Ito/a.ipynb")
    put(tmp_path, "roster.csv", text=ROSTER + "max1,Max,Ito,,\nmax2,Max,Ito,,\n")
    lines = collect.collect(tmp_path / "from", tmp_path / "to", PS01, AT, None, tmp_path / "roster.csv")
    assert set(handed_in(tmp_path / "to")) == {"Dora X", "Max Ito", "bert"}
    assert "not on the roster, and kept under this name: 'Dora X', 'Max Ito'" in lines


@pytest.mark.parametrize("text", ["", "name\nanna\n", "id\n", "\xff"])
def test_a_roster_that_is_none_is_one_sentence(tmp_path, capsys, text):
    put(tmp_path / "from", "anna.ipynb")
    (tmp_path / "roster.csv").write_bytes(text.encode("latin-1"))
    where = [str(tmp_path / "from"), "--submitted", str(tmp_path / "to"), "--roster", str(tmp_path / "roster.csv")]
    assert collect.main(["ps01", *where]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "to").exists()


# ---- check


def notebook(answers=None, drop=()):
    """The released notebook with the reference's answers, or others."""
    made = notebooks.read(ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
    given = {c.grade_id: notebooks.without_markers(c.source) for c in PS01.cells if c.solution and not c.grade}
    for raw in made["cells"]:
        raw["source"] = (given | (answers or {})).get(
            raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"]
        )
    made["cells"] = [raw for raw in made["cells"] if raw["id"] not in drop]
    return json.dumps(made)


def checked(tmp_path, capsys, text, name=f"{PS01.notebook}.ipynb"):
    """(exit status, what `course check` has printed)."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    return check.main([str(tmp_path / name)]), "".join(capsys.readouterr())


def test_the_same_visible_verdicts_without_a_sandbox(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no bubblewrap
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):  # nor what only Unix has
        monkeypatch.delattr(os, name)
    half = "def spare_code(w, b):\n    s = w[w.abs().argmax()].item() / -(2 ** (b - 1)) or 1.0\n"
    half += "    return torch.round(w / s).to(torch.int8), s\n"
    answers = {"q1": half, "q2": "1 +", "q3": PS01.questions[2].stub, "explain": "Because."}
    status, said = checked(tmp_path, capsys, notebook(answers, drop=("q4-test",)))
    assert status == 3 and "2 of 5 questions: all visible checks hold." in said
    assert (
        "3 of 4 visible checks hold" in said
        and "not yet    the other end is clipped: −3.99 at three bits: at [1]" in said
    )
    assert "q2: the cell stopped with SyntaxError" in said and "7.4 is rounded, 9.0 is clipped: not attempted" in said
    assert said.count("4 of 4 visible checks hold") == 2 and "explain: answered" in said
    assert said.index("q5, what you can see") < said.index("q4, what you can see")  # its test was not in the notebook


def test_a_notebook_that_ends_its_process_is_said(tmp_path, capsys):
    status, said = checked(tmp_path, capsys, notebook({"q2": "import os\nos._exit(3)"}), "ps01-mine.ipynb")
    assert status == 3 and "q1, what you can see" in said and "Stopped: cell q2 has ended the process." in said
    assert f"hand it in as {PS01.notebook}.ipynb" in said


@pytest.mark.parametrize("text, why", [("", "empty"), ("{", "damaged"), ('{"cells": []}', "none of the problem sets")])
def test_what_cannot_be_checked_is_one_sentence(tmp_path, capsys, text, why):
    status, said = checked(tmp_path, capsys, text, "x.ipynb")
    assert status == 1 and why in said and said.count("\n") == 1
