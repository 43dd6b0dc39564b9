"""Regrades that keep the old score, and the page that tells a student what was lost and why."""

import html
import json
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from traitlets.config import Config

from course_lib.files import repository
from course_lib.grading import (
    autograded,
    feedback,
    feedback_page,
    feedback_view,
    history,
    match,
    notebooks,
    results,
    source,
)
from course_lib.grading.generate import Course, generate
from course_lib.grading.gradebook import RESULTS, Book
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A gradebook that knows the problem set."""
    folder = tmp_path_factory.mktemp("book")
    address = f"sqlite:///{folder}/gradebook.db"
    generate(Course(ROOT / "solutions"), PS01.name, folder / "release", address)
    return address


@pytest.fixture
def book(url):
    opened = Book(url, Config())
    yield opened
    opened.close()


def result(student, points=(4, 3, 2, 1, 0), status="graded", text="a"):
    """A result as the engine gives it."""
    scores = {q.id: Score(float(p)) for q, p in zip(PS01.questions, points, strict=True)}
    more = {"written": {"explain": True}, "texts": {"explain": text}}
    return results.entry(Submission(student), PS01, status, scores, []) | more


def save(book, student, content="one", measure="same", why="", **more):
    book.save(PS01, student, result(student, **more), content, measure, why=why)


def by_hand(book, student, points, name="explain", comment=None):
    """What the Formgrader writes when a teacher gives points and a comment."""
    notebook = book.book.find_submission_notebook(PS01.notebook, PS01.name, student)
    (grade,) = [grade for grade in notebook.grades if grade.name == name]
    grade.manual_score, grade.needs_manual_grade = points, False
    for found in notebook.comments:
        if comment and found.name == name:
            found.manual_comment = comment
    book.db.commit()


def unread(book, student):
    grades = book.book.find_submission_notebook(PS01.notebook, PS01.name, student).grades
    return {grade.name for grade in grades if grade.needs_manual_grade}


def test_the_old_score_the_new_one_and_the_reason_are_kept(book):
    save(book, "anna")
    assert history.changes(book.db, PS01.name, "anna") == []
    by_hand(book, "anna", 3.5)
    save(book, "anna", "two", points=(4, 4, 4, 4, 4), why="agreed by mail")
    save(book, "anna", "two", points=(4, 4, 4, 4, 4))
    save(book, "anna", "two", measure="new seed", points=(4, 4, 4, 4, 3))
    found = history.changes(book.db, PS01.name, "anna")
    assert [(c.before, c.after, c.why) for c in found] == [
        (13.5, 23.5, "agreed by mail"), (23.5, 23.5, ""), (23.5, 22.5, "")
    ]  # fmt: skip
    assert [c.cause.split()[0] for c in found] == ["another", "graded", "the"]
    assert [c.matters for c in found] == [True, False, True]
    assert '13.5 → 23.5     another notebook was handed in: "agreed by mail"' in history.table(found)
    assert {c.student for c in history.changes(book.db, PS01.name)} >= {"anna"}


def test_no_score_is_not_zero_in_the_history(book):
    bad = results.unreadable(Submission("bert"), PS01, "The file is empty.")
    book.save(PS01, "bert", bad, "one", "same")
    save(book, "bert", "two")
    (change,) = history.changes(book.db, PS01.name, "bert")
    assert (change.before, change.after) == (None, 10.0) and "no score → 10" in history.table([change])


def test_rows_from_before_there_was_a_history_are_read(book):
    save(book, "carl")
    save(book, "carl", points=(4, 4, 4, 4, 4))
    for row in book.db.execute(select(RESULTS).where(RESULTS.c.student == "carl")).all():
        old = json.loads(row.result)
        del old["change"]
        book.db.execute(RESULTS.update().where(RESULTS.c.id == row.id).values(result=json.dumps(old)))
    (change,) = history.changes(book.db, PS01.name, "carl")
    assert (change.before, change.after) == (10.0, 20.0)


def test_another_answer_keeps_its_points_and_is_marked_to_be_read_again(book):
    save(book, "dora")
    assert unread(book, "dora") == {"explain"}
    by_hand(book, "dora", 4.0)
    save(book, "dora")
    save(book, "dora", "two")
    assert unread(book, "dora") == set()
    save(book, "dora", "three", text="b")
    assert unread(book, "dora") == {"explain"} and book.book.find_submission(PS01.name, "dora").score == 14
    save(book, "dora", "three", text="b")  # a forced regrade does not forget it
    assert unread(book, "dora") == {"explain"}
    by_hand(book, "dora", 4.0)
    save(book, "dora", "three", text="b")
    assert unread(book, "dora") == set()


# ---- the page

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
ANSWERS = {
    "q1": f"def spare_code(w, b):  # {HOSTILE}\n    return None",
    "q1-test": "### the student's own test",
    "explain": f"**So** {HOSTILE} \u202e</pre>\x1b[31m",
}
REASONS = [
    "lost 1: the other end (of it) is clipped (the result differs on at least one hidden case). The codes end there.",
    "Likely mistake: not clipped. A weight may round to 2^(b−1).",
    f"AssertionError: {HOSTILE}",
]
VISIBLE = "q1, what you can see:\n  holds      the example\n  not yet    zeros: your function raised " + "Long " * 30
TAGS = set("html head meta title style body header h1 h2 p table tr th td a svg rect section div span strong ul li "
           "details summary pre footer em code ol br".split())  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "width", "height", "fill",
              "aria-hidden", "open"}  # fmt: skip


class Reader(HTMLParser):
    """What a browser would find: tags, attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)
        self.said = " ".join("".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.text += [] if tag in ("span", "em", "code") else [" "]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(book, tmp_path):
    """page(student, **changes of its result): (View, HTML) of a student whose notebook is hostile."""

    def make(student, notes=(), **more):
        notebook = notebooks.read(ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
        for raw in notebook["cells"]:
            raw["source"] = ANSWERS.get(raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"])
        scores = {q.id: Score(4.0) for q in PS01.questions} | {"q1": Score(2.0, REASONS, VISIBLE)}
        found = results.entry(Submission(student), PS01, "needs_manual", scores, list(notes))
        found |= {"written": {"explain": True}, "texts": {"explain": "x"}} | more
        book.save(PS01, student, found, "one", "same")
        path = tmp_path / "graded.ipynb"
        path.write_text(autograded.build(PS01, match.find(notebook, PS01), scores, list(notes)), encoding="utf-8")
        view = feedback_view.view(book, PS01, student, path)
        return view, feedback_page.render(view)

    return make


def test_the_page_says_what_was_lost_and_why(page):
    view, text = page("ella")
    said = Reader(text).said
    assert view.title == "Problem set 1: round trips and scales" and "18 of 25 points so far" in said
    assert "−1 · the other end (of it) is clipped The result differs on at least one hidden case. The codes end" in said
    assert "A likely mistake: not clipped A weight may round to 2^(b−1)." in said
    first, last = view.items[0], view.items[-1]
    assert (first.title, first.points, first.of) == ("1 · The spare code", 2.0, 4.0)
    assert first.checks[0] == {"state": "holds", "words": "the example"}
    assert first.checks[1]["words"] == "zeros: your function raised " + " ".join(["Long"] * 30)
    assert (last.id, last.points, last.of, last.is_code) == ("explain", None, 5.0, False)
    assert "def spare_code(w, b):" in said and "**So** <img" in said


def test_nothing_on_the_page_is_active_and_nothing_on_it_is_secret(page, tmp_path, book):
    page("fred")
    by_hand(book, "fred", 4, comment=f"Read `this`, {HOSTILE} [or](javascript:alert(3)) <b onclick=x>that</b>")
    view, text = page("fred", notes=[f"The notebook is called {HOSTILE!r}."])
    read = Reader(text)
    assert {tag for tag, _ in read.tags} <= TAGS
    for tag, attributes in read.tags:
        assert set(attributes) <= ATTRIBUTES, (tag, attributes)
        assert (attributes.get("href") or "#")[0] == "#"
    assert "default-src 'none'" in text and "<code>this</code>" in text and HOSTILE in read.said
    hidden = {line.strip() for q in PS01.questions for line in q.test.hidden.split("\n") if len(line.strip()) > 8}
    for secret in {*hidden, "graded.ps01", str(ROOT), str(tmp_path), "\x1b", "\u202e"}:
        assert html.escape(secret) not in text and secret not in read.said


def test_points_and_comments_from_the_formgrader_are_on_it(page, book):
    page("gina")
    by_hand(book, "gina", 4.5, comment="Good: *see* the table.")
    by_hand(book, "gina", 3, name="q1-test")
    view, text = page("gina")
    said = Reader(text).said
    assert "23.5 of 25 points" in said and "so far" not in said and not view.waits
    assert "4.5 of 5 A person has given these points. Comment Good: see the table." in said
    assert said.count("A person has given these points.") == 2


def test_letters_that_cannot_be_written_do_not_end_the_batch(page, book):
    page("nora", notes=["a note \ud800"])
    save(book, "nora", why="half \udfff")
    questions = [
        {"id": q.id, "score": 1.0, "max_score": 4.0, "reasons": ["\ud800\x1b[31m\x07red"]} for q in PS01.questions
    ]
    _, text = page("nora", questions=questions)
    said = Reader(text.encode("utf-8").decode()).said
    assert "\x1b" not in text and "\x07" not in text and "\ufffd" in said and "red" in said


def test_a_graded_notebook_that_was_opened_and_saved_is_read(page, book, tmp_path):
    view, _ = page("olga")
    path = tmp_path / "graded.ipynb"
    saved = json.loads(path.read_text(encoding="utf-8"))
    for cell in saved["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = output["text"].splitlines(keepends=True)
    path.write_text(json.dumps(saved), encoding="utf-8")
    assert feedback_view.view(book, PS01, "olga", path) == view


def test_no_score_is_shown_as_none(page):
    view, text = page("hugo", score=None, status="unreadable", questions=[
        {"id": q.id, "score": None, "max_score": 4.0, "reasons": []} for q in PS01.questions])  # fmt: skip
    said = Reader(text).said
    assert view.points is None and "No score yet" in said and "not a zero" in said and "0 of 25" not in said


def test_a_changed_score_is_told_with_its_reason(page, book):
    page("ina")
    save(book, "ina", points=(4, 4, 4, 4, 4), why="Question 1 was <unclear>.")
    view = feedback_view.view(book, PS01, "ina", ROOT / "nowhere.ipynb")
    said = Reader(feedback_page.render(view)).said
    assert "Graded again" in said and "18 → 20 Graded again. Question 1 was <unclear>." in said
    assert "Your answer" not in said  # without the graded notebook the page has no answers


def test_the_total_is_the_one_that_nbgrader_exports(page, book, tmp_path):
    from nbgrader.plugins import CsvExportPlugin

    page("jona")
    by_hand(book, "jona", 2.5)
    view, _ = page("jona")
    plugin = CsvExportPlugin()
    plugin.to = str(tmp_path / "grades.csv")
    plugin.export(book.book)
    (line,) = [x for x in (tmp_path / "grades.csv").read_text().splitlines() if ",jona," in x]
    assert line.split(",")[-2:] == [str(view.points), str(view.of)] == ["20.5", "25.0"]


def test_the_command(page, url, tmp_path, capsys):
    page("kai")
    page("lea")
    common = ["ps01", "--gradebook", url, "--out", str(tmp_path)]
    assert feedback.main([*common, "--student", "kai"]) == 0
    said = capsys.readouterr().out
    assert "kai" in said and "18 of 25" in said and "lea" not in said and "an answer waits for you" in said
    assert f"course grade ps01 --student ID --force --reason TEXT --gradebook {url}" in said
    (made,) = tmp_path.rglob("*.html")
    assert made.relative_to(tmp_path).parts == ("kai", PS01.name, f"{PS01.notebook}.html")
    assert feedback.main(["ps01", "--gradebook", url, "--student", "nobody", "--out", str(tmp_path)]) == 1
    assert "nobody has no grade for ps01" in capsys.readouterr().err
    assert feedback.main(["ps01", "--gradebook", "sqlite:////nowhere/book.db"]) == 1
    assert "There is no gradebook /nowhere/book.db" in capsys.readouterr().err


def test_nbgraders_own_feedback_writes_the_same_page(page, book, tmp_path, url):
    """The exporter that nbgrader_config.py names for generate_feedback and the Formgrader's button."""
    from nbgrader.converters import GenerateFeedback
    from nbgrader.coursedir import CourseDirectory

    from course_lib.grading.formgrader import Page

    _, text = page("mia")
    config = Config(CourseDirectory={"root": str(ROOT), "source_directory": "solutions"})
    exporter = Page(parent=GenerateFeedback(coursedir=CourseDirectory(config=config), config=config))
    told = {"db_url": url, "student": "mia", "assignment": PS01.name, "notebook": PS01.notebook}
    made, resources = exporter.from_filename(str(tmp_path / "graded.ipynb"), {"nbgrader": told})
    assert made == text and resources["output_extension"] == ".html"


def test_nbgraders_autograde_becomes_course_grade(monkeypatch, url):
    """The exporter that nbgrader_config.py names for autograde and the Formgrader's lightning."""
    from nbgrader.converters import Autograde
    from nbgrader.converters.base import NbGraderException
    from nbgrader.coursedir import CourseDirectory

    from course_lib.grading import formgrader

    here = {"root": str(ROOT), "source_directory": "solutions", "db_url": url, "assignment_id": PS01.name}
    config = Config(CourseDirectory=here | {"student_id": "anna"})
    autograde = Autograde(coursedir=CourseDirectory(config=config), config=config, force=True)
    ran, answer = [], SimpleNamespace(returncode=3, stdout="a table\n", stderr="")
    monkeypatch.setattr(formgrader.subprocess, "run", lambda command, **_: ran.append(command) or answer)
    autograde.assignments = {"what stock would run": ["a.ipynb"]}
    formgrader.Sandboxed(parent=autograde)
    assert autograde.assignments == {}
    assert ran[0][1:] == [
        "-m", "course_lib", "grade", PS01.name, "--student", "anna", "--force", "--source", str(ROOT / "solutions"),
        "--submitted", str(ROOT / "submitted"), "--gradebook", url,
    ]  # fmt: skip
    answer.returncode, answer.stderr = 1, "progress\nbubblewrap is missing: install it.\n"
    with pytest.raises(NbGraderException, match="bubblewrap is missing"):
        formgrader.Sandboxed(parent=autograde)


def test_the_course_points_nbgrader_at_both():
    from traitlets.utils.importstring import import_item

    from course_lib.grading import formgrader
    from course_lib.grading.generate import configuration

    config = configuration(Course(ROOT / "solutions"))
    assert import_item(config.Autograde.exporter_class) is formgrader.Sandboxed
    assert import_item(config.GenerateFeedback.exporter_class) is formgrader.Page
