"""Wrong kernels, as students write them: each loses what it should, and is told why; in the sandbox, too."""

import linecache

import pytest
import torch
import triton
import triton.language as tl

from course_lib.checks.run import sentence
from course_lib.files import repository
from course_lib.grading import notebooks, source, unit, worker
from course_lib.grading.sandbox import Copy, Template
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting
from graded import ps09

FOLDER = next((repository() / "solutions").glob("ps09-*"))
QUESTIONS = {question.name: question for question in ps09.build(ps09.SEED)}
WRONG = [  # question, what of the reference is written otherwise, points, what the student reads
    ("q1", ", mask=i < k, other=-1e30", "", 2.5, "a mask is missing"),
    ("q1", ", other=-1e30", "", 2.5, "masked lanes left open"),
    ("q1", "other=-1e30", "other=0.0", 2.5, "masked lanes counted"),
    ("q1", "tl.program_id(0) * width", "tl.program_id(0) * k", 1.5, "the width forgotten"),
    ("q1", " * old", "", 1.5, "lost 1: several tiles"),
    ("q2", "4 * (column % 8 // 2 + 4 * (column % 2))", "4 * (column % 8)", 0, "nibbles in their own order"),
    ("q2", "row // group", "0 * row", 2, "the first group for all rows"),
    ("q2", "row // group", "(at + 0 * row) // group", 2, "one group a step"),
    ("q2", "inside = (row < k) & (column < n)", "inside = (row < k) | (column < n)", 3, "a mask is missing"),
    ("q2", "range(0, k, BK)", "range(0, k // BK * BK, BK)", 3, "only whole steps"),
    ("q2", "triton.cdiv(n, block_n)", "n // block_n", 3, "outputs left unwritten"),
    ("q2", "word >> shift & 15", "word >> shift", 0, "lost 1: one group, whole tiles"),
    ("q2", "\n    out =", "\n        total = total.to(tl.float16).to(tl.float32)\n    out =", 3, "Sums in float32."),
    ("q3", "(i < k)[None, :], other=0", "(i < k)[None, :]", 3.5, "lost 0.5: a rest of columns"),
    ("q3", "k * z * v", "0", 2.5, "the last term forgotten"),
    ("q3", "z * sum_w - v * sum_x", "z * sum_x - v * sum_w", 1.5, "the sums mixed up"),
    ("q3", "(y + 12582912.0) - 12582912.0", "tl.floor(y + 0.5)", 3, "ties go up"),
    ("q3", "range(0, k, BK)", "range(0, k // BK * BK, BK)", 3.5, "lost 0.5: a rest of columns"),
    ("q4", "page = tl.load(table + i)", "page = i", 0, "pages in their order in memory"),
    ("q4", "score = tl.where(known, score, -float(\"inf\"))", "", 1.5, "masked tokens in the sum"),
    ("q4", "own = head // shared", "own = head % kv_heads", 3.5, "heads shared in turn"),
    ("q4", "vs + line, mask=known, other=0.0", "vs + line", 2, "scales behind the end"),
    ("q1", "sum_b * tl.exp(top_b - new_b)", "sum_b", 1.5, "the sum of b not rescaled"),
    ("q1", "apart * old", "apart", 1.5, "the weighted difference not rescaled"),
    ("q1", "= -1e30, -1e30", "= 0.0, 0.0", 3, "maxima of at least 0"),
    ("q1", "tl.maximum(top_a, tl.max(p, axis=0)), tl.maximum(top_b, tl.max(q, axis=0))",
     "tl.max(p, axis=0), tl.max(q, axis=0)", 3, "the maximum may fall"),
    ("q1", "tl.log(", "tl.log2(", 0, "log2 beside exp"),
    ("q1", "apart / sum_a", "apart", 0, "not divided by the sum"),
    ("q1", "[(len(a),)]", "[(1,)]", 0, "only the first row"),
    ("q2", "& 15) - (zero", "& 15) + (zero", 0, "zeros added"),
    ("q2", "word >> shift & 15", "(word & 15) >> shift", 0, "lost 1: one group, whole tiles"),
    ("q2", "* n + column, mask", "* n + 0 * column, mask", 0, "the scale of the first column"),
    ("q3", "(y + 12582912.0) - 12582912.0 + zo", "(y + zo + 12582912.0) - 12582912.0", 3, "before the rounding"),
    ("q3", "12582912.0", "8388608.0", 0, "a magic number too small"),
    ("q3", "(triton.cdiv(m, 16), triton.cdiv(n, 16))", "(triton.cdiv(n, 16), triton.cdiv(m, 16))", 3.5, "the wrong"),
    ("q3", "products += tl.dot", "products = tl.dot", 1, "lost 0.5: no zero points"),
    ("q3", "z * sum_w - v * sum_x", "0", 1.5, "lost 1: zero points of one side"),
    ("q4", "top, total = -float(\"inf\")", "top, total = 0.0", 3, "a maximum of at least 0"),
    ("q4", "new = tl.maximum(top, tl.max(score))", "new = tl.max(score)", 3, "each page's own maximum"),
    ("q4", "tl.load(kz + channel", "0 * tl.load(kz + channel", 1.5, "key zeros forgotten"),
    ("q4", "total = total * old + ", "total = total + ", 1.5, "the sum not rescaled"),
    ("q4", "top + tl.log(total)", "top", 3.5, "the maximum for lse"),
]  # fmt: skip


def changed(name, old, new):
    text = QUESTIONS[name].reference_source()
    assert old in text
    return text.replace(old, new)


def function(name, text):
    """What a cell with this text defines."""
    file, space = f"<{name} {hash(text)}>", {"torch": torch, "triton": triton, "tl": tl}
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), space)
    return space[QUESTIONS[name].answer_name]


@pytest.fixture
def poisoned(monkeypatch):
    """torch.empty full of NaN, as in the notebook."""
    before = torch.are_deterministic_algorithms_enabled()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("name, old, new, points, said", WRONG, ids=[f"{w[0]} {w[4][:30]}" for w in WRONG])
def test_a_wrong_kernel_loses_what_it_should_and_says_why(poisoned, capsys, name, old, new, points, said):
    assert ps09.score(name, function(name, changed(name, old, new))) == points
    assert said in capsys.readouterr().out


def test_a_read_beyond_a_tensor_is_told_in_words(poisoned):
    answer = function("q1", changed("q1", ", mask=i < k, other=-1e30", ""))
    with pytest.raises(Exception) as caught:
        answer(torch.zeros(1, 11), torch.zeros(1, 11), 11, 16)
    assert "outside 'a'" in sentence(caught.value) and "is a mask missing?" in sentence(caught.value)


@pytest.mark.sandbox
def test_in_the_sandbox_mistakes_have_the_same_names():
    copy = Copy.make()
    template = Template(copy, slot=8)
    answers = {
        "q1": changed("q1", ", mask=i < k, other=-1e30", ""),
        "q2": changed("q2", "row // group", "0 * row"),
        "q3": QUESTIONS["q3"].stub,
        "q4": "def attend_pages(q, *rest):\n    return {'out': torch.softmax(q, 0), 'lse': q.sum(1)}\n",
    }
    try:
        context = worker.prepare(Setting(str(repository()), str(FOLDER), str(copy.path), ps09.SEED), template)
        result = unit.grade(submission(answers), context)
    finally:
        template.close()
        copy.remove()
    reasons = {q["id"]: " ".join(q["reasons"]) for q in result["questions"]}
    assert [q["score"] for q in result["questions"] if q["score"] is not None] == [2.5, 2, 0, 0, 0]
    assert "Likely mistake: a mask is missing" in reasons["q1"] and "IndexError" in reasons["q1"]
    assert "Likely mistake: the first group for all rows" in reasons["q2"]
    assert "Not attempted" in reasons["q3"] and "Not attempted" in reasons["q5"]
    assert "AttributeError" in reasons["q4"]  # what a kernel is there for is hidden


def submission(answers):
    """The released notebook with some answers."""
    assignment = source.load(FOLDER)
    path = repository() / "exercises" / assignment.name / f"{assignment.notebook}.ipynb"
    notebook = notebooks.read(path)
    for raw in notebook["cells"]:
        raw["source"] = answers.get(raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"])
    return Submission("anna", ((path.name, notebooks.json.dumps(notebook).encode()),))
