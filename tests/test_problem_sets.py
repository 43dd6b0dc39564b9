"""The problem sets: references earn all points, stubs none, known mistakes what they should; nbgrader agrees."""

import ast
import builtins
import contextlib
import io
import json
import linecache
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
import torch
import triton

from course_lib.files import repository
from course_lib.grading import notebooks, questions
from graded import ps01, ps02, ps03, ps04, ps05, ps06, ps07, ps08, ps09, ps10

ROOT = repository()
SETS = {module.__name__[-4:]: module for module in (ps01, ps02, ps03, ps04, ps05, ps06, ps07, ps08, ps09, ps10)}
QUESTIONS = {question.id: question for module in SETS.values() for question in module.build(module.SEED)}
EVERY = pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)


def source_path(name):
    (path,) = (ROOT / "solutions").glob(f"{name}-*/*.ipynb")
    return path


def source_cells(name):
    return notebooks.cells(notebooks.read(source_path(name)))


def by_id(name):
    return {cell.grade_id: cell for cell in source_cells(name) if cell.grade_id}


# ---- the questions themselves


def prove(question):
    """The reference passes; each mistake loses exactly its properties, and is recognized."""
    assert [line.property for line in question.grade(question.reference) if not line.ok] == []
    assert question.score(question.reference) == question.points
    for wrong in question.wrong:
        result = question.judge(wrong.answer)
        assert not result.message, (wrong.name, result.message)
        lost = {v.name for v in result.verdicts[: len(question.properties)] if not v.ok}
        assert lost == set(wrong.loses) and lost, (wrong.name, lost)
        assert result.mistake.name == wrong.name, f"{wrong.name} is taken for {result.mistake.name}"


@EVERY
def test_reference_and_known_mistakes(question):
    assert len(question.wrong) >= 4
    assert len({wrong.name for wrong in question.wrong}) == len({w.diagnosis for w in question.wrong})
    prove(question)


@pytest.mark.parametrize("name", SETS)
def test_other_seeds_draw_other_cases_that_prove_the_same(name):
    first, second = SETS[name].build(SETS[name].SEED), SETS[name].build(5)
    shown = [[repr(case.args) for q in questions for case in q.cases] for questions in (first, second)]
    assert shown[0] != shown[1]
    assert [repr(c.args) for q in SETS[name].build(5) for c in q.cases] == shown[1]
    for question in second:
        prove(question)


def zeros_like(value):
    """An answer of the right type and shape that knows nothing."""
    if isinstance(value, torch.Tensor):
        return torch.zeros_like(value)
    if isinstance(value, tuple | list):
        return type(value)(zeros_like(v) for v in value)
    if isinstance(value, dict):
        return {key: zeros_like(v) for key, v in value.items()}
    return value if value is None else type(value)(0)


@EVERY
def test_trivial_answers_earn_nothing(question):
    def stub(*args):
        raise NotImplementedError

    def broken(*args):
        raise RuntimeError("no")

    for answer in (stub, broken, lambda *args: None, lambda *args: zeros_like(question.reference(*args)), None, 7):
        assert question.score(answer) == 0


@EVERY
def test_a_broken_function_handed_in_unchanged_earns_nothing(question):
    space = {"torch": torch, "math": math, "triton": triton, "tl": triton.language}
    exec(question.stub, space)
    assert question.score(space[question.answer_name]) == 0


def plain(value):
    """Whether a value may cross to a grader: arrays, numbers, bool, None, strings, tuples, lists, dicts."""
    if isinstance(value, tuple | list):
        return all(map(plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(v) for key, v in value.items())
    return value is None or isinstance(value, bool | int | float | str | torch.Tensor)


@EVERY
def test_only_plain_values_go_in_and_out(question):
    for case in question.cases:
        assert plain(case.args) and not case.kwargs
        assert plain(question.reference(*case.args))


def test_a_score_tells_reasons_but_no_hidden_case(capsys):
    wrong = next(w for w in QUESTIONS["ps01.q1"].wrong if w.name == "not clipped")
    assert ps01.score("q1", wrong.answer) == 2.0
    said = capsys.readouterr().out
    assert said.count("lost 1: ") == 2 and "Likely mistake: not clipped." in said
    assert "expected" not in said and "tensor" not in said and "case" in said
    assert ps01.score("q1", lambda w, b: 1 / 0) == 0.0
    assert "raised ZeroDivisionError" in capsys.readouterr().out


def test_a_seed_may_come_from_outside(monkeypatch):
    drawn = []

    def build(seed):
        drawn.append(seed)
        return ps01.build(seed)[:1]

    score = questions.scorer(build, 11)
    score("q1", None)
    monkeypatch.setenv("COURSE_SECRET_SEED", "12")
    score("q1", None)
    score("q1", None, seed=13)
    assert drawn == [11, 12, 13]


# ---- the notebooks


def names_used(source):
    """The names that a cell reads but neither binds nor imports."""
    tree = ast.parse(source)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.arg):
            bound.add(node.arg)
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - bound


@EVERY
def test_the_reference_is_the_solution_and_the_test_uses_nothing_else(question):
    cells = by_id(question.chapter)
    assert notebooks.without_markers(cells[question.name].source) == question.reference_source()
    test = cells[f"{question.name}-test"]
    assert test.points == question.points
    assert names_used(test.source) == {question.answer_name}
    last = f'{question.chapter}.score("{question.name}", {question.answer_name})'
    assert [line for line in notebooks.region(test.source, notebooks.HIDDEN) if line][-1] == last
    assert f'Checks("{question.name}", points={question.points:g})' in test.source


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_whole(name):
    cells = by_id(name)
    automatic = [cell for cell in cells.values() if cell.grade and not cell.solution]
    (written,) = [cell for cell in cells.values() if cell.grade and cell.solution]
    assert 4 <= len(automatic) <= 6 and sum(cell.points for cell in automatic) == 20 and written.points == 5
    assert "**Marking.**" in written.source
    text = "\n".join(cell.source for cell in source_cells(name) if not cell.is_code)
    assert name < "ps03" or "everything so far" in text
    loading = [c.raw["id"] for c in source_cells(name) if c.is_code and re.search(r"models\b|BUNDLED", c.source)]
    assert loading == ["explain-run"]


@contextlib.contextmanager
def running(name, solved):
    """All code cells but the measured one run in one namespace; yields {cell id: (stdout, stderr)}."""
    space, said = {"__name__": "__main__"}, {}
    for cell in source_cells(name):
        if not cell.is_code or cell.raw["id"] == "explain-run":
            continue
        source = cell.source
        if not solved:
            stub = "    # YOUR CODE HERE\n    raise NotImplementedError()"
            source = re.sub(r"    ### BEGIN SOLUTION\n.*?    ### END SOLUTION", stub, source, flags=re.S)
        file = f"<{name} {cell.raw['id']}>"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exec(compile(source, file, "exec"), space)
        said[cell.raw["id"]] = out.getvalue(), err.getvalue()
    yield said


@pytest.mark.parametrize("name", SETS)
def test_visible_checks_hold_for_the_solution_and_say_so(name):
    with running(name, solved=True) as said:
        for q in (id for id in said if id.endswith("-test")):
            out, err = said[q]
            assert not err and "not yet" not in out and out.count("  holds") >= 3, out


@pytest.mark.parametrize("name", SETS)
def test_visible_checks_of_stubs_say_not_attempted(name):
    with running(name, solved=False) as said:
        for q in (id for id in said if id.endswith("-test")):
            out, err = said[q]
            assert not err and "  holds" not in out and out.count(": not attempted") >= 3, out


# ---- what nbgrader makes of it

NOISY = """
def bits_needed(w, target_db):
    import warnings, sys

    warnings.warn("one of my habits")
    print("thinking aloud", file=sys.stderr)
    w = w.double().numpy()
    for b in range(2, 9):
        s = abs(w).max() / (2 ** (b - 1) - 1)
        noise = ((w - s * (w / s).round()) ** 2).sum() if s else 0.0
        if noise == 0 or 10 * math.log10((w**2).sum() / noise) >= target_db:
            return torch.tensor(b)
"""
MIXED = {
    "q1": "def spare_code(w, b):\n    s = w[w.abs().argmax()].item() / -(2 ** (b - 1)) or 1.0\n"
    "    return torch.round(w / s).to(torch.int8), abs(s) if s == 0 else s\n",  # not clipped: half
    "q2": "def scale_up(s):\n    while True:\n        pass\n",
    "q3": "def split_error(w, s, b):\n    raise SystemExit('bye')\n",
    "q4": NOISY,  # right, in another style, and loud
    "q5": "asym_round_trip = 'later'\n",
}
SCORES = {"q1": 2.0, "q2": 0.0, "q3": 0.0, "q4": 4.0, "q5": 0.0}


def hand_in(root, student, path, answers=None):
    """A submission in nbgrader's folder, with some of its solution cells replaced."""
    notebook = notebooks.read(path)
    for raw in notebook["cells"]:
        grade_id = raw["metadata"].get("nbgrader", {}).get("grade_id")
        raw["source"] = (answers or {}).get(grade_id, raw["source"])
    folder = root / ".nbgrader" / "submitted" / student / path.parent.name
    folder.mkdir(parents=True)
    (folder / path.name).write_text(json.dumps(notebook), encoding="utf-8")


def measures_answers(name):
    """Whether the measured cell of a set calls what the student wrote: if not, it runs unsolved as it runs solved."""
    (cell,) = (cell for cell in source_cells(name) if cell.raw["id"] == "explain-run")
    return bool(names_used(cell.source) & {question.answer_name for question in QUESTIONS.values()})


UNSOLVED = [name for name in SETS if measures_answers(name)]


def grade_class(root):
    """Make a teacher's copy of the course, release, let three students hand in, and run stock nbgrader on them."""
    root.mkdir()
    for name in ("solutions", "graded"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy(ROOT / "nbgrader_config.py", root)
    here = {**os.environ, "COURSE_TIME_LIMIT": "3"}
    here["PATH"] = os.pathsep.join(p for p in here["PATH"].split(os.pathsep) if ".venv" not in p)  # not activated
    here.pop("PYTHONPATH", None)
    release = [sys.executable, "-m", "course_lib", "release", "--source", str(root / "solutions")]
    subprocess.run(release, cwd=ROOT, env=here, check=True, capture_output=True)
    for path in sorted((root / "exercises").glob("*/*.ipynb")):
        if path.name[:4] in UNSOLVED:
            hand_in(root, "empty", path)
        hand_in(root, "solved", root / "solutions" / path.parent.name / path.name)
        if path.name.startswith("ps01"):
            hand_in(root, "mixed", path, MIXED)
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "autograde", "*", "--create", "--Execute.timeout=300",  # all sets at once
         "--Autograde.exporter_class=nbconvert.exporters.NotebookExporter"],  # the stock one
        cwd=root, env=here, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def scores(root, student, name):
    """{grade id: (automatic score, needs manual grading)} from nbgrader's gradebook."""
    query = """
        select base_cell.name, grade.auto_score, grade.needs_manual_grade
        from grade join base_cell on grade.cell_id = base_cell.id
        join submitted_notebook on grade.notebook_id = submitted_notebook.id
        join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id
        join assignment on submitted_assignment.assignment_id = assignment.id
        where submitted_assignment.student_id = ? and assignment.name like ?
    """
    with contextlib.closing(sqlite3.connect(root / ".nbgrader" / "gradebook.db")) as book:
        return {cell: (score, bool(manual)) for cell, score, manual in book.execute(query, (student, f"{name}-%"))}


def outputs(root, student, name, cell_id):
    """The outputs of one cell in the notebook that nbgrader has run."""
    (path,) = (root / ".nbgrader" / "autograded" / student).glob(f"{name}-*/*.ipynb")
    return next(raw["outputs"] for raw in notebooks.read(path)["cells"] if raw["id"] == cell_id)


def printed(root, student, name, cell_id):
    """What one cell has printed."""
    return "".join("".join(output.get("text", "")) for output in outputs(root, student, name, cell_id))


@pytest.mark.long
def test_nbgrader_agrees(tmp_path):
    """One test, because a class takes a minute to grade, and each of several workers would grade its own."""
    assert "ps01" in UNSOLVED
    root = tmp_path / "course"
    grade_class(root)
    for name in SETS:
        the_solution_earns_all_and_the_release_nothing(root, name)
        measured_cells_run_solved_and_unsolved(root, name)
    half_an_answer_earns_half_and_a_broken_one_costs_only_its_own_question(root)
    the_model_answer_of_ps01_says_what_the_cell_shows(root)


def the_solution_earns_all_and_the_release_nothing(root, name):
    tests = [f"{q.name}-test" for q in QUESTIONS.values() if q.chapter == name]
    solved = scores(root, "solved", name)
    assert set(solved) == {*tests, "explain"}
    assert sum(solved[test][0] for test in tests) == 20 and solved["explain"] == (None, True)
    if name in UNSOLVED:
        empty = scores(root, "empty", name)
        assert set(empty) == set(solved) and all(score == 0 for score, _ in empty.values())


def measured_cells_run_solved_and_unsolved(root, name):
    for student in ("empty", "solved") if name in UNSOLVED else ("solved",):
        found = outputs(root, student, name, "explain-run")
        assert {(output["output_type"], output.get("name")) for output in found} == {("stream", "stdout")}, found


def half_an_answer_earns_half_and_a_broken_one_costs_only_its_own_question(root):
    found = scores(root, "mixed", "ps01")
    assert {q: found[f"{q}-test"][0] for q in SCORES} == SCORES
    said = printed(root, "mixed", "ps01", "q1-test")
    assert "Likely mistake: not clipped." in said and "lost 1: the other end is clipped" in said
    assert "did not finish" in printed(root, "mixed", "ps01", "q2-test")


def the_model_answer_of_ps01_says_what_the_cell_shows(root):
    table, best = printed(root, "solved", "ps01", "explain-run"), []
    for block in table.split("clip at")[1:]:
        lines = re.findall(r"(\d\.\d) · max .* ([\d.]+)$", block, flags=re.M)
        best.append(float(max(lines, key=lambda line: float(line[1]))[0]))
    assert best[0] <= best[1] < best[2] and best[0] <= 0.5 and best[2] >= 0.7, best
    assert "at most half of the maximum at 3 bits" in " ".join(by_id("ps01")["explain"].source.split())


def two_entries(x):
    """{"sum": of x, "bytes": x}."""
    return {"sum": sum(x), "bytes": bytes(x)}


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        (two_entries, 3),
        (lambda x: {"sum": sum(x), "bytes": list(x)}, 1),  # one entry of the wrong type costs that entry's points
        (lambda x: {"sum": str(sum(x)), "bytes": bytes(x)}, 2),
        (lambda x: {"sum": sum(x)}, 0),  # not the dict that was asked for
        (lambda x: list(two_entries(x)), 0),
    ],
)
def test_an_entry_earns_its_points_by_itself(answer, points, capsys):
    cases = [questions.Case("two", [1, 2])]
    entries = [questions.agrees(f"right {e}", cases, "", p, e) for e, p in (("sum", 1), ("bytes", 2))]
    asked = questions.question("ps00.q1", "Entries", "…", two_entries, entries, [])
    assert questions.scorer(lambda seed: [asked], 1)("q1", answer) == points
    assert capsys.readouterr().out.count("lost") == {3: 0, 0: 2}.get(points, 1)
