"""Chapter 07's own: its references against the library's AWQ, the source's numbers, the explorer, warm-ups, *mine*."""

import contextlib
import copy
import io
import json
import random
import re
from pathlib import Path

import pytest
import torch

from course_lib import Scheme, calibrate, quantize
from course_lib.calibrate import rtn
from course_lib.calibrate.awq import scales
from course_lib.calibrate.folds import Fold
from course_lib.calibrate.lowrank import low_rank_bytes
from course_lib.checks import pieces
from course_lib.checks.ch07 import clip, protected, salient, search, tied, warmup
from course_lib.checks.ch07 import mine as recipe
from course_lib.viz import explorers
from course_lib.viz.explorers import ch07_protect
from course_lib.viz.plots import ch07
from tests.tiny import llama

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "07-awq.ipynb"
SEEDS = range(40)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch07-{name}"))


def printed(source, space=None):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, {"torch": torch, "Scheme": Scheme, "quantize": quantize} | (space or {}))
    return out.getvalue()


# the exercises' references, against the library


def test_salient_ranks_by_what_the_statistics_call_mean_abs():
    model, ids = llama(), torch.arange(48).reshape(2, 24) % 32
    stats = calibrate.collect(model, ids, hessian=False, progress=False)["model.layers.1.mlp.up_proj"]
    assert salient.reference(stats.rows, 5).tolist() == stats.mean_abs.argsort(descending=True)[:5].tolist()


def test_every_case_of_protected_gives_a_vector_of_factors():
    assert all(case.args[1].shape == case.args[0].shape[1:] for case in protected.cases)


@pytest.mark.parametrize("b", [2, 3, 4, 8])
def test_protected_is_the_library_s_rounding_between_two_scales(b):
    w, s = randn(b, 6, 16), scales(randn(9, 50, 16).abs().mean(0), 0.5)
    library = rtn(w * s, Scheme.int(b)).dequantize() / s
    assert torch.allclose(protected.reference(w, s, b), library, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_search_finds_the_alpha_of_least_error_under_the_library_s_normalized_scales(seed):
    """Normalizing s cannot change the choice: a common factor goes into the scale of the row."""
    x = randn(seed, 64, 12) * torch.logspace(0, 1.2, 12)
    w, loud = randn(seed + 50, 8, 12), x.abs().mean(0)
    errors = []
    for k in range(10):
        s = scales(loud, k / 10)
        delta = rtn(w * s, Scheme.int(3)).dequantize() / s - w
        errors.append((x @ delta.T).square().sum().item())
    assert search.reference(x, w, 3, 10) == pytest.approx(min(range(10), key=errors.__getitem__) / 10)


def test_clip_is_a_full_search_row_by_row():
    x, w, shares = randn(1, 40, 12), randn(2, 5, 12), [1.0, 0.8, 0.6]
    chosen = clip.reference(x, w, 3, shares)
    for i in range(5):
        errors = []
        for c in shares:
            top = c * w[i].abs().max()
            cut = w[i].clamp(-top, top)
            cut[w[i].abs().argmax()] = top * w[i][w[i].abs().argmax()].sign()
            errors.append((x @ (rtn(cut[None], Scheme.int(3)).dequantize()[0] - w[i])).square().sum().item())
        assert chosen[i].item() == pytest.approx(shares[min(range(3), key=errors.__getitem__)])


@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, 2, 3), (2, 2, 4), (6, 1, 2), (8, 4, 1)])
def test_tied_is_the_library_s(heads, kv_heads, width):
    s = randn(heads, heads * width).abs() + 0.1
    s_v, s_o = tied.reference(s, heads, kv_heads)
    fold = Fold(None, [], heads=(kv_heads, heads // kv_heads, width))
    assert torch.allclose(s_o, fold.tied(s))
    assert torch.allclose(s_v, fold.tied(s).reshape(fold.heads)[:, 0].flatten())


# what the text says


def test_the_source_s_two_outputs():
    assert printed(cell("loud")).split() == "naive 10.01 loud channel protected 2.01".split()


def test_protection_is_free_until_the_column_sets_the_step():
    lines = printed(cell("by-hand")).splitlines()
    steps = [float(line.split("step ")[1].split(",")[0]) for line in lines]
    assert steps[0] == steps[1] < steps[2] < steps[3]
    off = [abs(float(line.rsplit(" ", 1)[1])) for line in lines]
    assert off[1] < off[2] < off[0] < off[3]
    assert 1 / 0.48 == pytest.approx(2.083, abs=0.001)  # “from s = 2.1 on”


def test_the_awq_word_has_the_order_that_the_layout_names():
    shown = printed(cell("where").replace("print({key", "0 and print({key"))
    assert shown.splitlines()[0].endswith("76543210") and shown.splitlines()[1].endswith("75316420")


# pictures


def test_the_explorer_s_error_is_that_of_the_layer():
    protect = explorers.protect()
    x, w = ch07_protect.example()
    for alpha, bits, group in ((0.0, 3, None), (0.5, 3, None), (0.95, 2, 16)):
        n = protect.numbers(alpha, bits, group)
        s = scales(x.abs().mean(0), alpha)
        delta = rtn(w * s, Scheme.int(bits, group=group)).dequantize() / s - w
        off = ((x @ delta.T).norm() / (x @ w.T).norm()).item()
        assert n.curve[ch07_protect.ALPHAS.index(alpha)] == pytest.approx(off, rel=1e-4)
        assert f"α = {alpha:g}:" in protect.sentence(n) and n.plain.sum() == pytest.approx(100, rel=1e-3)


def test_what_the_tasks_promise():
    protect = explorers.protect()
    plain, far = protect.numbers(0.0, 3, None), protect.numbers(0.95, 3, None)
    assert plain.plain[:8].sum() > 90 and far.curve[-1] > far.curve[0]
    assert (far.now[16:] > far.plain[16:]).all()
    grouped = protect.numbers(0.95, 3, 16).curve
    assert [ch07_protect.ALPHAS[curve.index(min(curve))] for curve in (far.curve, grouped)] == [0.4, 0.45]
    assert grouped[-1] > grouped[0] and all(a < b for a, b in zip(grouped, far.curve, strict=True))


def test_the_explorer_refuses_what_it_cannot_show():
    for x, w in (
        (torch.ones(3, 4), None),
        (torch.ones(3, 4), torch.ones(2, 5)),
        (torch.full((3, 4), torch.nan), torch.ones(2, 4)),
    ):
        with pytest.raises(ValueError, match=r"protect\(x, w\)"):
            explorers.protect(x, w)


def test_the_plot_names_every_method():
    figure = ch07.methods({"3 bits": {"rtn": 0.3, "awq": 0.2, "gptq": 0.19}})
    assert [t.get_text() for t in figure.axes[0].texts] == ["nearest 0.300", "AWQ 0.200", "GPTQ 0.190"]


def test_a_direction_by_hand_and_what_it_leaves():
    lines = printed(cell("rank-by-hand")).splitlines()
    assert "[3.0, 0.0, 0.0]" in lines[0] and lines[0].endswith("of the weights 5, of the outputs 37")  # 2² + 1², 6² + 1
    assert "[0.0, 2.0, 0.0]" in lines[1] and lines[1].endswith("of the weights 10, of the outputs 10")


def test_four_directions_cost_what_groups_of_32_cost():
    w = randn(1, 512, 256)
    wide, narrow = (quantize(w, Scheme.int(3, group=g, scale_dtype=torch.float16)).bits_per_weight for g in (128, 32))
    assert 8 * low_rank_bytes(w.shape, 4) / w.numel() == pytest.approx(narrow - wide)


def test_spent_begins_all_lines_at_the_start_and_names_their_ends():
    ways = {
        "plain": [("r = 2", 3.3, 0.27), ("r = 4", 3.5, 0.26)],
        "groups": [("g = 64", 3.25, 0.25), ("g = 32", 3.5, 0.2)],
    }
    axes = ch07.spent(ways, ("3 bits", 3.1, 0.28)).axes[0]
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [(3.1, 0.28)] * 2
    assert {"plain, r = 4", "groups, g = 32", "r = 2", "g = 64", "3 bits"} == {t.get_text() for t in axes.texts}
    assert len({line.get_marker() for line in axes.lines}) == 2


def test_sinq_by_hand_finds_eight_and_four():
    lines = printed(cell("sinq-by-hand")).splitlines()
    columns, rows = (json.loads(part) for part in re.findall(r"\[.*?\]", lines[0]))
    assert columns == pytest.approx([1, 8, 1, 1], rel=0.03) and rows == pytest.approx([1, 1, 4, 1], rel=0.08)
    nearest, even = (float(line.rsplit(" ", 1)[1]) for line in lines[2:])
    assert even < 0.7 * nearest and "first row [0.0, -8.0, 0.0, 0.0]" in lines[2]  # the loud one sets the step


# mine


def test_the_recipe_keeps_the_function_and_cuts_ranges(monkeypatch):
    model = llama()
    ids = torch.arange(24)[None] % 32
    rows = {}
    for name, part in model.named_modules():
        if name.endswith("_proj"):
            rows[part.weight.shape, part.weight.sum().item()] = randn(len(rows), 32, part.weight.shape[1])
    monkeypatch.setattr(recipe, "inputs_of", lambda w: rows[w.shape, w.sum().item()])
    own = pieces.references()
    never = copy.copy(own)
    never.functions = own.functions | {"clip": lambda x, w, b, shares: torch.ones(len(w))}
    same = recipe.prepare(never, model, Scheme.int(4))
    with torch.no_grad():
        assert (same(ids).logits - model(ids).logits).abs().max() < 1e-4
    assert not torch.equal(same.model.layers[0].input_layernorm.weight, model.model.layers[0].input_layernorm.weight)
    cut = recipe.prepare(own, model, Scheme.int(4))
    tops = [(a.weight.abs().amax(1), b.weight.abs().amax(1)) for (n, a), (_, b) in
            zip(cut.named_modules(), same.named_modules(), strict=True) if n.endswith("_proj")]  # fmt: skip
    assert all((a <= b * 1.00001).all() for a, b in tops) and any((a < 0.99 * b).any() for a, b in tops)


# warm-ups


@pytest.mark.parametrize("seed", SEEDS)
def test_the_warm_up_s_shared_scale_is_the_one_that_the_exercise_asks_for(seed):
    question = warmup.shared_scale(random.Random(seed))
    a, b = (float(word) for word in question.text.split("scales ")[1].split(".")[0].split(" and "))
    assert tied.reference(torch.tensor([a, b]), 2, 1)[0].item() == pytest.approx(question.answer)


def test_the_hint_of_protected_computes_what_it_says():
    w = torch.tensor([[0.2, 1.0]])
    rounded = [protected.reference(w, torch.tensor([s, 1.0]), 3)[0, 0].item() for s in (1.0, 2.0)]
    assert [round(v, 3) for v in rounded] == [0.333, 0.167]
    assert all(f"{v:.3f}" in protected.hints[1] for v in rounded)


def test_the_explorer_counts_all_channels_of_a_wide_layer_and_says_how_many_it_shows():
    x, w = randn(1, 20, 96), randn(2, 8, 96)
    protect = explorers.protect(x, w)
    n = protect.numbers(alpha=0.0, bits=3, group=None)
    parts = x.square().sum(0) * (rtn(w, Scheme.int(3)).dequantize() - w).square().sum(0)
    loudest = x.abs().mean(0).argsort(descending=True)[:24]
    assert n.quarter == pytest.approx(100 * (parts[loudest].sum() / parts.sum()).item(), rel=1e-4)
    assert "32 of 96 channels" in protect.draw(n).svg("")


def test_the_explorer_of_a_layer_that_rounds_exactly_and_of_one_without_output():
    protect = explorers.protect(randn(3, 20, 4), torch.tensor([[1.0, -1.0, 0.0, 1.0]]))
    for alpha, told in ((0.0, "off by 0 %, that is plain rounding"), (0.5, "plain rounding is exact here")):
        n = protect.numbers(alpha=alpha, bits=3, group=None)
        assert told in protect.sentence(n) and "nan" not in protect.draw(n).svg("")
    one = explorers.protect(torch.ones(3, 1), torch.ones(2, 1))
    n = one.numbers(alpha=0.5, bits=3, group=None)
    assert "as much as with plain rounding" in one.sentence(n) and "nan" not in one.draw(n).svg("")
    with pytest.raises(ValueError, match="must not all be 0"):
        explorers.protect(torch.zeros(3, 4), torch.ones(2, 4))
