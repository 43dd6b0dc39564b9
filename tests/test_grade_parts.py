"""Grading without a sandbox: the source, the search for answers in damaged notebooks, what people open, the report."""

import base64
import html
import html.parser
import importlib
import json
import os
import pkgutil
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.checks import compare
from course_lib.checks.limit import TimeUp, within
from course_lib.files import repository
from course_lib.grading import (
    autograded,
    feedback_page,
    match,
    notebooks,
    report,
    results,
    score,
    source,
    submission,
    unit,
)
from course_lib.grading.results import Score
from course_lib.grading.submission import Submission, Unreadable

ROOT = repository()
SETS = {path.name: path for path in sorted((ROOT / "solutions").iterdir()) if path.is_dir()}
PS01 = source.load(next(path for name, path in SETS.items() if name.startswith("ps01")))


def released(assignment=PS01):
    return notebooks.read(ROOT / "exercises" / assignment.name / f"{assignment.notebook}.ipynb")


def solved():
    """The released notebook with the answers filled in."""
    notebook = released()
    for question in PS01.questions:
        answer = next(c for c in PS01.cells if c.grade_id == question.id)
        cell(notebook, question.id)["source"] = notebooks.without_markers(answer.source).splitlines(True)
    return notebook


def cell(notebook, grade_id):
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


# ---- the instructor's side


@pytest.mark.parametrize("name", SETS)
def test_what_we_think_was_released_is_what_nbgrader_released(name):
    assignment = source.load(SETS[name])
    given_out = {c.grade_id: c.source for c in notebooks.cells(released(assignment)) if c.grade_id}
    for question in assignment.questions:
        assert question.stub == given_out[question.id] and question.test.released == given_out[question.test.id]
        assert "graded" in question.test.hidden and "graded" not in question.test.visible
    assert {w.id: w.stub for w in assignment.written} == {"explain": given_out["explain"]}
    assert assignment.max_score == 20 and [q.names[-1] for q in assignment.questions]


@pytest.mark.parametrize("name", SETS)
def test_masks_name_questions_modules_and_names_that_exist(name):
    assignment, module = source.load(SETS[name]), importlib.import_module(f"graded.{name[:4]}")
    assert set(module.MASKS) <= {question.id for question in assignment.questions}
    for hidden in module.MASKS.values():
        for dotted in hidden:
            if dotted.startswith("course_lib."):
                importlib.import_module(dotted)
            else:
                owner, _, last = dotted.rpartition(".")
                assert hasattr(pkgutil.resolve_name(owner), last)


def test_a_hidden_half_keeps_its_line_numbers():
    visible, hidden = source.halves("a = 1\nb = 2\n### BEGIN HIDDEN TESTS\nc = 3\n### END HIDDEN TESTS")
    assert visible == "a = 1\nb = 2\n" and hidden.split("\n")[3] == "c = 3"
    assert source.halves("a = 1") == ("", "a = 1")


def test_a_folder_must_hold_one_notebook(tmp_path):
    with pytest.raises(ValueError, match="must hold one notebook, and holds 0"):
        source.load(tmp_path)


# ---- answers in whatever became of a notebook


def find(notebook):
    return match.find(notebook, PS01)


def sources(found):
    return {part.id: part.source for part in found.cells if part.id}


def strip_metadata(notebook):
    for raw in notebook["cells"]:
        raw["metadata"] = {}


def strip_all(notebook):
    strip_metadata(notebook)
    for raw in notebook["cells"]:
        raw.pop("id")


def to_version_three(notebook):
    for raw in notebook["cells"]:
        if raw["cell_type"] == "code":
            raw["input"] = raw.pop("source")
    notebook["worksheets"] = [{"cells": notebook.pop("cells")}]
    notebook["nbformat"] = 3


def wrong_kernel(notebook):
    notebook["metadata"]["kernelspec"] = {"name": "ir", "language": "R", "display_name": "R"}


def sources_as_text(notebook):
    for raw in notebook["cells"]:
        raw["source"] = "".join(raw["source"])


def junk_between(notebook):
    notebook["cells"][1:1] = [None, 3, {"cell_type": "code"}, {"source": 7}, {"source": ["a", None]}]


def as_markdown(notebook):
    cell(notebook, "q2")["cell_type"] = "markdown"


def doubled(notebook):
    at = notebook["cells"].index(cell(notebook, "q2"))
    notebook["cells"].insert(at, dict(cell(notebook, "q2"), source="def scale_up(s):\n    return 0"))


DAMAGE = {
    strip_metadata: "lost its cells' marks", strip_all: "lost its cells' marks", to_version_three: "old format",
    wrong_kernel: "another kernel", sources_as_text: None, junk_between: "damaged", as_markdown: "another kind",
    doubled: "2 times",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_the_answers_are_found_and_the_damage_is_said(damage):
    whole, notebook = find(solved()), solved()
    damage(notebook)
    found = find(notebook)
    assert whole.repairs == [] and sources(found) == sources(whole)  # of a cell that is there twice, the last one
    said = " ".join(found.repairs)
    assert said == "" if DAMAGE[damage] is None else DAMAGE[damage] in said
    tests = {question.test.id for question in PS01.questions}
    assert not tests & {part.id for part in found.cells} and tests <= {part.id for part in found.all}
    for question in PS01.questions:
        before = {part.id for part in found.before(question)}
        later = PS01.questions[PS01.questions.index(question) + 1 :]
        assert question.id in before and not {q.id for q in later} & before


def test_the_students_copy_of_a_test_never_runs():
    notebook = solved()
    cell(notebook, "q1-test")["source"] = "raise SystemExit('mine')"
    assert not any("SystemExit" in part.source for part in find(notebook).cells)


def test_an_answer_below_its_test_is_run_and_one_elsewhere_is_found():
    notebook = solved()
    answer = cell(notebook, "q1")
    notebook["cells"].remove(answer)
    notebook["cells"].append(answer)
    found = find(notebook)
    assert "q1" in {part.id for part in found.before(PS01.questions[0])}
    answer["source"], answer["metadata"], answer["id"] = "x = 1\ndef spare_code(w, b):\n    return 1", {}, "new"
    assert sources(find(notebook))["q1"].startswith("x = 1")


def test_a_question_that_is_gone_is_said():
    notebook = solved()
    notebook["cells"].remove(cell(notebook, "q4"))
    found = find(notebook)
    assert not found.of(PS01.questions[3]) and "There is no cell q4" in " ".join(found.repairs)


def test_a_cell_of_megabytes_is_left_out_and_said():
    notebook = solved()
    notebook["cells"].insert(1, {"cell_type": "code", "metadata": {}, "source": "x = '" + "y" * 10**6 + "'"})
    found = find(notebook)
    assert "Cell 2 has 1,000,006 characters" in " ".join(found.repairs) and sources(found) == sources(find(solved()))
    assert len(autograded.build(PS01, found, {}, [])) < 300_000


@pytest.mark.parametrize(
    "text, there",
    [("def f(x):", True), ("async def f(x):", True), ("f = 3", True), ("f: int = 3", True), ("class f:", True),
     ("    def f(x):", False), ("f == 3", False), ("def ff(x):", False), ("# def f", False), ("y = f", False)],
)  # fmt: skip
def test_what_defines_a_name(text, there):
    assert match.defines(f"import math\n{text}", "f") == there


def test_attempted_or_not():
    question = PS01.questions[0]
    notebook = released()
    assert unit.unattempted(find(notebook), question)
    cell(notebook, "q1")["source"] = question.stub.replace("# YOUR CODE HERE", "#\n    # thinking …") + "\n\n"
    assert unit.unattempted(find(notebook), question)
    cell(notebook, "q1")["source"] = "  \n"
    assert unit.unattempted(find(notebook), question)
    notebook["cells"].insert(5, {"cell_type": "code", "metadata": {}, "source": "spare_code = lambda w, b: 0"})
    assert not unit.unattempted(find(notebook), question)
    notebook = released()
    cell(notebook, "q1")["source"] = question.stub + "\n    return 1"
    assert not unit.unattempted(find(notebook), question)


KEYS = "cells metadata source cell_type nbgrader grade_id outputs id kernelspec name worksheets data text image/png"
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split(" ")), inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=50)
@given(JSON)
def test_no_json_at_all_disturbs_the_search_or_the_graded_notebook(value):
    notebook = (
        value if isinstance(value, dict) else {"cells": [value, {"source": "x", "metadata": value, "outputs": [value]}]}
    )
    if not isinstance(notebook.get("cells", notebook.get("worksheets")), list):
        return
    found = match.find(notebook, PS01)
    check_graded_notebook(autograded.build(PS01, found, {}, ["a note"]))


# ---- what was handed in


def hand_in(folder, student="anna", name=PS01.name, file=f"{PS01.notebook}.ipynb", data=b"{}"):
    home = folder / student / name
    home.mkdir(parents=True, exist_ok=True)
    (home / file).write_bytes(data)
    return home


def test_links_pipes_and_huge_files_are_not_read(tmp_path, monkeypatch):
    secret = tmp_path / "secret.ipynb"
    secret.write_text("{}")
    home = hand_in(tmp_path / "class")
    (home / "a.ipynb").symlink_to(secret)
    os.link(secret, home / "b.ipynb")
    os.mkfifo(home / "c.ipynb")
    (home / "d").symlink_to(tmp_path)
    monkeypatch.setattr(submission, "MAX_FILE", 10)
    (home / "e.ipynb").write_text(" " * 20)
    (found,) = submission.discover(tmp_path / "class", PS01)
    assert [name for name, _ in found.files] == [f"{PS01.notebook}.ipynb"] and len(found.notes) == 4


def test_folders_that_are_links_are_a_problem_and_not_followed(tmp_path):
    home = hand_in(tmp_path / "class")
    (tmp_path / "class" / "bert").symlink_to(home.parent)
    (tmp_path / "class" / "carl").mkdir()
    (tmp_path / "class" / "carl" / PS01.name).symlink_to(home)
    found = submission.discover(tmp_path / "class", PS01)
    assert [s.student for s in found] == ["anna", "bert", "carl"]
    assert [bool(s.problem) for s in found] == [False, True, True]


def test_folders_are_found_by_whole_name_or_number(tmp_path):
    for student, name in [
        ("a", PS01.name),
        ("b", "ps01"),
        ("c", "PS01 (1)"),
        ("d", "ps011"),
        ("e", "ps02"),
        (".f", "ps01"),
    ]:
        hand_in(tmp_path, student, name)
    found = submission.discover(tmp_path, PS01)
    assert [s.student for s in found] == ["a", "b", "c"] and [bool(s.repairs) for s in found] == [False, True, True]
    assert [s.student for s in submission.discover(tmp_path, PS01, ["b"])] == ["b"]


def test_the_same_content_has_the_same_hash_and_no_other():
    one, two = ("n.ipynb", b"ab"), ("n.ipynb", b"ac")
    assert Submission("a", (one,)).hash == Submission("b", (one,)).hash != Submission("a", (two,)).hash
    assert Submission("a", (("n", b"b"), ("m", b""))).hash != Submission("a", (("n", b""), ("m", b"b"))).hash


@given(st.text(min_size=1, max_size=300).filter(lambda s: "/" not in s and "\0" not in s))
def test_accounts_are_harmless_and_tell_students_apart(name):
    account = Submission(name).account
    assert not set("<>\"&'`/\\;$\n\r\x1b") & set(account) and 0 < len(account) <= 120 and not account.startswith("/")
    assert account == name or account != Submission(name + " ").account


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  \n",
        b"{",
        b"[]",
        b"{}",
        b'{"cells": 3}',
        b"[" * 10**5,
        b"null",
        b"\xff\xfe{",
        b'{"cells": ' + b"9" * 9999,
    ],
)
def test_what_is_no_notebook_is_said_to_be_none(data):
    with pytest.raises(Unreadable):
        submission.parse(data)


@pytest.mark.parametrize(
    "encoding, repaired", [("utf-8", False), ("utf-8-sig", False), ("utf-16", True), ("latin-1", True)]
)
def test_encodings(encoding, repaired):
    notebook, repairs = submission.parse(json.dumps({"cells": ["ü"]}, ensure_ascii=False).encode(encoding))
    assert notebook == {"cells": ["ü"]} and bool(repairs) == repaired


def test_the_best_of_several_notebooks_is_graded():
    name = f"{PS01.notebook}.ipynb"
    files = [(name, json.dumps(released()).encode()), (f"{PS01.notebook}-Copy1.ipynb", json.dumps(solved()).encode())]
    found, _, repairs = unit._read(Submission("a", tuple(files)), PS01)
    assert sources(found) == sources(find(solved())) and "2 notebooks" in " ".join(repairs)
    found, _, repairs = unit._read(Submission("a", (files[0], ("old.ipynb", files[0][1]))), PS01)
    assert name in repairs[-1]


# ---- the test of a question, with stand-ins for a student's functions


def judged(visible, hidden, raised=None, points=4.0):
    """The score of a made-up test whose f raises the error `raised`."""
    answers = SimpleNamespace(terse=False, raised=raised, failure=None, renew=lambda: None)

    def f():
        if raised:
            raise raised

    answers.names = lambda: {"f": f}
    test = source.Test("q1-test", visible, hidden, points, "")
    return score.score(source.Question("q1", ("f",), "", test), answers)


@pytest.mark.parametrize(
    "hidden, points",
    [("3.0", 3), ("2", 2), ("9.5", 4), ("-1.0", 0), ("float('nan')", 0), ("x = 1", 4), ("None", 4), ("True", 4)],
)
def test_points_are_the_last_expression_within_bounds(hidden, points):
    assert judged("", hidden).points == points


def test_reasons_are_what_the_hidden_half_prints():
    result = judged("print('seen')", "print('lost 1: a')\nprint()\nprint('lost 2: b')\n1.0")
    assert result.visible == "seen\n" and result.reasons == ["lost 1: a", "lost 2: b"]
    assert judged("", "1.5").reasons == ["lost 2.5: the result is not what the question asks for."]


def test_a_students_error_costs_the_question_and_says_so_without_a_value():
    result = judged("", "f()", ValueError("hidden 42"))
    assert result.points == 0 and "ValueError" in result.reasons[0] and "42" not in result.reasons[0]
    assert judged("assert 1 == 2, 'one is not two'", "4.0").reasons == ["one is not two"]
    assert judged("", "f()", TimeUp()).reasons == ["Your function did not finish in time."]
    assert judged("", "f()", ImportError("x")).points == 0


@pytest.mark.parametrize("hidden", ["import no_such_module", "def", "from math import nothing"])
def test_a_test_that_cannot_run_is_no_zero(hidden):
    with pytest.raises(score.TestBroken):
        judged("", hidden)


def test_an_array_that_only_fits_modulo_256_is_no_answer():
    codes = torch.tensor([-8, 7], dtype=torch.int8)
    assert compare.fit(np.array([-8, 7]), codes).tolist() == [-8, 7]
    for wrong in (np.array([248, 7], np.uint8), np.array([-8, 263])):
        with pytest.raises(compare.Mismatch):
            compare.fit(wrong, codes)


# ---- what people open


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=False)
        self.tags = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)


@given(st.text() | st.text(alphabet="<>/&;pre\n `$[](){}:'\"\\-=#javascript", min_size=3))
def test_a_students_text_is_shown_letter_by_letter(text):
    shown = autograded.shown(text)
    parser = Tags()
    parser.feed(shown)
    assert parser.tags == ["pre"] * bool(text.strip()) and "\n" not in shown
    inside = re.sub(r"^<pre[^>]*>|</pre>$", "", shown)
    assert not set("<>\"'") & set(inside)
    if text.isprintable() and text.strip():
        assert html.unescape(inside) == text


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()


@pytest.mark.parametrize(
    "output, kept",
    [
        ({"output_type": "stream", "text": ["a\n", "b"]}, "a\nb"),
        ({"output_type": "execute_result", "data": {"text/plain": "3", "text/html": "<script>"}}, "3"),
        ({"output_type": "error", "traceback": ["\x1b[31mValueError\x1b[0m"]}, "ValueError"),
        ({"output_type": "display_data", "data": {"text/html": "<script>x</script>"}}, None),
        ({"output_type": "display_data", "data": {"image/svg+xml": "<svg onload=x>"}}, None),
        ({"output_type": "display_data", "data": {"application/javascript": "x"}}, None),
        ({"output_type": "display_data", "data": {"image/png": '"><script>'}}, None),
        ({"output_type": "display_data", "data": {"image/png": base64.b64encode(b"<svg>").decode()}}, None),
        ({"output_type": "display_data", "data": {"image/png": PNG, "text/plain": "Figure"}}, {"image/png": PNG}),
        ("no output", None), ({"data": 3, "text": 4}, None), ({"text": "\x1b]0;a\x07\x00"}, "\ufffd]0;a\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_of_outputs_only_text_and_pictures_stay(output, kept):
    found = [o.get("data", o.get("text")) for o in autograded.outputs([output])]
    assert found == ([] if kept is None else [kept])


def check_graded_notebook(text):
    """What must hold of every notebook that a teacher or nbgrader opens."""
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    marked = [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]
    assert sorted(marked) == sorted(c.grade_id for c in PS01.cells if c.grade_id)
    assert "graded import" not in text and "HIDDEN TESTS" not in text and "SOLUTION" not in text
    assert all(c.cell_type in ("code", "markdown") and set(c.metadata) <= {"nbgrader"} for c in notebook.cells)
    return notebook


def test_the_graded_notebook_shows_verdicts_and_no_hidden_test():
    notebook = released()
    cell(notebook, "q1")["source"] = "mine = '<b>'"
    cell(notebook, "explain")["source"] = "I think <script>x</script>\n\n[a](javascript:x)"
    notebook["cells"].append({"cell_type": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": "<script>"})
    scores = {"q1": Score(2.5, ["lost 1.5: why"], "seen\n")}
    made = check_graded_notebook(autograded.build(PS01, find(notebook), scores, ["a note <i>"]))
    test = next(c for c in made.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "q1-test")
    assert [o.get("text") or o.data["text/plain"] for o in test.outputs] == ["seen\nlost 1.5: why\n", "2.5"]
    text = "".join(c.source for c in made.cells if c.cell_type == "markdown")
    assert "<script>" not in text and "&lt;script&gt;" in text and "a note &lt;i&gt;" in text
    ours = {c.source for c in PS01.cells if not c.is_code and not c.grade_id}
    assert ours <= {c.source for c in made.cells}


# ---- the report


def test_report_table_and_exit_status(tmp_path):
    good = results.entry(Submission("b"), PS01, "graded", {q.id: Score(3.0, ["r"]) for q in PS01.questions}, [])
    bad = results.unreadable(Submission("a\x1b[2J"), PS01, "The file is empty.")
    assert bad["score"] is None and good["score"] == 15 and good["max_score"] == 20
    shown = report.table([good, bad])
    assert "15/20" in shown and "The file is empty." in shown and "\x1b" not in shown
    assert report.exit_status([good]) == 0 and report.exit_status([good, bad]) == 3
    report.write(tmp_path / "r.json", [good, bad])
    said = json.loads((tmp_path / "r.json").read_text())["submissions"]
    assert [s["student"] for s in said] == ["a\x1b[2J", "b"]
    assert [q["id"] for q in said[1]["questions"]] == ["q1", "q2", "q3", "q4", "q5", "explain"]
    assert said[1]["questions"][-1]["score"] is None and said[1]["questions"][0]["reasons"] == ["r"]
    assert report.table([]) == "There is nothing to grade."


@pytest.mark.parametrize("slow", ["x = '" + "\\'" * 40_000, "!" * 80_000, "(" * 80_000])
def test_what_is_slow_to_read_is_told_from_the_stub_at_once(slow):
    assert within(lambda: not match.unchanged(slow, "x = 1"), 10.0)


def test_code_that_takes_minutes_to_colour_stays_black(monkeypatch):
    monkeypatch.setattr(feedback_page, "SECONDS", 0.3)
    slow = f"'%{'0' * 19_000}'"
    assert feedback_page._code(slow) is slow and "<span" in feedback_page._code("x = 1")


def test_the_graded_notebook_holds_no_endless_lines():
    code = "a = 1\n" + "    \n" * 9000 + "\n\nb = '" + "0" * 9000 + "'\n\n\nc = 2"
    lines = autograded._readable(code).split("\n")
    assert len(lines) < 70 and max(map(len, lines)) < 1100 and lines[-4:] == [lines[-4], "", "", "c = 2"]
    assert autograded._readable("def f():\n\n    return 1\n") == "def f():\n\n    return 1\n"
