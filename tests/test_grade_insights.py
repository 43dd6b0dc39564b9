"""`course insights`: what a class got wrong, counted from what the grading has recorded."""

import contextlib
import io
import json
import shutil
from contextlib import closing
from importlib import import_module

import pytest

from course_lib.files import repository
from course_lib.grading import insights, source
from course_lib.grading.generate import Course, configuration, generate
from course_lib.grading.gradebook import Book
from graded import ps01

COURSE = Course(repository() / "solutions")
SETS = [import_module(f"graded.{name.split('-')[0]}") for name in COURSE.sets([])]
EVERY = [pytest.param(module, question, id=question.id) for module in SETS for question in module.build(module.SEED)]
EMPTY = "Not attempted: the cell is empty, or as you found it."


def scored(module, question, answer, seed=None):
    """(points, reasons) that the hidden half of a test gives an answer."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        points = module.score(question.name, answer, seed)
    return points, [line.strip() for line in said.getvalue().split("\n") if line.strip()]


def result(student, *questions):
    """A stored result; questions are (id, score, most, reasons)."""
    keys = ("id", "score", "max_score", "reasons")
    return {"student": student, "score": 0.0, "questions": [dict(zip(keys, q, strict=True)) for q in questions]}


@pytest.mark.parametrize("module, question", EVERY)
def test_every_mistake_of_the_sets_is_counted_under_its_name(module, question):
    for wrong in question.wrong:
        points, reasons = scored(module, question, wrong.answer)
        (found,) = insights.insights([result("anna", (question.name, points, question.points, reasons))])
        assert [(m["name"], m["count"], m["students"]) for m in found["mistakes"]] == [(wrong.name, 1, ["anna"])]
        assert found["mistakes"][0]["diagnosis"] == wrong.diagnosis
        lost = {p["name"]: p["by"] for p in found["properties"]}
        assert lost == {name: {wrong.name: 1} for name in wrong.loses}, wrong.name
        assert found["mean_score"] == points and found["unnamed"]["count"] == 0 and not found["not_tested"], wrong.name


def stub(w, b):
    raise NotImplementedError


def test_tried_not_tried_unnamed_and_not_tested_are_told_apart():
    unwritten = (0.0, 4.0, scored(ps01, ps01.build(1)[0], stub)[1])
    lost = "lost 2: zeros (and ones) (Your function raised ValueError). Why."
    found = insights.insights(
        [
            result("a", ("q1", 4.0, 4.0, []), ("why", None, 5.0, [])),
            result("b", ("q1", 0.0, 4.0, [EMPTY])),
            result("c", ("q1", 0.0, 4.0, ["There is no cell q1 in the notebook."])),
            result("d", ("q1", 2.0, 4.0, [lost])),
            result(
                "e", ("q1", 0.0, 4.0, ["Your cell stopped with NameError: name 'qmax' is not defined on line 3: q"])
            ),
            result(
                "f", ("q1", 0.0, 4.0, ["Your cell stopped with NameError: name 'torhc' is not defined on line 1: t"])
            ),
            result("g", ("q1", *unwritten)),
        ]
    )
    (q1,) = found
    assert (q1["tried"], q1["not_tried"], q1["all_points"], q1["mean_score"]) == (4, 3, 1, 1.5)
    assert q1["properties"] == [{"name": "zeros (and ones)", "lost_by": 1, "by": {insights.UNNAMED: 1}}]
    assert q1["unnamed"] == {"count": 1, "students": ["d"]} and q1["mistakes"] == []
    assert q1["not_tested"] == [{"reason": "Your cell stopped with NameError", "count": 2}]


def test_the_title_is_the_most_frequent_mistake():
    def made(question, *names):
        reasons = [f"Likely mistake: {name}. Why." for name in names]
        return [result(f"{question}{n}", (question, 0.0, 1.0, [line])) for n, line in enumerate(reasons)]

    questions = insights.insights(made("q1", "x", "y", "y") + made("q2", "z", "z"))
    report = {"assignment": "ps01-x", "submissions": 5, "graded": 5, "questions": questions}
    assert insights.message(report) == "ps01: “z” in q2 caught 2 of 2"


# ---- the command, on a gradebook


CLASS = {"q1": ["not clipped"] * 3 + ["a scale without a sign", None, "other"], "q3": [None] * 5 + ["stub"]}


def other(w, b):
    raise LookupError


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory):
    """A class of six in a gradebook: three did not clip, and one answer is wrong in a way of its own."""
    folder = tmp_path_factory.mktemp("insights")
    url, assignment = f"sqlite:///{folder}/gradebook.db", source.load(next(COURSE.source.glob("ps01-*")))
    generate(COURSE, assignment.name, folder / "release", url)
    questions = {q.name: q for q in ps01.build(ps01.SEED)}
    with closing(Book(url, configuration(COURSE))) as book:
        for number in range(6):
            entries = []
            for name, answers in CLASS.items():
                known = {w.name: w.answer for w in questions[name].wrong} | {None: questions[name].reference}
                answer = (known | {"other": other}).get(answers[number])
                points, reasons = scored(ps01, questions[name], answer) if answer else (0.0, [EMPTY])
                entries.append((name, points, 4.0, reasons))
            made = result(f"student{number}", *entries) | {"written": {}, "notes": [], "status": "graded"}
            book.save(assignment, f"student{number}", made, "hash", "measure")
    return url


def test_table_json_and_picture(gradebook, tmp_path, capsys):
    where = ["--gradebook", gradebook, "--json", str(tmp_path / "i.json"), "--plot", str(tmp_path / "i.png")]
    assert insights.main(["ps01", *where]) == 0
    said = capsys.readouterr().out
    assert "6 of 6 submissions have a score" in said and "q1  mean 2.0 of 4 · 6 tried it, 1 have all points" in said
    assert "   3  not clipped. A weight on the other side" in said and "5 tried it, 5 have all points" in said
    assert f"   1  {insights.UNNAMED}" in said
    report = json.loads((tmp_path / "i.json").read_text(encoding="utf-8"))
    q1, q3 = report["questions"]
    assert [m["name"] for m in q1["mistakes"]] == ["not clipped", "a scale without a sign"]
    assert q1["mistakes"][0]["students"] == ["student0", "student1", "student2"]
    assert q1["unnamed"]["students"] == ["student5"]
    assert q3["not_tried"] == 1 and (tmp_path / "i.png").read_bytes().startswith(b"\x89PNG")
    assert "student0" not in said  # what a teacher may show to the class


def test_who_has_left_the_class_is_not_counted(gradebook, tmp_path):
    shutil.copy(gradebook.removeprefix("sqlite:///"), tmp_path / "gradebook.db")
    url = f"sqlite:///{tmp_path}/gradebook.db"
    with closing(Book(url, configuration(COURSE))) as book:
        book.book.remove_student("student0")  # as `nbgrader db student remove student0 --force` does
        book.book.update_or_create_student("student0")  # and the same one on a later list, with nothing handed in
    report = insights.collect(insights._parser().parse_args(["ps01", "--gradebook", url]))
    assert (report["submissions"], report["graded"]) == (5, 5)
    assert report["questions"][0]["mistakes"][0]["students"] == ["student1", "student2"]


def test_the_picture_has_one_message_and_no_student(gradebook, tmp_path, capsys):
    assert insights.main(["ps01", "--gradebook", gradebook, "--plot", str(tmp_path / "i.svg")]) == 0
    report = insights.collect(insights._parser().parse_args(["ps01", "--gradebook", gradebook]))
    figure = insights.figure(report)
    assert figure.get_suptitle() == "ps01: “not clipped” in q1 caught 3 of 6"
    (axes,) = figure.axes
    bars = [(bar.get_width(), bar.get_hatch()) for bar in axes.patches]
    assert bars == [(3, None), (1, None), (1, "///")]
    assert [label.get_text() for label in axes.get_yticklabels()][2] == "q1  no known mistake"


def test_what_cannot_be_shown_is_one_sentence(gradebook, tmp_path, capsys):
    missing = f"sqlite:///{tmp_path}/none.db"
    wrong = {
        ("ps01", "--gradebook", missing): "There is no gradebook",
        ("ps02", "--gradebook", gradebook): "is graded in this gradebook yet",
        ("ps77", "--gradebook", gradebook): "There is no problem set 'ps77'",
        ("ps01", "--gradebook", gradebook, "--plot", str(tmp_path / "i.docx")): "--plot must end in .png",
    }
    for arguments, why in wrong.items():
        assert insights.main(list(arguments)) == 1
        said = capsys.readouterr()
        assert why in said.err and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "none.db").exists()
