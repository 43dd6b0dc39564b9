"""Chapter 04's own: its packers, quantizer and metrics against other people's, its pictures, warm-ups and *mine*."""

import json
import math
import random
import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import Scheme, evaluate, models, quantize
from course_lib.checks import pieces
from course_lib.checks.ch04 import compare, pack, per_group, restore, smallest_group, unpack, warmup
from course_lib.checks.ch04.mine import RECIPE
from course_lib.formats import affine
from course_lib.viz.explorers.ch04_heatmap import measure, typical
from course_lib.viz.plots import ch04
from tests.test_packing import gptq_qweight_3bit
from tests.tiny import llama

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "04-granularity.ipynb"
SEEDS = range(40)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# the exercises' references, against things that we did not write


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([2, 3, 4]), st.data())
def test_pack_is_numpy_s_packbits_and_unpack_undoes_it(b, data):
    codes = np.array(data.draw(st.lists(st.integers(0, 2**b - 1), min_size=1, max_size=50)), np.uint8)
    stream = np.unpackbits(codes[:, None], axis=1, bitorder="little")[:, :b]
    packed = pack.reference(torch.from_numpy(codes), b)
    assert packed.tolist() == np.packbits(stream, bitorder="little").tolist()
    assert unpack.reference(packed, b, len(codes)).tolist() == codes.tolist()


def test_mlx_s_grid_cuts_and_wins_at_two_bits_only():
    model, _ = models.load("bundled")
    layers = [m.weight.detach() for name, m in model.named_modules() if name.endswith("proj")]
    more = {}
    for bits in (4, 2):
        covered = Scheme.int(bits, False, 64, scale_dtype=torch.float16, zero_dtype=torch.float16)
        pairs = [(quantize(w, covered), affine.as_mlx(w, affine.scheme(bits))) for w in layers]
        off = [sum((q.dequantize() - w).square().sum() for q, w in zip(qs, layers, strict=True))
               for qs in zip(*pairs, strict=True)]  # fmt: skip
        more[bits] = (off[1] / off[0] - 1).item()
    assert abs(more[4]) < 0.06 and more[2] < -0.1  # "hardly matters", "cutting wins"


def test_three_bytes_of_ours_are_gptq_s_three_words():
    codes = torch.randint(0, 8, (32,), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    words = np.frombuffer(pack.reference(codes, 3).numpy().tobytes(), "<u4")
    assert words.tolist() == gptq_qweight_3bit(codes)


def test_the_words_that_the_chapter_prints():
    codes = torch.zeros(32, dtype=torch.uint8)
    codes[10] = codes[21] = 7
    words = np.frombuffer(pack.reference(codes, 3).numpy().tobytes(), "<u4").tolist()
    assert words == [0b11 << 30, 1 << 31 | 1, 0b11]


def test_q4_0_puts_weight_j_and_weight_j_plus_16_into_a_byte():
    block = torch.cat([torch.arange(-8, 8), torch.arange(7, -9, -1)]).float()
    stored = gguf.quants.quantize(block.numpy(), gguf.GGMLQuantizationType.Q4_0)
    codes = (block + 8).to(torch.uint8)
    assert stored[2:].tolist() == [int(codes[j]) + 16 * int(codes[j + 16]) for j in range(16)]
    assert stored[2:].tolist() != pack.reference(codes, 4).tolist()


@pytest.mark.parametrize("b, g", [(4, 32), (4, 64), (3, 16), (2, 8), (8, 64)])
def test_per_group_is_torch_s_per_channel_on_rows_of_one_group(b, g):
    """torch multiplies by 1 / s where we divide by s: a tie may fall to the other side, a code apart."""
    w, top = 0.1 * randn(b, 24, 64), 2 ** (b - 1) - 1
    q, s = per_group.reference(w, b, g)
    flat = s.float().flatten()
    zeros = torch.zeros(len(flat), dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(w.reshape(-1, g), flat, zeros, 0, -top, top).reshape(w.shape)
    ours = restore.reference(q, s)
    assert ((ours - theirs).abs() > 1e-6).float().mean() < 0.002


def test_per_group_is_the_course_s_quantize():
    w = randn(0, 8, 96)
    w[2, 32:64] = 0
    for g in (8, 32, 96):
        q, s = per_group.reference(w, 4, g)
        course = quantize(w, Scheme.int(4, group=g, scale_dtype=torch.float16))
        assert torch.equal(q, course.codes) and torch.equal(restore.reference(q, s), course.dequantize())


def test_the_three_numbers_are_torch_s_own():
    base, other, targets = 2 * randn(1, 9, 17), 2 * randn(2, 9, 17), torch.arange(9)
    found = compare.reference(base, other, targets, 21)
    logs = other.log_softmax(-1), base.log_softmax(-1)
    assert found["kl"] == pytest.approx(F.kl_div(*logs, log_target=True, reduction="batchmean").item(), rel=1e-5)
    assert found["kl"] == pytest.approx(evaluate.kl_divergence(base, other).mean().item(), rel=1e-5)
    assert found["bpb"] == pytest.approx(F.cross_entropy(other, targets, reduction="sum").item() / math.log(2) / 21)
    assert found["top1"] == sum(base[i].argmax() == other[i].argmax() for i in range(9)) / 9


def test_kl_by_hand():
    found = compare.reference(
        torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log(), torch.tensor([0]), 1
    )
    assert round(found["kl"], 3) == round(0.5 * math.log(2) + 0.5 * math.log(2 / 3), 3) == 0.144


def test_on_its_own_text_the_base_loses_kl_on_average():
    """What the chapter says of bits per byte: if p draws the text, the mean of ln p - ln q is KL(p || q)."""
    base, other = randn(3, 1, 8), randn(4, 1, 8)
    p = base.softmax(-1)[0]
    costs = [compare.reference(base, other, torch.tensor([t]), 1)["bpb"] for t in range(8)]
    own = [compare.reference(base, base, torch.tensor([t]), 1)["bpb"] for t in range(8)]
    expected = sum(p[t].item() * (costs[t] - own[t]) for t in range(8)) * math.log(2)
    assert expected == pytest.approx(evaluate.kl_divergence(base, other).item(), rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_smallest_group_is_the_first_that_fits(seed):
    rng = random.Random(seed)
    b, scale, zero = rng.choice([2, 3, 4]), rng.choice([8, 16, 32]), rng.choice([0, 4, 8])
    budget = b + rng.choice([0.02, 0.125, 0.3, 1, 7])
    fits = [g for g in (2**k for k in range(20)) if 4096 * b + (scale + zero) * 4096 / g <= 4096 * budget]
    assert smallest_group.reference(b, budget, scale, zero) == fits[0]


# what the text claims


def test_groups_on_a_bell_curve_pay_down_to_64():
    """The largest of g normals: E max² = ∫ 2 m (1 − erf(m / √2)^g) dm; against 6.02 dB a bit that the scales take."""
    m = np.linspace(0, 9, 40_001)
    inside = np.array([math.erf(x / math.sqrt(2)) for x in m])
    power = {g: np.trapezoid(2 * m * (1 - inside**g), m) for g in (256, 128, 64, 32, 16, 8)}
    pays = {g: 10 * math.log10(power[256] / power[g]) > 6.02 * (16 / g - 16 / 256) for g in power}
    assert pays == {256: False, 128: True, 64: True, 32: False, 16: False, 8: False}


def test_friday_touched_20_of_28_matrices_and_no_reply():
    model = llama()
    tidied = models.plant_outliers(model, channels=[7], factors=[1 / 64])
    pairs = zip(model.named_parameters(), tidied.named_parameters(), strict=True)
    touched = [name for (name, old), (_, new) in pairs if "_proj" in name and not torch.equal(old, new)]
    linears = [name for name, _ in model.named_parameters() if "_proj" in name]
    config = json.loads((models.BUNDLED / "config.json").read_text(encoding="utf-8"))
    assert len(touched) / len(linears) == 20 / 28 and 7 * config["num_hidden_layers"] == 28
    ids = torch.arange(9)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, tidied(ids).logits)


def test_the_story_names_the_budget_of_chapter_00():
    from course_lib.viz.explorers.ch00_bot import BUDGET_BYTES

    text = NOTEBOOK.read_text(encoding="utf-8")
    assert f"chapter 00's {BUDGET_BYTES / 1e6:.1f} MB" in text


# the pictures


def words(scene):
    return [mark.at[2] for mark in scene.marks if mark.kind == "text"]


@pytest.mark.parametrize("rows, cols, g", [(6, 12, 4), (4, 12, 3), (5, 8, 2)])
def test_fences_count_scales_as_quantize_does(rows, cols, g):
    told = words(ch04.fences(rows, cols, g))
    for group in ("tensor", None, g):
        n = quantize(randn(0, rows, cols), Scheme.int(4, group=group)).scale.numel()
        assert f"{n} scale{'s' * (n > 1)} for {rows * cols} weights" in told


@pytest.mark.parametrize("b, n_bytes", [(2, 3), (3, 3), (4, 3), (5, 5), (6, 3), (3, 6)])
def test_hatched_are_the_codes_whose_bits_lie_in_two_bytes(b, n_bytes):
    scene = ch04.bit_stream((b,), n_bytes)
    n = n_bytes * 8 // b
    assert [w for w in words(scene) if re.fullmatch(r"q\d+", w)] == [f"q{i}" for i in range(n)]
    split = 0
    for i in range(n):  # a code of ones among zeros: how many bytes does it reach?
        ones = np.zeros((n, b), np.uint8)
        ones[i] = 1
        split += (np.packbits(ones, bitorder="little") > 0).sum() > 1
    red = [m for m in scene.marks if m.kind == "path" and m.look["color"] == "red" and m.look["closed"]]
    assert len(red) == split


def test_trade_puts_more_bits_to_the_right_and_less_kl_below():
    series = {
        "groups": [("128", 4.125, 0.05), ("32", 4.5, 0.03)],
        "codes": [("4 bits", 4.06, 0.06), ("6", 6.06, 0.003)],
    }
    scene = ch04.trade(series)
    assert {"groups", "codes", "128", "32", "4 bits", "6"} <= set(words(scene))
    lines = [m.at for m in scene.marks if m.kind == "path" and m.look["color"] in ("blue", "orange") and len(m.at) == 2]
    (a, b), (c, d) = lines[0], lines[1]
    spots = {0.05: a, 0.03: b, 0.06: c, 0.003: d}
    heights = [spots[kl][1] for kl in sorted(spots, reverse=True)]
    assert heights == sorted(heights) and c[0] < a[0] < b[0] < d[0]
    for mark in scene.marks:
        for x, y in mark.at if mark.kind == "path" else [mark.at[:2]]:
            assert -1 <= x <= scene.width + 1 and -1 <= y <= scene.height + 1


def test_tails_marks_the_error_that_a_share_of_the_weights_exceeds():
    even, far = torch.arange(10000) / 10000, torch.cat([torch.zeros(9800), torch.full((200,), 3.0)])
    scene = ch04.tails({"even": even, "far": far})
    assert {"even", "far", "1 in 100"} <= set(words(scene))
    discs = [m.at for m in scene.marks if m.kind == "circle" and m.look.get("fill") == "blue"]
    width = 744 - 86
    for share, (x, *_) in zip((0.5, 0.1, 0.01, 0.001), discs, strict=False):
        assert x == pytest.approx(86 + width * (1 - share) / (1.1 * 3), abs=0.5)
    lines = [m.at for m in scene.marks if m.kind == "path" and m.look["color"] in ("blue", "orange")]
    for line in lines[-2:]:
        heights, places = [y for _, y in line], [x for x, _ in line]
        assert heights == sorted(heights) and places == sorted(places)


def test_a_larger_outlier_costs_its_scale_mates_until_all_their_codes_are_zero():
    sizes = [5.0, 10.0, 20.0, 40.0, 50.0, 60.0]
    found = [measure(5, 21, size, None) for size in sizes]
    near = [h.near for h in found]
    mates = np.delete(np.abs(typical()[5]), 21)
    assert near[:4] == sorted(near[:4]) and near[4] == near[5] == pytest.approx(mates.mean(), rel=1e-5)
    assert len({h.far for h in found}) == 1
    sqnr = [h.price[0][2] for h in found]  # one scale for all: of the others nothing is left
    assert sqnr == sorted(sqnr, reverse=True) and sqnr[-1] == pytest.approx(0, abs=1e-6)


# mine, and the warm-ups


def test_the_recipe_is_the_courses_quantizer_with_the_courses_pieces():
    w = randn(0, 4, 256)
    w[1, :32] = 0
    mine, course = RECIPE.quantize(pieces.references(), w, RECIPE.scheme), quantize(w, RECIPE.scheme)
    assert torch.equal(mine.codes, course.codes) and mine.nbytes == course.nbytes
    assert torch.equal(mine.dequantize(), course.dequantize())


def test_the_recipe_runs_on_the_learner_s_restore():
    found = pieces.references()
    found.functions["restore"] = lambda q, s: q * s.float().repeat(1, q.shape[1] // s.shape[1])  # the green test's
    w = randn(0, 4, 256)
    assert not torch.allclose(RECIPE.quantize(found, w, RECIPE.scheme).dequantize(), w, atol=0.3)
    assert torch.allclose(RECIPE.quantize(pieces.references(), w, RECIPE.scheme).dequantize(), w, atol=0.3)


def numbers(question):
    return [float(x.replace("−", "-")) for x in re.findall(r"[-−]?\d+(?:\.\d+)?", question.text)]


@pytest.mark.parametrize("seed", SEEDS)
def test_warm_up_answers_are_what_the_questions_compute(seed):
    def ask(function):
        return function(random.Random(seed))

    rows, cols, g = numbers(asked := ask(warmup.number_of_scales))
    assert quantize(randn(0, int(rows), int(cols)), Scheme.int(4, group=int(g))).scale.numel() == asked.answer
    b, g, scale, *zero = numbers(asked := ask(warmup.bits_with_zero_points))
    assert (1024 * b + 1024 / g * (scale + sum(zero))) / 1024 == pytest.approx(asked.answer)
    _, low, high = numbers(asked := ask(warmup.one_byte))
    assert pack.reference(torch.tensor([low, high]), 4).item() == asked.answer
    n, b = numbers(asked := ask(warmup.bytes_of_odd_codes))
    assert len(pack.reference(torch.zeros(int(n)), int(b))) == asked.answer
    top, _, w = numbers(asked := ask(warmup.code_in_its_group))
    assert per_group.reference(torch.tensor([[top, w]]), 4, 2)[0][0, 1].item() == asked.answer
    assert abs(abs(7 * w / top) % 1 - 0.5) > 0.05  # no tie that a rounding error could turn
    p, q = numbers(asked := ask(warmup.kl_of_a_sure_model))
    assert p == 1 and evaluate.kl_divergence(torch.tensor([1, 1e-30]).log(), torch.tensor([q, 1 - q]).log()).item() == (
        pytest.approx(asked.answer, abs=1e-5)
    )
