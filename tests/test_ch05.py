"""Chapter 05's own: references against torch and NF4's table, what the text claims, pictures, warm-ups and *mine*."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import Scheme, calibrate, models, quantize
from course_lib.calibrate import int8
from course_lib.calibrate.smoothquant import migration_scales
from course_lib.checks import pieces
from course_lib.checks.ch05 import best_alpha, fold, int8_linear, int_matmul, normal_levels, smooth_scales, warmup
from course_lib.checks.ch05.mine import RECIPE
from course_lib.formats import nf4
from course_lib.viz import explorers
from course_lib.viz.plots import ch05
from tests.tiny import llama

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05-weights-and-activations.ipynb"
SEEDS = range(40)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# the exercises' references, against things that we did not write


@pytest.mark.parametrize("seed", range(5))
def test_int8_linear_is_torch_s_int8_kernel_between_two_scales(seed):
    x, w = randn(seed, 24, 40), randn(seed + 9, 16, 40)
    sx, sw = (t.abs().amax(1, keepdim=True) / 127 for t in (x, w))
    kernel = torch._int_mm((x / sx).round().to(torch.int8), (w / sw).round().to(torch.int8).T.contiguous())
    assert torch.equal(int8_linear.reference(x, w), kernel * sx * sw.T)
    layer = calibrate.QuantLinear(quantize(w, Scheme.int(8)), activations=Scheme.int(8))
    assert torch.allclose(int8_linear.reference(x, w), layer(x), atol=1e-4)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_int_matmul_subtracts_before_it_multiplies(data):
    sizes = [data.draw(st.integers(1, 6)) for _ in range(3)]
    codes = st.integers(0, 255)
    qx = torch.tensor([[data.draw(codes) for _ in range(sizes[2])] for _ in range(sizes[0])], dtype=torch.uint8)
    qw = torch.tensor([[data.draw(codes) for _ in range(sizes[2])] for _ in range(sizes[1])], dtype=torch.uint8)
    zx, zw = data.draw(codes), data.draw(codes)
    wide = (qx.long() - zx) @ (qw.long() - zw).T
    assert int_matmul.reference(qx, zx, qw, zw).tolist() == wide.tolist()
    assert torch.equal(int_matmul.reference(qx, zx, qw, zw), int8.int_matmul(qx, qw, zx, zw))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_smooth_scales_and_fold_are_the_library_s_smoothquant(alpha):
    model, ids = llama(), torch.arange(48).reshape(2, 24) % 32
    stats = calibrate.collect(model, ids, hessian=False)
    library = calibrate.smoothquant(model, stats, alpha)
    norm, linears = models.outliers.readers(model.model.layers[1])[1]
    x_max = stats["model.layers.1.mlp.gate_proj"].max_abs
    weights = [part.weight.detach() for part in linears]
    s = smooth_scales.reference(x_max[None], torch.cat(weights), alpha)
    assert torch.equal(s, migration_scales(x_max, torch.cat(weights).abs().amax(0), alpha))
    gain, weights = fold.reference(norm.weight.detach(), weights, s)
    theirs, readers = models.outliers.readers(library.model.layers[1])[1]
    assert torch.equal(gain, theirs.weight.detach())
    assert all(torch.equal(w, part.weight.detach()) for w, part in zip(weights, readers, strict=True))


def test_best_alpha_measures_with_the_course_s_quantize():
    x, w = randn(1, 12, 8), randn(2, 6, 8)
    x[:, 0] *= 30
    alphas, errors = [0.0, 0.25, 0.5, 0.75, 1.0], []
    for alpha in alphas:
        s = migration_scales(x.abs().amax(0), w.abs().amax(0), alpha)
        rounded = calibrate.quantize_activations(x / s, Scheme.int(4, group="tensor"))
        errors.append((rounded @ quantize(w * s, Scheme.int(4)).dequantize().T - x @ w.T).square().sum().item())
    assert best_alpha.reference(x, w, alphas, 4) == alphas[errors.index(min(errors))]


def test_normal_levels_of_4_bits_are_nf4_s():
    assert normal_levels.reference(4).tolist() == pytest.approx(nf4.LEVELS, abs=1e-6)


def test_the_hints_figures_are_right():
    y = int8_linear.reference(torch.tensor([[1.0, -0.5]]), torch.tensor([[0.3, 0.4]])).item()
    assert round(y, 4) == 0.0976 and 127 * 95 - 64 * 127 == 3937
    assert int_matmul.reference(torch.tensor([[10, 20]]), 8, torch.tensor([[3, 1]]), 1).item() == 50 - 32 - 30 + 16 == 4
    x, w = torch.tensor([[10.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    assert best_alpha.reference(x, w, [0.0, 0.5, 1.0], 3) == 0.5
    assert [round(v, 3) for v in normal_levels.reference(2).tolist()] == [-1.0, 0.0, 0.436, 1.0]


# what the text claims


def test_the_product_by_hand():
    x, w = quantize(torch.tensor([[0.5, -1.0]]), Scheme.int(8)), quantize(torch.tensor([[0.25, 0.5]]), Scheme.int(8))
    assert x.codes.tolist() == [[64, -127]] and w.codes.tolist() == [[64, 127]]
    assert int8.int_matmul(x.codes, w.codes).item() == -12033 < -(2**15 - 1) // 3
    assert int8.int_linear(x, w).item() == pytest.approx(-0.375, abs=0.003)


def test_planted_channels_ruin_w8a8_per_tensor_and_smoothing_repairs_it():
    """On a random model: the control of the chapter, and what would prove it wrong."""
    model, ids = llama(), torch.arange(60).reshape(3, 20) % 32
    planted = models.plant_outliers(model, channels=[3, 5], factors=[64, 32])
    stats = {bot: calibrate.collect(bot, ids, hessian=False) for bot in (model, planted)}
    with torch.no_grad():
        exact = model(ids).logits

        def off(bot):
            small = calibrate.quantize_model(bot, Scheme.int(8), activations=Scheme.int(8, group="tensor"))
            return (small(ids).logits - exact).abs().mean().item()

        smooth = {bot: calibrate.smoothquant(bot, stats[bot], 0.5) for bot in stats}
        assert off(planted) > 3 * off(model)
        assert off(smooth[planted]) < 1.5 * off(model) and 0.6 < off(smooth[model]) / off(model) < 1.5


def test_a_neighbour_changes_a_shared_scale_and_no_token_s_own():
    layer = quantize(randn(0, 4, 8), Scheme.int(8))
    mine, loud = randn(1, 1, 8), 20 * randn(2, 1, 8)
    for share, same in (("tensor", False), (None, True)):
        linear = calibrate.QuantLinear(layer, activations=Scheme.int(8, group=share))
        alone, among = linear(mine), linear(torch.cat([mine, loud]))[:1]
        assert torch.allclose(alone, among, atol=1e-5) is same


def test_bits_of_double_quantization():
    assert round(4 + 8 / 64 + 32 / (64 * 256), 3) == 4.127
    assert "8/64 + 32/(64 · 256) = 4.127" in NOTEBOOK.read_text(encoding="utf-8")


# the pictures


def words(scene):
    return [mark.at[2] for mark in scene.marks if mark.kind == "text"]


def circles(scene, color):
    return [m for m in scene.marks if m.kind == "circle" and m.look["fill"] == color]


@pytest.mark.parametrize("make", [ch05.contracts, ch05.outside_the_sum, lambda: ch05.levels({"a": [-1, 0, 1]})])
def test_nothing_is_drawn_outside(make):
    scene = make()
    for mark in scene.marks:
        for x, y in mark.at if mark.kind == "path" else [mark.at[:2]]:
            assert -1 <= x <= scene.width + 1 and -1 <= y <= scene.height + 1


def test_contracts_draw_a_box_a_bit():
    scene = ch05.contracts()
    for color, side in (("blue", "W"), ("orange", "A")):
        boxes = [m for m in scene.marks if m.kind == "path" and m.look["fill"] == color]
        wanted = [int(re.search(rf"{side}(\d+)", row[0])[1]) for row in ch05.CONTRACTS]
        assert len(boxes) == sum(wanted)
    assert [w for w in words(scene) if w in {"W4A16", "W8A8", "W4A8", "W4A4"}] == ["W4A16", "W8A8", "W4A8", "W4A4"]


def test_levels_draw_a_mark_a_level_at_its_place():
    scene = ch05.levels({"int4": [k / 7 for k in range(-7, 8)], "NF4": list(nf4.LEVELS)})
    assert {"int4: 15 levels", "NF4: 16 levels"} <= set(words(scene))
    spots = [mark.at[0] for mark in circles(scene, "green")]
    assert len(spots) == 16 and spots == sorted(spots)
    assert spots[7] == pytest.approx((spots[0] + spots[-1]) / 2)


# the explorer


def test_migrate_shows_what_quantizing_measures():
    shown = explorers.migrate()
    for bits, share in (((8, 8), "tensor"), ((4, 8), None)):
        r = shown.numbers(0.5, bits, share)
        s = migration_scales(shown.x.abs().amax(0), shown.w.abs().amax(0), 0.5)
        y = shown.x @ shown.w.T
        x = quantize(shown.x / s, Scheme.int(bits[1], group=share)).dequantize()
        off = (x @ quantize(shown.w * s, Scheme.int(bits[0])).dequantize().T - y).norm() / y.norm()
        assert r.curve[10] == pytest.approx(off.item(), rel=1e-5)
    assert r.x_before[0] == shown.x.abs().amax(0).max() and (r.x_before[:-1] >= r.x_before[1:]).all()


def test_migrate_flattens_the_inputs_at_one_and_the_weights_at_zero():
    shown = explorers.migrate()
    at_one, at_zero, half = (shown.numbers(alpha, (8, 8), "tensor") for alpha in (1, 0, 0.5))
    assert at_one.x_after.max() == pytest.approx(at_one.x_after.min(), rel=1e-4)
    assert at_zero.w_after.max() == pytest.approx(at_zero.w_after.min(), rel=1e-4)
    assert half.x_after == pytest.approx(half.w_after, rel=1e-4)


def test_what_there_was_to_find_in_the_explorer():
    shown = explorers.migrate()
    eight, token, mixed = (shown.errors(*way) for way in (((8, 8), "tensor"), ((8, 8), None), ((4, 8), "tensor")))
    assert mixed[1][20] > 1.35 * min(mixed[1]) and eight[1][20] < 1.3 * min(eight[1])  # W4A8 rises on the right
    assert eight[0] / 3 < token[0] < eight[0] / 2  # a scale a token halves the error and more
    assert max(token[1]) < 0.15 * token[0]  # and does not replace smoothing


def test_migrate_takes_a_layer_and_refuses_half_of_one():
    shown = explorers.migrate(randn(0, 100, 12), randn(1, 5, 12), alpha=0.25)
    assert shown.x.shape == (32, 12) and "α = 0.25" in shown.frame()[0]
    with pytest.raises(ValueError, match="give both"):
        explorers.migrate(randn(0, 3, 4))
    with pytest.raises(ValueError, match=r"got \(3, 4\) and \(5, 6\)"):
        explorers.migrate(randn(0, 3, 4), randn(1, 5, 6))
    with pytest.raises(ValueError, match="both must hold finite numbers"):
        explorers.migrate(torch.full((2, 3), torch.nan), randn(1, 5, 3))


# mine, and the warm-ups


def test_the_recipe_is_the_courses_nf4_with_the_courses_pieces():
    w = 0.02 * randn(0, 64, 256)
    w[1, :64] = 0
    mine, course = RECIPE.quantize(pieces.references(), w, RECIPE.scheme), quantize(w, RECIPE.scheme)
    assert (mine.codes != course.codes).float().mean() < 1e-3 and mine.nbytes == course.nbytes  # a tie may fall apart
    assert round(mine.bits_per_weight, 2) == 4.13
    with pytest.raises(ValueError, match="NF4's levels: formats.nf4.scheme.., got int4 g64 sym"):
        RECIPE.quantize(pieces.references(), w, Scheme.int(4, group=64))


def test_the_recipe_runs_on_the_learner_s_levels():
    found = pieces.references()
    found.functions["normal_levels"] = lambda b: torch.linspace(-1, 1, 2**b)
    w = 0.02 * randn(0, 4, 256)
    codes = [RECIPE.quantize(p, w, RECIPE.scheme).codes for p in (found, pieces.references())]
    assert (codes[0] != codes[1]).float().mean() > 0.3


def numbers(question):
    return [float(x.replace("−", "-")) for x in re.findall(r"[-−]?\d+(?:\.\d+)?", question.text)]


@pytest.mark.parametrize("seed", SEEDS)
def test_warm_up_answers_are_what_the_questions_compute(seed):
    def ask(function):
        return function(random.Random(seed))

    billions, w, _ = numbers(asked := ask(warmup.bytes_of_a_contract))
    assert billions * 1e9 * w / 8 / 1e9 == asked.answer
    q0, q1, sx, w0, w1, sw = numbers(asked := ask(warmup.product_of_codes))
    product = int8.int_matmul(torch.tensor([[int(q0), int(q1)]]), torch.tensor([[int(w0), int(w1)]])).item()
    assert product * sx * sw == pytest.approx(asked.answer)
    qx, zx, qw = map(int, numbers(asked := ask(warmup.with_a_zero_point)))
    assert int8.int_matmul(torch.tensor([[qx]]), torch.tensor([[qw]]), zx=zx).item() == asked.answer
    x, w, alpha = numbers(asked := ask(warmup.smoothing_factor))
    assert migration_scales(torch.tensor([x]), torch.tensor([w]), alpha).item() == pytest.approx(asked.answer)
    x, s = numbers(asked := ask(warmup.after_smoothing))
    assert x / s == asked.answer
    _, _, g, _, n = numbers(asked := ask(warmup.double_quantization))
    scheme = Scheme("nf4", (1, int(g)), scale_scheme=Scheme.int(8, group=int(n)))
    assert quantize(randn(0, int(g), int(4 * n)), scheme).bits_per_weight == pytest.approx(asked.answer, abs=1e-6)


def test_the_notebook_prints_its_numbers_and_writes_none_of_the_model_s():
    """Figures of the model belong into outputs: no KL and no share of it stands in the prose."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    prose = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert not re.search(r"KL (of )?0\.\d|\d % of (the|its) (codes|inputs)", prose)
