"""Grades as CSV: read back with the rules of Canvas's and Moodle's own importers, and beside `nbgrader export`.

`canvas_import` and `moodle_import` restate what the importers do with a file: lib/gradebook_importer.rb of
instructure/canvas-lms, and grade/import/csv/classes/load_data.php of moodle/moodle, both read in November 2026.
"""

import csv
import io
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from traitlets.config import Config

from course_lib.files import repository
from course_lib.grading import bubblewrap, engine, export, export_rows, feedback, grade, results, source
from course_lib.grading.export_rows import Line
from course_lib.grading.generate import Course, generate
from course_lib.grading.gradebook import Book
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))
DUE = datetime(2026, 11, 20, 12)
ROSTER = {  # id: (first, last, email, number in the LMS)
    "anna": ("Anna", "Ångström", "anna@example.org", "4711"),
    "bert": ("Bert", 'O\'Neill, "jr."', "bert@example.org", "SIS-7"),
    "7carl": ("Carl", "=cmd|'/C calc'!A0", "carl@example.org", ""),
    "dora": ("Dora\nMaria", "李", "", ""),
    "emil": ("+Emil", "Weiß;", "-emil@example.org", ""),
    "fay": ("Fay", "Wu", "fay@example.org", ""),
    "gone": ("Never", "There", "gone@example.org", "99"),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A gradebook with a class: everybody but gone has handed in, emil something unreadable."""
    folder = tmp_path_factory.mktemp("book")
    address = f"sqlite:///{folder}/gradebook.db"
    generate(Course(ROOT / "solutions"), PS01.name, folder / "release", address)
    book = Book(address, Config())
    for student, (first, last, email, lms) in ROSTER.items():
        book.book.update_or_create_student(student, first_name=first, last_name=last, email=email, lms_user_id=lms)
    for number, student in enumerate(ROSTER):
        if student != "gone":
            save(book, student, (4, 4, 4, 4, number), student == "anna")
    bad = results.unreadable(Submission("emil"), PS01, "The file is empty.")
    book.save(PS01, "emil", bad, "hash", "measure")
    book.close()
    return address


def save(book, student, points, answered=False, at=None):
    scores = {q.id: Score(float(p)) for q, p in zip(PS01.questions, points, strict=True)}
    result = results.entry(Submission(student), PS01, "needs_manual" if answered else "graded", scores, [])
    book.save(PS01, student, result | {"written": {"explain": answered}}, "hash", "measure", at)


@pytest.fixture
def book(url):
    opened = Book(url, Config())
    yield opened
    opened.close()


@pytest.fixture
def lines(book):
    return export_rows.lines(book.book, PS01.name)


def canvas_import(data, course):
    """{Canvas id: grade} and {title: points possible}; course is [(Canvas id, SIS id, login, "Last, First")]."""
    text = data.decode("utf-8")
    head = [len(next(csv.reader([line], delimiter=d))) for line in text.splitlines()[:3] for d in ",;"]
    assert len({*head[::2]}) == 1 and head[0] > head[1], "the delimiter would be misread"
    header, *rows = csv.reader(io.StringIO(text))
    assert "Student" in header[0] and "ID" in header[1] and len(header) > 3
    assert re.search(r"SIS\s+User\s+ID", header[2]) and re.search(r"SIS\s+Login\s+ID", header[3])
    assert "Section" in header[4]
    grades, possible = {}, {}
    for row in rows:
        assert len(row) == len(header)
        if "Points Possible" in row[0]:
            possible = dict(zip(header[5:], row[5:], strict=True))
            continue
        digits = re.match(r"\s*(\d+)", row[1])  # Ruby's to_i
        number = int(digits[1]) if digits else 0
        found = [c for c in course if c[0] == number] if row[1] else []
        found = found or [c for c in course if row[2] and c[1] == row[2]]
        found = found or [c for c in course if row[3] and c[2] == row[3]]
        found = found or [c for c in course if c[3] == row[0]]
        grades[found[0][0] if found else None] = row[5]
    return grades, possible


def moodle_import(data, users):
    """{user: grade}, as the importer gives them when the first column names the user; it ends at an unknown one."""
    _, *rows = csv.reader(io.StringIO(data.decode("utf-8")))
    grades, user = {}, None
    for row in rows:
        if row[0].strip():
            assert row[0] in users, f"{row[0]} is not known: the whole import is undone"
            user = row[0]
        grades[user] = row[1].strip()
    return grades


def test_canvas_finds_everybody(lines):
    course = [(4711, "", "x", "?"), (12, "SIS-7", "y", "?"), (7, "", "wrong", "?"), (13, "", "7carl", "?"),
              (14, "", "other", "李, Dora Maria"), (15, "", "fay", "?"), (99, "", "gone", "?")]  # fmt: skip
    data = export_rows.write(export_rows.canvas(lines, "Problem set 1 (123)"))
    grades, possible = canvas_import(data, course)
    assert grades == {4711: "16", 12: "17", 13: "18", 14: "19", 15: "21"}
    assert possible == {"Problem set 1 (123)": "25"}


def test_moodle_gives_nobody_the_points_of_somebody_else(lines):
    data = export_rows.write(export_rows.moodle(lines, "Problem set 1"))
    users = {email for _, _, email, _ in ROSTER.values() if email}
    assert moodle_import(data, users) == {
        "anna@example.org": "16", "bert@example.org": "17", "carl@example.org": "18", "fay@example.org": "21"
    }  # fmt: skip
    by_name = export_rows.write(export_rows.moodle(lines, "Problem set 1", "username"))
    assert set(moodle_import(by_name, set(ROSTER))) == {"anna", "bert", "7carl", "dora", "fay"}
    header, _, first = list(csv.reader(io.StringIO(data.decode())))[:3]
    assert header == ["Email address", "Problem set 1", "Problem set 1 (Feedback)"]
    assert first[2] == "q1: 4 of 4; q2: 4 of 4; q3: 4 of 4; q4: 4 of 4; q5: 0 of 4; explain: – of 5"


@pytest.mark.parametrize("make", [
    lambda found: export_rows.plain(found, "=ps01"), lambda found: export_rows.canvas(found, "@title"),
    lambda found: export_rows.moodle(found, "+title"), lambda found: export_rows.moodle(found, "-title", "username"),
])  # fmt: skip
def test_no_cell_is_a_formula(make, lines):
    for row in csv.reader(io.StringIO(export_rows.write(make(lines)).decode())):
        assert not [cell for cell in row if cell.strip()[:1] in tuple("=+-@＝") and cell]


def test_plain_has_everybody_and_survives_a_round_trip(lines):
    rows = list(
        csv.DictReader(
            io.StringIO(export_rows.write(export_rows.plain(lines, PS01.name), bom=True).decode("utf-8-sig"))
        )
    )
    found = {row["student"]: row for row in rows}
    assert set(found) == set(ROSTER)
    assert found["bert"]["last_name"] == 'O\'Neill, "jr."' and found["dora"]["last_name"] == "李"
    assert found["7carl"]["last_name"] == "'=cmd|'/C calc'!A0"
    assert [found["anna"][k] for k in ("q1", "q5", "explain", "score", "max_score", "final")] == [
        "4",
        "0",
        "",
        "16",
        "25",
        "no",
    ]
    assert [found["gone"][k] for k in ("status", "score")] == ["not handed in", ""]
    assert [found["emil"][k] for k in ("status", "score", "final")] == ["unreadable", "", "no"]


def test_the_scores_are_those_of_nbgraders_export(lines, book, tmp_path):
    from nbgrader.plugins import CsvExportPlugin

    plugin = CsvExportPlugin()
    plugin.to = str(tmp_path / "grades.csv")
    plugin.export(book.book)
    theirs = re.findall(
        r"^ps01[^\n]*?,(\w+),[^\n]*?,([\d.]+),([\d.]+),([\d.]+),25.0$",
        Path(plugin.to).read_text().replace("\nMaria", ""),
        re.M,
    )
    assert len(theirs) == len(ROSTER)
    ours = {line.student: (line.raw or 0.0, line.late, line.score or 0.0) for line in lines}
    assert {student: tuple(map(float, numbers)) for student, *numbers in theirs} == ours


def test_the_command(url, tmp_path, capsys):
    out = tmp_path / "grades.csv"
    common = ["ps01", "--gradebook", url, "--out", str(out)]
    assert export.main([*common, "--for", "moodle"]) == 3
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "1 handed in nothing: gone", "1 could not be graded: emil", "1 still has an answer to be read: anna",
        "1 is left out, having no email in the gradebook: dora", str(out),
    ]  # fmt: skip
    assert "Problem set 1: round trips and scales (Feedback)" in out.read_text(encoding="utf-8")
    assert export.main([*common, "--for", "canvas", "--column", "PS 1 (77)"]) == 3
    assert "Section,PS 1 (77)" in out.read_text(encoding="utf-8")
    assert export.main(["ps02", "--gradebook", url]) == 1
    assert "Nobody has a grade for ps02" in capsys.readouterr().err


# ---- lateness: a plugin of the teacher's, nbgrader's own export, extensions

PLUGIN = """
from nbgrader.plugins import BasePlugin


class PointADay(BasePlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return total_seconds_late / 86400
"""


@pytest.fixture
def late(url, tmp_path, monkeypatch):
    """A course whose nbgrader_config.py names a plugin: a point for each day; fay is two days late."""
    (tmp_path / "point_a_day.py").write_text(PLUGIN, encoding="utf-8")
    config = "c = get_config()\nc.AssignLatePenalties.plugin_class = 'point_a_day.PointADay'\n"
    (tmp_path / "nbgrader_config.py").write_text(config, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    book = Book(url, Config(AssignLatePenalties={"plugin_class": "point_a_day.PointADay"}))
    book.book.find_assignment(PS01.name).duedate = DUE
    book.book.grant_extension(PS01.name, "fay")  # none
    save(book, "fay", (4, 4, 4, 4, 4), at=DUE + timedelta(days=2))
    yield book
    book.book.find_assignment(PS01.name).duedate = None
    book.db.commit()
    book.close()


def exported(folder, url, *more):
    """fay's line of `nbgrader export`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    here = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "-m", "nbgrader", "export", "--to", "out.csv", f"--db={url}", *more]
    done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [x for x in (folder / "out.csv").read_text(encoding="utf-8").splitlines() if ",fay," in x]
    return line.split(",")


def test_lateness_is_taken_off_and_an_extension_gives_it_back(late, url, tmp_path):
    assert exported(tmp_path, url)[-4:] == ["20.0", "2.0", "18.0", "25.0"]
    line = exported(tmp_path, url, "--exporter=course_lib.grading.export_plugins.Canvas")
    assert line == ['"Wu', ' Fay"', "", "", "fay", "", "18"]
    late.book.grant_extension(PS01.name, "fay", days=1)
    late.settle(PS01.name)  # as course grade, course feedback and course export do
    assert exported(tmp_path, url)[-4:] == ["20.0", "1.0", "19.0", "25.0"]
    late.book.grant_extension(PS01.name, "fay", days=3)
    assert exported(tmp_path, url, "--exporter=course_lib.grading.export_plugins.Canvas")[-1] == "20"
    assert exported(tmp_path, url)[-4:] == ["20.0", "0.0", "20.0", "25.0"]


def test_each_command_settles_lateness_by_itself(late, url, tmp_path, monkeypatch, capsys):
    """An extension that came after the grading counts, whichever command is next."""

    def penalty():
        late.db.expire_all()
        return late.book.find_submission(PS01.name, "fay").late_submission_penalty

    (tmp_path / "submitted").mkdir()
    common = ["ps01", "--gradebook", url]
    commands = [
        (export, [*common, "--out", str(tmp_path / "out.csv")]),
        (feedback, [*common, "--out", str(tmp_path), "--student", "fay"]),
        (grade, [*common, "--submitted", str(tmp_path / "submitted")]),
    ]
    monkeypatch.setattr(bubblewrap, "find", lambda: "bwrap")
    for days, (module, arguments) in enumerate(commands):
        late.book.grant_extension(PS01.name, "fay", hours=12 * (days + 1))
        owner = engine if module is grade else module
        monkeypatch.setattr(owner, "configuration", lambda course: late.config)
        assert module.main(arguments) in (0, 3), capsys.readouterr().err
        assert penalty() == 2 - (days + 1) / 2


def test_points_of_a_person_count_before_lateness(late):
    """Stock nbgrader works the penalty out once, before anybody has read the written answer."""
    strict = Book(str(late.book.engine.url), Config(LateSubmissionPlugin={"penalty_method": "zero"}))
    notebook = strict.book.find_submission_notebook(PS01.notebook, PS01.name, "fay")
    for given in notebook.grades:
        if given.name == "explain":
            given.manual_score = 5
    strict.db.commit()
    strict.settle(PS01.name)
    fay = next(line for line in export_rows.lines(strict.book, PS01.name) if line.student == "fay")
    assert (fay.raw, fay.late, fay.score) == (25, 25, 0)
    strict.close()


def test_an_extension_without_a_due_date_harms_nothing(late):
    late.book.find_assignment(PS01.name).duedate = None
    late.book.grant_extension(PS01.name, "fay", days=1)
    late.settle(PS01.name)
    save(late, "fay", (4, 4, 4, 4, 4), at=DUE)
    assert late.book.find_submission(PS01.name, "fay").late_submission_penalty == 0


def test_a_line_by_itself():
    line = Line("x", "", "", "a@b", "", None, 1 / 3, 0.0, 1 / 3, 5.0, (), True, "graded")
    assert line.name == "x" and export_rows.canvas([line], "t")[2] == ["x", "", "", "x", "", "0.3333"]
