"""Chapter 09's own: its references against ggml, the text's figures, the explorer, warm-ups, *mine* as a GGUF file."""

import contextlib
import copy
import io
import json
import random
import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from course_lib import Scheme, calibrate
from course_lib.artifacts.gguf import imatrix, llama, read
from course_lib.artifacts.gguf.load import load
from course_lib.checks import curve, pieces
from course_lib.checks.ch09 import fit, importance, q4_0, q6, scales, spend, warmup
from course_lib.checks.ch09 import mine as recipe
from course_lib.formats import ggml
from course_lib.formats.ggml import anatomy, codebook, layouts, native, search
from course_lib.kernels.measure import recorded
from course_lib.viz import explorers
from course_lib.viz.explorers import ch09_words
from course_lib.viz.explorers.ch09_blocks import LOOKS
from course_lib.viz.explorers.ch09_words import arithmetic
from course_lib.viz.plots import ch09
from tests import ggml_oracle
from tests.llama_oracle import Llama
from tests.tiny import llama as tiny

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "09-gguf-blocks.ipynb"
SEEDS = range(40)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch09-{name}"))


def printed(source, **space):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, {"torch": torch, "ggml": ggml} | space)
    return out.getvalue()


class Guess:
    def outcome(self, value):
        self.value = value


# the exercises' references, against ggml


@pytest.mark.parametrize("size", [1.0, 0.02, 1e-6, 3e4])
def test_q4_0_writes_the_bytes_of_ggml(size):
    w = size * randn(1, 500, 32)
    assert np.array_equal(q4_0.reference(w).numpy(), ggml_oracle.quantize(w.numpy(), "Q4_0"))
    for edge in (torch.zeros(1, 32), torch.full((1, 32), 0.3), torch.arange(-8, 8, 0.5)[None]):
        assert np.array_equal(q4_0.reference(edge).numpy(), ggml_oracle.quantize(edge.numpy(), "Q4_0"))


def test_scales_and_q6_read_what_ggml_wrote():
    w = randn(2, 40, 256)
    blocks = ggml.quantize(w, "Q4_K")
    records = blocks.numpy().reshape(-1).view(ggml.block_type("Q4_K").dtype)
    sc, m = scales.reference(torch.from_numpy(records["scales"].copy()))
    step, taken = (records[f].astype(np.float32)[:, None] * t.numpy() for f, t in (("d", sc), ("dmin", m)))
    low = ggml.dequantize(blocks, "Q4_K").numpy().reshape(40, 8, 32)
    codes = (low + taken[..., None]) / step[..., None]
    assert np.abs(codes - codes.round()).max() < 1e-3 and codes.min() > -0.01 and codes.max() < 15.01

    blocks = ggml.quantize(w, "Q6_K")
    q = q6.reference(blocks[:, :128].reshape(-1, 64), blocks[:, 128:192].reshape(-1, 32)).reshape(40, 16, 16)
    d = blocks[:, 208:].contiguous().view(torch.float16).float()
    back = ((d * blocks[:, 192:208].view(torch.int8))[..., None] * q).reshape(40, 256)
    assert torch.equal(back, ggml.dequantize(blocks, "Q6_K"))


@pytest.mark.parametrize("seed", range(6))
def test_fit_is_ggml_s_search(seed):
    """Q4_0 with an importance matrix: the same tries, so the same scale (in fp16) up to the order of additions."""
    w, i = randn(seed, 32), torch.rand(32, generator=torch.Generator().manual_seed(seed)) + 0.05
    theirs, _ = search.symmetric(w.numpy()[:, None], 8, i.numpy()[:, None])
    tries = [t / 10 for t in (0, *range(-9, 0), *range(1, 10))]
    assert fit.reference(w, i, tries) == pytest.approx(float(theirs[0]), rel=1e-4)


def test_importance_is_the_mean_square_of_the_statistics_and_of_the_file(tmp_path):
    model = tiny()
    ids = torch.arange(48).reshape(2, 24) % 32
    stats = calibrate.collect(model, ids, hessian=False, progress=False)
    name = "model.layers.1.mlp.up_proj"
    rows = stats[name].rows
    ours = importance.reference([rows[:10], rows[10:]])
    assert torch.allclose(ours, stats[name].mean_square, rtol=1e-4)
    entry = imatrix.load(imatrix.save(tmp_path / "i.dat", imatrix.of_stats(stats)))[llama.gguf_name(f"{name}.weight")]
    assert np.allclose(entry.importance, ours, rtol=1e-4)


def test_spend_never_buys_less_per_byte_than_it_could():
    g = random.Random(0)
    for _ in range(200):
        names = [f"t{k}" for k in range(6)]
        gains, costs = {n: g.uniform(-0.2, 1) for n in names}, {n: g.randint(1, 9) for n in names}
        budget = g.randint(0, 20)
        got = spend.reference(gains, costs, budget)
        left = budget - sum(costs[n] for n in got)
        assert left >= 0 and all(gains[n] > 0 for n in got)
        rates = [gains[n] / costs[n] for n in got]
        assert rates == sorted(rates, reverse=True)
        assert not [n for n in names if n not in got and gains[n] > 0 and costs[n] <= left]


# what the text says


def test_the_four_weights_by_hand():
    assert "d = 0.250, codes [12, 0, 10, 8], and back: [1.0, -2.0, 0.5, 0.0]" in printed(cell("by-hand"))
    assert "0.286" in printed(cell("by-hand")) and 0.25 / (2 / 7) == 7 / 8  # “an eighth shorter”


def test_the_bits_of_a_super_block():
    guess = Guess()
    shown = printed(cell("super-bits"), guess=guess)
    assert guess.value == 4.5 == ggml.block_type("Q4_K").bits_per_weight and "= 1152 bits" in shown
    assert "code  0: 0.01 · 20 · 0 − 0.02 · 15 = -0.30" in shown


def test_q4_k_m_is_4_89_bits_and_the_table_is_llama_cpp_s():
    guess = Guess()
    space = {}
    exec(cell("mix").split("\n\n")[0], space)
    lines = printed(cell("mix-bits"), guess=guess, mixes=space["mixes"]).splitlines()
    assert guess.value == 4.89 and len(lines) == 11
    for line in lines[1:]:
        ours, theirs = re.findall(r"\d\.\d{4}", line)
        assert ours == theirs


def test_rows_of_896_fall_back():
    space = {}
    exec(cell("mix").split("\n\n")[0], space)
    shown = printed(cell("fallback"), mixes=space["mixes"])
    assert "attn_q    (896, 896): Q5_0" in shown and "ffn_down  (896, 4864): Q" in shown
    assert float(re.search(r"its Q4_K_M: (\S+) bits", shown)[1]) > 5.5


def test_every_row_of_iq2_is_in_e8_and_of_those_by_lot_half():
    shown = printed(cell("e8"), codebook=codebook).splitlines()
    found = {line.split()[0]: [int(n) for n in re.findall(r"(\d+) rows,\s+(\d+)", line)[0]] for line in shown}
    assert {kind: in_e8 == rows for kind, (rows, in_e8) in found.items()} == {
        "IQ2_XXS": True, "IQ2_XS": True, "IQ2_S": True, "by": False}  # fmt: skip
    assert 450 < found["by"][1] < 574 and [found[k][0] for k in ("IQ2_XXS", "IQ2_XS", "IQ2_S")] == [256, 512, 1024]


def test_the_cuts_and_rows_of_iq1_s_are_its_writer_s_and_lists_miss_hardly_a_row():
    space = {"torch": torch, "w": 0.1 * randn(8, 512, 256)}
    with contextlib.redirect_stdout(out := io.StringIO()):
        exec(cell("cuts"), space)
        exec(cell("rows"), space)
    parts, shown = out.getvalue().split("any codes")
    assert [line[:2] for line in parts.splitlines()] == ["-1", " 0", " 1"]
    drawn = [float(v) for line in parts.splitlines() for v in line.split(" for")[1].split()]
    assert drawn == sorted(drawn) and drawn == pytest.approx(space["w"][0, :32].sort().values.tolist(), abs=6e-3)
    free, bound = (float(n) for n in re.findall(r"error ([\d.]+)%", shown))
    at_once, listed, best = (float(n) for n in re.findall(r"([\d.]+)(?:% of the e| rows\n|%\n$)", shown))
    assert 35 < free < bound < 55 and 31 < at_once < 60 and 60 < listed < 90 and best > 99
    _, index, down = ggml.TYPES["IQ1_S"].fit(space["x"].numpy(), space["alike"])
    assert np.array_equal(index, space["index"]) and np.array_equal(down[0] == 1, space["best"].way == 1)


def test_eight_weights_by_hand_are_the_reader_s():
    w, name = 0.03 * randn(6, 2, 256), "up"
    given = {name: type("Stats", (), {"mean_square": torch.rand(256) + 0.1})}
    shown = printed(cell("iq2-by-hand"), w=w, name=name, stats=given, native=native, codebook=codebook)
    hand, _, reader = (line.split(":")[1].strip() for line in shown.splitlines()[1:])
    assert hand == reader and shown.splitlines()[0].count("-1") % 2 == 0


def test_the_byte_of_five_digits_is_tq1_0_s():
    shown = printed(cell("trits"))
    assert [int(n) for n in re.findall(r"= (\d) · 256", shown)] == [2, 0, 1, 1, 2]
    w = torch.zeros(1, 256)
    w[0, [0, 32, 128]] = torch.tensor([1.0, -1.0, 1.0])
    assert f"stored as {ggml.quantize(w, 'TQ1_0')[0, 0]}" in shown


def test_the_recorded_figures_bear_what_the_picture_says():
    found = recorded.results("low_bits")["results"]
    blind = found["blind"]["kl"]
    for kind, row in found.items():
        if "bits" in row:
            assert row["bits"] == ggml.block_type(kind).bits_per_weight
        if kind.startswith(("IQ", "Q2_K", "Q3_K", "Q4_K")):
            assert row["kl"] < blind / 2
    assert found["TQ2_0"]["kl"] > blind and found["TQ2_0"]["bits"] == found["IQ2_XXS"]["bits"]
    at = [found[kind] for kind in ("IQ3_S", "IQ2_XXS", "IQ1_S")]
    steep = [np.log(b["kl"] / a["kl"]) / (a["bits"] - b["bits"]) for a, b in zip(at, at[1:], strict=False)]
    assert 1 < steep[0] < steep[1]  # in e-folds a bit: a factor, and a larger one on the left


def test_three_things_keep_mxfp4_behind_iq4_xs():
    """Its scale, the search that it lacks, its levels: taken away one after the other, each is worth something."""
    x = randn(7, 64, 256).reshape(-1, 32)
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    levels = torch.cat([-levels.flip(0), levels])

    def off(s):  # squared error of each block, on E2M1 with the scale s
        return (levels[(x / s)[..., None].sub(levels).abs().argmin(-1)] * s - x).square().sum(1)

    top = x.abs().amax(1, keepdim=True)
    power = off(2.0 ** (top.log2().floor() - 2)).sum()
    tried = torch.stack([off(top / 6 * (0.7 + 0.025 * k)) for k in range(19)]).amin(0).sum()
    theirs = [(ggml.dequantize(ggml.quantize(x.reshape(64, 256), kind), kind).reshape(-1, 32) - x).square().sum()
              for kind in ("MXFP4", "IQ4_XS")]  # fmt: skip
    assert torch.isclose(power, theirs[0], rtol=1e-4)
    assert power > 1.1 * off(top / 6).sum() > 1.2 * tried > 1.3 * theirs[1]


def test_carl_s_order_keeps_every_number_of_a_block_and_moves_most():
    space = {"torch": torch, "ggml": ggml, "copy": copy}
    exec(cell("loader"), space)
    w = randn(3, 4, 64)
    his, right = space["carls"](w, ""), ggml.dequantize(ggml.quantize(w, "Q4_0"), "Q4_0")
    assert torch.equal(his.reshape(-1, 32).sort(1).values, right.reshape(-1, 32).sort(1).values)
    assert (his != right).float().mean() > 0.8


def test_the_answers_of_the_explorer_s_tasks():
    def where(kind, role, index):
        size = ggml.block_type(kind).block_bytes
        return [(k, p.low) for k in range(size) for p in anatomy.pieces(kind, k) if (p.role, p.index) == (role, index)]

    assert [p.index for p in anatomy.pieces("Q4_0", 5)] == [3, 19]
    assert where("Q4_K", "scale", 5) == [(5, 6), (13, 0)] and where("Q4_K", "scale", 2) == [(6, 0)]
    assert where("Q6_K", "code", 100) == [(36, 4), (132, 6)]
    assert anatomy.pieces("MXFP4", 0)[0].weights == range(32)
    assert where("IQ2_XXS", "signs", 1) == [(6, 7), (7, 0)]
    assert anatomy.pieces("IQ1_S", 35)[-1][2:] == ("move", 0, 0, range(32))
    assert list(anatomy.pieces("TQ1_0", 0)[0].weights) == [0, 32, 64, 96, 128]


def test_the_hints_compute_what_they_say():
    w = torch.zeros(1, 32)
    w[0, :4] = torch.tensor([1.0, -2.0, 0.5, 0.0])
    assert (q4_0.reference(w)[0, 2:6] & 15).tolist() == [12, 0, 10, 8] and (0xAC, 0x80) == (12 | 10 << 4, 0 | 8 << 4)
    data = torch.zeros(1, 12, dtype=torch.uint8)
    data[0, 0], data[0, 8] = 0b01000011, 0b1010
    sc, _ = scales.reference(data)
    assert (sc[0, 0].item(), sc[0, 4].item()) == (3, 26)
    ql, qh = torch.tensor([[0x4B, 0xD2]], dtype=torch.uint8), torch.tensor([[0b10010011]], dtype=torch.uint8)
    assert q6.reference(ql, qh).tolist() == [[27, -30, -12, 13]]
    assert round(fit.reference(torch.tensor([1.0, -0.4]), torch.ones(2), [0.0]), 3) == -0.126
    assert importance.reference([torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0]])]).item() == pytest.approx(14 / 3)
    assert spend.reference({"down": 0.6, "v": 0.4}, {"down": 12, "v": 4}, 12) == ["v"]


# pictures


@pytest.mark.parametrize("kind", anatomy.DESCRIBED)
def test_the_explorer_s_arithmetic_gives_the_weights(kind):
    b = explorers.blocks().numbers(kind, 0)
    for j in range(0, len(b.weights), 5):
        text = arithmetic(b, j).split(",")[0].replace("−", "-").replace("·", "*").replace("^", "**")
        assert abs(eval(text) - b.weights[j]) <= 1e-3 * 2 * abs(b.weights).max()  # d and dmin have four digits
    assert getattr(ggml.block_type(kind), "sub", None) in (None, anatomy.per_number(kind, "scale"))


@pytest.mark.parametrize("kind", anatomy.DESCRIBED)
def test_every_byte_has_a_sentence_and_a_picture(kind):
    blocks = explorers.blocks()
    for byte in range(ggml.block_type(kind).block_bytes):
        sentence, scene = blocks.frame(kind=kind, byte=byte)
        assert sentence.startswith(f"Byte {byte} of 0 … ") and "nan" not in sentence
        marked = len({j for p in anatomy.pieces(kind, byte) for j in p.weights})
        diamonds = [m for m in scene.marks if m.kind == "path" and m.look["fill"] == "blue" and len(m.at) == 4]
        assert len(diamonds) == marked + 1  # one stands in the legend
    assert blocks.frame(kind=kind, byte=209)[0].startswith(f"Byte {ggml.block_type(kind).block_bytes - 1} of")


@pytest.mark.parametrize("kind", anatomy.DESCRIBED)
def test_the_strokes_under_a_block_are_told_apart_and_as_long_as_their_bits(kind):
    """17 pixels a byte; what is not drawn is the gap between two bytes. Two looks that differ in colour alone: none."""
    scene, inked = explorers.blocks().frame(kind=kind, byte=0)[1], 0
    size = ggml.block_type(kind).block_bytes
    legend = 58 + 34 * -(-size // 32) - 4
    strokes = [m for m in scene.marks if m.kind == "path" and m.look["width"] == 3 and m.at[0][1] != legend]
    for mark in strokes:
        (left, y), (right, _) = mark.at
        inked += right - left - 4 * ((right - left) // 21)
    assert inked == pytest.approx(17 * size)
    shown = [m for m in scene.marks if m.kind == "path" and m.look["width"] == 3 and m.at[0][1] == legend]
    assert {(m.look["color"], m.look["dash"]) for m in strokes} == {(m.look["color"], m.look["dash"]) for m in shown}
    assert set(LOOKS) == set(layouts.ROLES) == set(ch09_words.LEGEND)


@pytest.mark.parametrize("kind", anatomy.DESCRIBED)
def test_the_words_of_every_byte_stay_beside_its_bits(kind):
    """At most nine lines of 74 letters; a step that is told is the step; the eight weights of a row are all there."""
    blocks = explorers.blocks()
    for byte in range(ggml.block_type(kind).block_bytes):
        b = blocks.numbers(kind, byte)
        found = ch09_words.lines(b)
        assert 1 <= len(found) <= 9 and max(map(len, found)) <= 74
        for p in b.pieces:
            if p.role in ("row", "signs", "digits") and len(b.pieces) == 1:
                assert [line.split(" = ")[0] for line in found] == [f"w[{j}]" for j in p.weights]
            if p.role == "scale" and kind != "NVFP4":
                rule, worth = ch09_words.rule(b, p.index).replace("−", "-").replace("·", "*").split(" = ")
                assert eval(rule, {"d": b.numbers["d", 0]}) == pytest.approx(float(worth.replace(",", "")), rel=5e-3)


@pytest.mark.parametrize("kind", anatomy.DESCRIBED)
def test_a_mouse_at_rest_reads_what_every_byte_every_field_and_every_bit_means(kind):
    blocks, t = explorers.blocks(), ggml.block_type(kind)
    for byte in range(0, t.block_bytes, 7):
        b = blocks.numbers(kind, byte)
        tips = [m.look["text"] for m in blocks.draw(b).marks if m.kind == "tip"]
        assert [tip for tip in tips if tip.startswith("byte ")] == [
            f"byte {at} = 0x{value:02x}: {ch09_words.held(b, at)}" for at, value in enumerate(b.data)
        ]
        assert {ch09_words.meaning(kind, field) for field in t.dtype.names} <= set(tips)
        assert {ch09_words.told(b, p) for p in b.pieces} <= set(tips)
    assert ch09_words.meaning("IQ2_XXS", "qs") == (
        "qs: the row of the codebook: the magnitudes of four or eight weights; seven signs, which tell the eighth; "
        "the scale of a sub-block"
    )


def test_bits_of_a_codebook_are_told_in_words():
    def says(kind, byte):
        return explorers.blocks().frame(kind=kind, byte=byte)[0].split("; it is ")[1]

    b = explorers.blocks().numbers("IQ2_XXS", 9)
    signs = " ".join("−" if v < 0 else "+" for v in b.weights[24:32])
    assert f"The low four bits are the top four bits of the signs of weights 24 to 31: {signs}; the eighth" in says(
        "IQ2_XXS", 9
    )
    assert "The high four bits are scale 0, " in says("IQ2_XXS", 9)
    words = says("IQ2_XS", 3)
    assert "Bit 0 is the top bit of row number 0: row " in words and "The high seven bits are the signs of" in words
    assert "Bit 7 says that weights 0 to 31 are all moved by" in says("IQ1_S", 35)
    assert "The high four bits are the top four bits of d = " in says("IQ1_M", 55)
    assert "All of it is the codes of weights 168, 184, 200, 216, 232, as one number of base 3: " in says("TQ1_0", 40)
    assert ch09_words.place_of("IQ2_XXS", 9) == "the high byte of qs[3]"
    assert ch09_words.place_of("IQ4_XS", 2) == "scales_h"


def test_the_slider_ends_where_the_block_does():
    box = explorers.blocks(kind="Q4_0", byte=5).box()
    kind, byte, face = box.children
    assert byte.max == 17
    kind.value = "Q6_K"
    byte.value = 209
    assert byte.max == 209 and "Byte 209 of 0 … 209" in face.value
    kind.value = "MXFP4"
    assert byte.max == 16 and byte.value == 16 and "Byte 16 of 0 … 16" in face.value


def test_the_explorer_shows_a_row_of_a_model_and_refuses_less():
    w = randn(4, 512)
    b = explorers.blocks(w).numbers("Q8_0", 2)
    assert b.data.tolist() == ggml.quantize(w[None, :32], "Q8_0")[0].tolist()
    assert explorers.blocks(w).frame(kind="IQ2_XXS", byte=2)[0].startswith("Byte 2 of 0 … 65 belongs to the low byte")
    assert [o.value for o in explorers.blocks(w).controls[:1]] == ["Q4_K"]
    assert set(explorers.blocks(w).controls[0].values()) == set(ggml.WRITTEN) == set(anatomy.DESCRIBED)
    assert explorers.blocks(w, kind="IQ1_S").numbers("IQ1_S", 0).data.size == 50
    for bad in (torch.ones(255), torch.full((256,), torch.nan)):
        with pytest.raises(ValueError, match=r"blocks\(w\): w must hold at least 256 finite weights"):
            explorers.blocks(bad)


def test_the_plots():
    figure = ch09.types({"Q4_0": (4.5, 0.03), "Q4_K": (4.5, 0.02), "MXFP4": (4.25, 0.06)})
    assert {t.get_text() for t in figure.axes[0].texts} == {"Q4_0", "Q4_K", "MXFP4"}
    figure = ch09.tries([0.3, 0.25, 0.28], [2.0, 1.5, 3.0])
    assert [t.get_text() for t in figure.axes[0].texts] == ["largest weight / −8: 2", "the best try: 1.5"]
    figure = ch09.low_bits({"IQ2_XXS": (2.0625, 0.5), "TQ2_0": (2.0625, 6.7)}, blind=4.8)
    assert {t.get_text() for t in figure.axes[0].texts} >= {"IQ2_XXS", "TQ2_0", "a blind guess: every token alike"}
    assert figure.axes[0].get_lines()[-1].get_ydata()[0] == 4.8


# mine


def test_the_recipe_is_q4_0():
    w = randn(5, 8, 64)
    q = recipe.quantize(pieces.references(), w, recipe.SCHEME)
    assert torch.equal(q.dequantize(), ggml.dequantize(ggml.quantize(w, "Q4_0"), "Q4_0"))
    assert q.nbytes == 8 * ggml.block_type("Q4_0").row_bytes(64)
    with pytest.raises(ValueError, match="this chapter's quantizer writes Q4_0"):
        recipe.quantize(pieces.references(), w, Scheme.int(4, group=32))


def test_the_learner_s_bytes_go_into_a_file_that_llama_cpp_runs(tmp_path):
    base = curve.base()
    theirs = llama.export(base.model, base.tokenizer, tmp_path / "course.gguf", "Q4_0")
    assert recipe.gguf_file(pieces.references(), tmp_path / "mine.gguf").read_bytes() == theirs.read_bytes()
    own = pieces.references()
    own.functions = own.functions | {"q4_0": lambda w: q4_0.reference(torch.zeros_like(w))}  # another answer
    path = recipe.gguf_file(own, tmp_path / "zeros.gguf")
    assert not read(path).tensor("blk.0.attn_q.weight").any() and load(path)[0].model.embed_tokens.weight.any()
    llama_cpp = Llama(theirs)
    try:
        assert np.isfinite(llama_cpp.logits([1, 2, 3])).all()
    finally:
        llama_cpp.close()
    assert gguf.GGUFReader(path).tensors


# warm-ups


@pytest.mark.parametrize("seed", SEEDS)
def test_the_warm_up_s_block_is_ggml_s(seed):
    question = warmup.bits_of_a_block(random.Random(seed))
    name = re.search(r"A block of (\w+) has (\d+) bytes and holds (\d+)", question.text)
    t = ggml.block_type(name[1])
    assert (t.block_bytes, t.elements) == (int(name[2]), int(name[3]))
    assert question.answer == pytest.approx(t.bits_per_weight)
    question = warmup.scale_of_q4_0(random.Random(seed))
    top, other = (float(t.replace("−", "-")) for t in re.findall(r"is (−?[\d.]+)[,.]", question.text)[:2])
    w = torch.zeros(1, 32)
    w[0, :2] = torch.tensor([other, top])
    d = q4_0.reference(w)[:, :2].contiguous().view(torch.float16).item()
    assert question.answer == pytest.approx(d, rel=1e-3)
