"""Chapter 12's own: kernels as answers, references against float64, trace, explorer, recorded figures, *mine*."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib.checks import pieces
from course_lib.checks.ch12 import compiled, dequantize, epilogue, gemv, magic, predicted, row_sum
from course_lib.checks.ch12 import mine as recipe
from course_lib.checks.ch12.words import words
from course_lib.checks.launched import Launched, poisoned
from course_lib.checks.launched import compiled as from_text
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS
from course_lib.kernels import interpreter
from course_lib.kernels.interpreter import trace as tracing
from course_lib.kernels.measure import recorded
from course_lib.viz import explorers
from course_lib.viz.explorers import ch12_loop
from course_lib.viz.plots import ch12

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "12-triton-kernels.ipynb"
KERNELS = (row_sum, dequantize, gemv, epilogue)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def from_cell(exercise, *changes):
    """The kernel of the reference's text with changes, as a notebook's cell would define it."""
    text = exercise.reference_source()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return from_text(text, f"<cell {abs(hash(text))}>")


# kernels as answers


@pytest.mark.parametrize("exercise", KERNELS, ids=lambda e: e.id)
def test_a_kernel_from_a_cell_passes_and_its_stub_is_not_attempted(exercise):
    assert exercise.judge(from_cell(exercise)).state == PASS
    assert exercise.judge(from_text(exercise.stub, f"<stub {exercise.id}>")).state == NOT_ATTEMPTED


def test_the_interpreter_s_error_is_the_inner_one_with_the_learner_s_line():
    judgement = row_sum.judge(from_cell(row_sum, (", mask=column < k, other=0.0", "")))
    said = judgement.first.failure.message
    assert judgement.state == FAIL and judgement.mistake.name == "a lane beyond the row reads"
    assert "raised IndexError: load outside 'x' in program (0, 0, 0)" in said and "InterpreterError" not in said
    assert "of the cell: total += tl.sum(tl.load(x + row * k + column), axis=0)" in said


@pytest.mark.parametrize(
    "changes, helps",
    [
        ([("tl.load(x + row * k + column, mask=column < k, other=0.0)", "x[row, column]")], "a kernel gets addresses"),
        ([("tl.arange(0, B)", "tl.arange(0, k)")], "a tile's size is fixed"),
    ],
)
def test_what_numpy_would_do_in_a_kernel_is_answered(changes, helps):
    assert f"What helps: {helps}" in row_sum.judge(from_cell(row_sum, *changes)).first.failure.message


def test_a_function_without_the_decorator_is_told_so():
    scope = {"triton": None, "tl": None}
    exec(row_sum.reference_source().replace("@triton.jit", "").replace("B: tl.constexpr", "B"), scope)
    assert "put @triton.jit above its def" in row_sum.judge(scope["row_sum"]).first.failure.message


def test_a_kernel_that_does_not_end_is_stopped():
    endless = from_cell(row_sum, ("for start in range(0, k, B):", "start = 0\n    while start < k:"))
    judgement = row_sum.judge(endless, 1.0)
    assert judgement.first.name == "ends in time"
    assert row_sum.judge(from_cell(row_sum)).state == PASS, "the interpreter works on"


def test_a_kernel_that_writes_into_its_input_is_noticed():
    writes = from_cell(
        row_sum, ("tl.store(y + row, total)", "tl.store(y + row, total)\n    tl.store(x + row * k, 0.0)")
    )
    assert any("changes its input x" in v.failure.message for v in row_sum.judge(writes).verdicts if v.failure)


def test_another_list_of_arguments_is_said():
    other = from_cell(row_sum, ("def row_sum(x, y, k, B", "def row_sum(x, y, k, C, B"))
    assert "argument" in row_sum.judge(other).first.failure.message


def test_a_passed_kernel_is_saved_and_runs_from_its_file(course_home):
    kernel = from_cell(gemv)
    said = pieces.keep(gemv, gemv.as_function(kernel))
    assert said.startswith("Saved: gemv")
    saved = (course_home / "my_quantizer" / "ch12.gemv.py").read_text(encoding="utf-8")
    assert "import triton.language as tl" in saved
    own = pieces.load()
    case = gemv.cases[4]
    assert own.whose["gemv"] == "yours" and torch.equal(own.gemv(*case.args), gemv.reference(*case.args))
    assert "@triton.jit" in own.gemv.source()


def python(code, **env):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_checks_interpret_where_kernels_are_compiled_too():
    code = """
import triton, triton.language as tl
from course_lib.checks.ch12 import row_sum
from course_lib.checks.launched import compiled
kernel = compiled(row_sum.reference_source(), "<on a gpu>")
wrong = compiled(row_sum.stub, "<stub>"), compiled(row_sum.stub.replace("total = 0.0", "total = 1.0"), "<broken>")
print(type(kernel).__name__, row_sum.judge(kernel).state, [row_sum.judge(w).state for w in wrong])
"""
    assert python(code, TRITON_INTERPRET="0") == "JITFunction pass ['not attempted', 'fail']"


def test_without_triton_exercises_are_listed_and_a_check_says_what_is_missing():
    code = """
import sys
sys.modules["triton"] = None
from course_lib.checks import namespace, pieces
from course_lib.checks.ch12 import row_sum
print(len([e for e in namespace.every() if e.chapter == "ch12"]), "gemv" in pieces.references().functions)
print(row_sum.judge(row_sum.reference).message)
"""
    first, second = python(code).splitlines()
    assert first == "6 True" and "triton is not installed" in second


# references, against torch in float64


def test_row_sum_is_torch_s():
    x = randn(0, 5, 100)
    torch.testing.assert_close(row_sum.reference(x, 16), x.sum(1))


@pytest.mark.parametrize("n, k, W, groups", [(3, 100, 4, 2), (2, 64, 8, 1), (5, 77, 2, 5)])
def test_dequantize_and_gemv_are_float64_s(n, k, W, groups):
    codes = torch.randint(0, 16, (n, k), generator=torch.Generator().manual_seed(1))
    packed, blocks = words(codes, W), -(-k // (8 * W))
    wide = 8 * W * -(-blocks // groups)
    scale, zero = randn(2, n, groups).abs(), randn(3, n, groups).round() + 8
    at = torch.arange(k) // wide
    want = scale.double()[:, at] * (codes - zero.double()[:, at])
    torch.testing.assert_close(dequantize.reference(packed, scale, zero, k, W).double(), want, rtol=1e-6, atol=1e-6)
    x = randn(4, k).half()
    y = gemv.reference(x, packed, scale.half(), W, 2)
    want = (scale.half().double()[:, at] * (codes - 8)) @ x.double()
    torch.testing.assert_close(y.double(), want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("exercise", [dequantize, gemv], ids=lambda e: e.id)
def test_all_32_bits_of_the_words_are_used(exercise):
    packed = [a for case in exercise.cases for a in case.args if torch.is_tensor(a) and a.dtype == torch.int32]
    ones = zeros = 0
    for word in torch.cat([p.flatten() for p in packed]).tolist():
        ones |= word & 0xFFFFFFFF
        zeros |= ~word & 0xFFFFFFFF
    assert ones == zeros == 0xFFFFFFFF


def test_the_mistakes_that_every_kernel_makes_are_known():
    names = {w.name for e in KERNELS for w in e.wrong}
    assert {"a lane beyond the row reads", "no mask at the end of a row", "wrong nibble", "summed in float16",
            "scale of the block, not of the group", "the last block is left out"} <= names  # fmt: skip


def test_epilogue_is_the_library_s_int8_product():
    from course_lib.kernels import w8a8

    x, codes = randn(5, 3, 64), torch.randint(-128, 128, (5, 64), generator=torch.Generator().manual_seed(6))
    scale, zero = randn(7, 5).abs(), torch.tensor([0, 3, -100, 7, 127], dtype=torch.int32)
    qx, sx, total = w8a8.quantize_tokens(x)
    acc = (qx.long() @ codes.T).int()
    y = epilogue.reference(acc, sx[:, 0], scale, zero, total)
    want = w8a8.int8_linear(x, codes.to(torch.int8), scale, zero)
    torch.testing.assert_close(y, want, rtol=1e-6, atol=1e-6)


def test_the_magic_numbers_are_torch_s():
    def read(bits, dtype=torch.float16):
        return torch.tensor([bits], dtype=torch.int16).view(dtype).item()

    right = magic.reference
    assert read(right["bits_of_1024"]) == 1024 and read(0x6400 | 11) == right["with_11"]
    assert read(0x6400 | 11 << 4) == right["shifted"] and read(0x6400 | 2 ** right["widest"] - 1) == 2047
    assert read(0x4300, torch.bfloat16) == right["bfloat16"] and read(0x4301, torch.bfloat16) == right["bfloat16"] + 1


def test_the_predicted_time_is_the_slower_of_two():
    assert predicted.reference(10, 10, 8, 1, 1e6, 1e9) == pytest.approx(140)
    each = recorded.budget()
    memory, both = (predicted.reference(8192, 28672, 4.25, c, recorded.COPY, recorded.ISSUE) for c in (0, each))
    assert both == pytest.approx(memory, rel=2e-3), "at the budget both take as long"


# the trace


def test_sectors_are_counted_as_memory_moves_them():
    kernel = from_text(
        """
@triton.jit
def read(x, y, apart, first, B: tl.constexpr):
    lane = tl.arange(0, B)
    tl.store(y + lane, tl.load(x + first + lane * apart, mask=lane < B - 1, other=0.0))
""",
        "<read>",
    )
    x, y = torch.zeros(4096).half(), torch.zeros(17).half()
    for apart, first, asked, moved in ((1, 0, 30, 1), (1, 15, 30, 2), (16, 0, 30, 15), (100, 0, 30, 15)):
        seen = tracing.trace(lambda a=apart, f=first: kernel[(1,)](x, y, a, f, B=16))
        assert [(a.kind, a.argument) for a in seen] == [("load", "x"), ("store", "y")]
        assert (tracing.asked(seen[0]), tracing.sectors(seen[0])) == (asked, moved)
        assert tracing.totals(seen)["y"] == (32, 32)
    assert interpreter.memory().watcher is None


# the explorer


def test_what_the_explorer_s_tasks_promise():
    explorer = explorers.trace()
    reads = {}
    for rows in (1, 2, 4, 8):
        t = explorer.numbers(1, rows, 1)
        reads[rows] = {n: a / t.sizes[n] for n, (a, _) in tracing.totals(t.accesses).items()}
    assert {rows: r["x"] for rows, r in reads.items()} == {1: 8, 2: 4, 4: 2, 8: 1}
    assert all(r["words"] == r["y"] == 1 and r["scale"] == 1 for r in reads.values())
    order = {v: [a.argument for a in explorer.numbers(v, 4, 1).accesses] for v in (1, 4)}
    assert order[1] == order[4] and order[1][:10] == ["words", "scale", *["x"] * 8]
    split = explorer.numbers(5, 8, 1)
    second = next(a for a in split.accesses if a.program[1] == 1)
    assert int(second.offsets.min()) == 8 * 64 and split.sizes["y"] == 16 * 4, "the second block of all rows"


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_the_explorer_draws_and_says_every_step(version):
    explorer = explorers.trace(version=version, rows=8)
    steps = len(explorer.numbers(version, 8, 1).accesses)
    for access in (1, 2, steps // 2, steps, 176):
        sentence, scene = explorer.frame(access=access)
        assert f"access {min(access, steps)} of {steps}" in sentence and sentence.endswith("copy speed.")
        assert len(scene.marks) > 300
    t = explorer.numbers(version, 8, 176)
    assert all(done.all() for done in t.before.values()), "at the end all bytes were touched"


def test_what_the_loop_s_tasks_promise():
    spent = dict(explorers.loop().numbers("gemv-1", "all").spent)
    one, two, three, four, masked = (spent[title] for title, _ in ch12_loop.VERSIONS[:5])
    fall = {purpose: one[purpose] - two[purpose] for purpose in one}
    assert max(fall, key=fall.get) == "arithmetic" and two["control"] - one["control"] > 0.5, "masks came"
    assert (one["arithmetic"], two["arithmetic"], two["convert"]) == (2.875, 1.5, 1.375)  # 2.88, 1.50, 1.38
    assert two["convert"] == three["convert"] and three["unpack"] - two["unpack"] == 0.875  # 0.88
    whole = {name: sum(s.values()) for name, s in dict(two=two, three=three, four=four, masked=masked).items()}
    assert round(whole["three"] - whole["four"], 1) == 3.1 and round(whole["three"] - whole["masked"], 1) == 1.4
    assert round(whole["masked"] - whole["four"], 1) == 1.7 and round(whole["two"] - whole["masked"], 1) == 0.5
    assert masked["control"] - four["control"] == whole["masked"] - whole["four"], "nothing but masks"
    told = {(v, p): explorers.loop().frame(version=v, shown=p)[0] for v, p in (
        ("gemv-1", "arithmetic"), ("gemv-2", "convert"), ("gemv-3", "convert"), ("gemv-3", "unpack"))}  # fmt: skip
    assert "128 FMUL" in told["gemv-1", "arithmetic"] and "112 VIADD" in told["gemv-1", "arithmetic"]
    assert "128 I2FP" in told["gemv-2", "convert"] and "128 FADD" in told["gemv-3", "convert"]
    assert "128 LOP3" in told["gemv-3", "unpack"]


@pytest.mark.parametrize("version", [name for _, name in ch12_loop.VERSIONS])
def test_the_loop_draws_a_box_and_a_tip_for_every_instruction(version):
    explorer = explorers.loop(version=version)
    for purpose in ("all", *ch12_loop.LOOKS):
        sentence, scene = explorer.frame(shown=purpose)
        r = explorer.numbers(version, purpose)
        tips = [mark.look["text"] for mark in scene.marks if mark.kind == "tip"]
        assert [tip.split("\n")[0].partition(". ")[2] for tip in tips] == list(r.loop.instructions)
        letters = [mark for mark in scene.marks if mark.kind == "text" and mark.look["size"] == 9.17]
        rows = {}
        for mark in letters:
            rows.setdefault(mark.at[1], []).append(mark.at[2])
        boxes = (pair for y in sorted(rows) for pair in zip(*(text[::2] for text in rows[y]), strict=True))
        written = "".join(map(max, boxes))
        assert written == "".join(ch12_loop.LOOKS[p][1] for p in r.purposes)
        points = [p for m in scene.marks for p in (m.at if m.kind == "path" else [m.at[:2]])]
        assert all(-1 <= x <= scene.width + 1 and -1 <= y <= scene.height + 1 for x, y in points)
        assert sentence.endswith(".") and 80 < len(sentence) < 330
    assert len(explorer.html(shown="all")) < 320_000


def test_without_a_record_the_loop_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "repository", lambda: tmp_path)
    ch12_loop.loops.cache_clear()
    with pytest.raises(FileNotFoundError, match="python benchmarks/kernels_sass.py"):
        explorers.loop().frame()
    ch12_loop.loops.cache_clear()


# recorded figures


def test_recorded_figures_are_read_or_missing(tmp_path, monkeypatch):
    assert {f"gemv-{v}" for v in range(1, 6)} <= set(recorded.instructions())
    assert recorded.results("nobody-measured-this") is None
    monkeypatch.setattr(recorded, "repository", lambda: tmp_path)
    assert recorded.instructions() == {}


def test_the_plot_says_its_numbers():
    figure = ch12.versions([{"version": 1, "predicted_us": 30.0, "us": 60.0}])
    assert figure.axes[0].texts[0].get_text() == "60 µs"


# mine


def test_the_machine_code_of_a_learner_s_kernel_is_counted():
    code, problem = compiled.count(gemv.reference_source())
    assert problem is None and code.spilled == 0 and recorded.budget() < code.per_weight < 16
    code, problem = compiled.count("@triton.jit\ndef gemv(x):\n    tl.nothing(x)\n")
    assert code is None and problem.startswith("not compiled: ")


def test_a_kernel_linear_is_the_torch_product():
    weight = randn(8, 16, 256)
    layer, plain = (recipe.KernelLinear(weight, g) for g in (gemv.reference, None))
    one, many = randn(9, 1, 1, 256), randn(10, 1, 3, 256)
    torch.testing.assert_close(layer(one), plain(one), rtol=1e-2, atol=2e-2)
    assert torch.equal(layer(many), plain(many))
    assert float((plain.weight - weight).abs().max()) < 0.3


def test_a_broken_kernel_is_said_and_replaced(monkeypatch):
    own = pieces.references()
    own.functions = own.functions | {"gemv": lambda *args: 1 / 0}
    own.whose = own.whose | {"gemv": "yours"}
    monkeypatch.setattr(recipe.pieces, "load", lambda: own)
    case = gemv.cases[0]

    def measured(kernel):
        kernel(*case.args)
        return "text", 6, 0.0, 1.0

    monkeypatch.setattr(recipe, "measure", measured)
    monkeypatch.setattr(recipe.compiled, "count", lambda source: (None, "not compiled: no triton"))
    run = recipe.RECIPE()
    assert run.whose == {"gemv": "the course's"} and "ZeroDivisionError" in run.text()
    assert "not compiled: no triton" in run.html()


# warm-ups, hints


def test_the_hints_compute_what_they_say():
    eight = words([range(8)], 1)
    assert hex(int(eight)) == "0x76543210"
    assert gemv.reference(torch.ones(8).half(), eight, torch.ones(1, 1).half(), 1, 1).item() == -36
    one = [torch.tensor([v]) for v in (10, 0.5, 0.1, 2, 3)]
    acc, sx, sw, zw, total = one
    assert epilogue.reference(acc.int()[None], sx, sw, zw.int(), total.int()).item() == pytest.approx(0.2)
    assert poisoned(2).isnan().all() and poisoned(2, dtype=torch.int32).tolist() == [90, 90]
    assert isinstance(gemv.reference, Launched)


# what the text says


def test_the_notebook_s_incident_and_memory():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = {c["id"].removeprefix("ch12-"): "".join(c["source"]) for c in cells}
    assert "Right at 4,096 columns, wrong at 4,095" in source["title"] and "(4096, 4095)" in source["incident"]
    assert all(source[name.replace("_", "-")].startswith("@triton.jit") for name in ("row_sum", "dequantize", "gemv"))
    assert round(recorded.budget(), 1) == 3.7 and "3.7 instructions for a weight of 4 bits" in source["recap"]
