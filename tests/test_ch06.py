"""Chapter 06's own: its references against least squares and the library, Babai, GPTAQ, pictures, warm-ups, *mine*."""

import contextlib
import io
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import QTensor, Scheme, calibrate, models, quantize
from course_lib.calibrate import gptq
from course_lib.calibrate import hessian as library_hessian
from course_lib.calibrate.activations import record
from course_lib.calibrate.babai import babai, lower_factor
from course_lib.calibrate.gptaq import gptaq
from course_lib.calibrate.gptq import inverse_factor
from course_lib.checks import pieces
from course_lib.checks.ch06 import block_loop, checkbook, column_step, counterexamples, hessian, put_back, warmup
from course_lib.checks.ch06 import mine as recipe
from course_lib.viz.explorers import ch06_stepper
from course_lib.viz.plots import ch06

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "06-gptq.ipynb"
SEEDS = range(40)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def activations(seed, tokens=200, cols=16):
    """Inputs that go together, some of them louder than others."""
    mix = torch.eye(cols) + 0.5 * randn(seed + 1, cols, cols)
    loud = torch.linspace(0.3, 3, cols)[randn(seed + 2, cols).argsort()]
    return randn(seed, tokens, cols) @ mix * loud


def error(w, w_hat, H):
    d = (w - w_hat).double()
    return torch.einsum("ri,ij,rj->", d, H.double(), d).item()


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch06-{name}"))


# the exercises' references, against things that we did not write


def test_hessian_is_autograd_s_second_derivative_of_the_mean_squared_output():
    x = activations(0, 30, 5)
    second = torch.autograd.functional.hessian(lambda d: (x @ d).square().mean(), torch.zeros(5))
    assert torch.allclose(hessian.reference(x), second, rtol=1e-4)
    assert torch.allclose(hessian.reference(x), library_hessian(x), rtol=1e-6)


@pytest.mark.parametrize("i", [0, 3, 9, 10])
def test_a_column_step_is_numpy_s_least_squares_over_the_columns_still_free(i):
    x, w, s = activations(3, 300, 11).double(), randn(5, 4, 11).double(), torch.full((4,), 0.4).double()
    U = torch.linalg.cholesky(torch.linalg.inv(hessian.reference(x)), upper=True)
    got = column_step.reference(w, U, i, s)
    assert torch.equal(got[:, i], s * torch.round(w[:, i] / s)) and torch.equal(got[:, :i], w[:, :i])
    for row in range(4):  # what the free columns have to add up to, so that the outputs stay
        owed = x[:, i:] @ w[row, i:] - x[:, i] * got[row, i]
        best = np.linalg.lstsq(x[:, i + 1 :].numpy(), owed.numpy(), rcond=None)[0]
        assert got[row, i + 1 :].numpy() == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize("b, g, block", [(3, 16, 8), (3, 32, 16), (4, 8, 16), (2, 32, 32), (4, 16, 16)])
def test_block_loop_is_the_library_s_gptq(b, g, block):
    w, H = randn(1, 12, 32), library_hessian(activations(2, 300, 32))
    q, s = block_loop.reference(w, inverse_factor(H), b, g, block)
    course = gptq(w, H, Scheme.int(b, group=g, scale_dtype=torch.float16))
    assert (q != course.codes).float().mean() < 0.01  # one float32 rounding may turn a tie, and then its row
    assert torch.allclose(s.float(), course.scale.float(), rtol=0.02)


def test_the_cases_of_the_block_loop_lie_away_from_ties():
    """Another order of summation must not turn a code: noise of a few float32 roundings does not."""
    for case, seed in itertools.product(block_loop.cases, range(5)):
        w, U, *rest = case.args
        noisy = w * (1 + 1e-6 * randn(seed, *w.shape))
        assert torch.equal(block_loop.reference(noisy, U, *rest)[0], block_loop.reference(*case.args)[0]), case


@pytest.mark.parametrize("seed", range(6))
def test_put_back_and_the_loop_are_gptq_with_act_order(seed):
    w, H = randn(seed, 8, 24), library_hessian(activations(seed, 200, 24))
    order = H.diagonal().argsort(descending=True)
    q, s = block_loop.reference(w[:, order], inverse_factor(H[order][:, order]), 3, 8, 8)
    codes, g_idx = put_back.reference(q, order, 8)
    scheme = Scheme.int(3, group=8, scale_dtype=torch.float16)
    mine, course = QTensor(codes, s, None, scheme, w.shape, g_idx), gptq(w, H, scheme, act_order=True)
    assert torch.equal(g_idx, course.g_idx)
    assert (mine.dequantize() != course.dequantize()).float().mean() < 0.03
    lost = QTensor(codes, s, None, scheme, w.shape)
    assert error(w, lost.dequantize(), H) > 2 * error(w, mine.dequantize(), H)


def test_the_checkbook_by_trying_all_pairs():
    H, w = np.array([[10.0, 3.0], [3.0, 1.0]]), np.array([1.4, 0.7])
    claim = checkbook.reference
    assert claim["nearest_cost"] == pytest.approx(ch06.cost(w, H, (1, 1))) == claim["backwards_cost"]
    assert claim["paid_cost"] == pytest.approx(ch06.cost(w, H, (1, 2)))
    least = min(ch06.cost(w, H, pair) for pair in itertools.product(range(-3, 6), repeat=2))
    assert least == pytest.approx(claim["paid_cost"])
    free = np.linspace(-3, 5, 8001)
    assert free[np.argmin([ch06.cost(w, H, (1, v)) for v in free])] == pytest.approx(claim["second"], abs=1e-3)
    free = np.linspace(-3, 5, 8001)
    assert round(free[np.argmin([ch06.cost(w, H, (v, 1)) for v in free])]) == 1  # backwards: w1 stays at 1


@pytest.mark.parametrize("seed", SEEDS)
def test_counterexamples_are_none_where_the_diagonal_is_smallest(seed):
    kl, err = randn(seed, 4, 4).abs(), torch.full((4, 4), 0.01)
    found = counterexamples.reference(kl, err)
    columns = {m for m in range(4) if kl[m, m] > kl[:, m].min() + 0.0283}
    assert {m for _, m in found} == columns and all(kl[c, m] < kl[m, m] for c, m in found)


# what the text claims


def test_the_source_s_curvature_proxy_is_printed_to_the_digit():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(cell("proxy"), {})
    assert out.getvalue() == (
        "same absolute errors: [0.2, 0.2]\n"
        "curvature-weighted costs: [1.0000000000000002, 0.04000000000000001]\n"
        "first direction costs 25x more to distort\n"
    )


def test_two_weights_as_the_chapter_works_them_out():
    x, w = np.array([[5, 0.8], [0, 0.6]]), np.array([1.2, 0.8])
    H = x.T @ x
    assert H == pytest.approx(np.array([[25, 4], [4, 1]])) and (x @ w)[0] == pytest.approx(6.64)
    assert (x @ [1, 1])[0] == pytest.approx(5.8)
    costs = {pair: ch06.cost(w, H, pair) for pair in itertools.product(range(-4, 7), repeat=2)}
    assert costs[1, 1] == pytest.approx(0.72) and costs[1, 2] == pytest.approx(0.52) == min(costs.values())


def test_defaults_that_the_text_names():
    import inspect

    import transformers

    text = NOTEBOOK.read_text(encoding="utf-8")
    assert f"transformers {transformers.__version__}" in text
    config = inspect.signature(transformers.GPTQConfig).parameters
    assert config["damp_percent"].default == 0.1 and config["act_group_aware"].default is True
    assert inspect.signature(gptq).parameters["percdamp"].default == 0.01


@pytest.mark.parametrize("symmetric", [True, "full", False])
def test_much_damping_makes_round_to_nearest(symmetric):
    w, H = randn(0, 8, 32), library_hessian(activations(1, 100, 32))
    scheme = Scheme.int(3, symmetric, group=8)
    assert torch.equal(gptq(w, H, scheme, percdamp=1e7).codes, quantize(w, scheme).codes)


# Babai and GPTAQ


SCHEMES = [Scheme.int(3), Scheme.int(4, group=8), Scheme.int(2, False, 16), Scheme.int(3, "full", 8)]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
@pytest.mark.parametrize("seed", range(3))
def test_babai_s_nearest_plane_gives_gptq_s_codes(scheme, seed):
    w, H = randn(seed, 16, 48), library_hessian(activations(seed, 400, 48))
    ours, theirs = babai(w, H, scheme), gptq(w, H, scheme, static_groups=True)
    assert torch.equal(ours.codes, theirs.codes) and torch.equal(ours.dequantize(), theirs.dequantize())


def test_babai_s_factor_and_its_bound():
    """AᵀA = H; where nothing clips, every coordinate of A (w − ŵ) is at most half a step of its plane."""
    x, w = activations(7, 300, 12).double(), randn(8, 5, 12)
    H = library_hessian(x)
    A = lower_factor(H, percdamp=0)
    assert torch.allclose(A.T @ A, H.double(), rtol=1e-5, atol=1e-5) and torch.equal(A, A.tril())
    q = babai(w, H, Scheme.int(8), percdamp=0)
    coordinates = (w - q.dequantize()).double() @ A.T
    inside = q.codes.abs() < 127  # the others may have been clipped
    assert (coordinates.abs() <= q.step.double() / 2 * A.diagonal() * (1 + 1e-4))[inside].all() and inside.sum() > 50
    with pytest.raises(ValueError, match="not positive definite at percdamp=0"):
        babai(w, library_hessian(activations(1, 5, 12)), Scheme.int(4), percdamp=0)


def test_of_all_codes_of_six_loud_columns_none_is_better_and_act_order_comes_nearest():
    model, tokenizer = models.load("bundled")
    reads = "model.layers.0.input_layernorm"
    H = library_hessian(record(model, tokenizer, models.texts.train("task", 24), reads)[reads])
    w, scheme = model.model.layers[0].self_attn.q_proj.weight.detach(), Scheme.int(3, scale_dtype=torch.float16)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(cell("best"), dict(torch=torch, calibrate=calibrate, quantize=quantize, w=w, H=H, scheme=scheme))
    found = [float(x) for x in re.findall(r"([\d.]+) times the least", out.getvalue())]
    assert len(found) == 3 and found[0] > found[1] > found[2] >= 1


def test_gptaq_without_drift_or_with_alpha_0_is_gptq():
    w, x = randn(0, 8, 24), activations(1, 300, 24)
    drifted = x + 0.3 * activations(2, 300, 24)
    for a, b, alpha in ((x, x, 1.0), (x, drifted, 0.0)):
        same = gptaq(w, a, b, Scheme.int(3), alpha=alpha)
        assert torch.equal(same.codes, gptq(w, library_hessian(b), Scheme.int(3), static_groups=True).codes)


def test_gptaq_moves_the_free_columns_as_least_squares_over_the_drift_does():
    """With so many bits that nothing is lost by rounding, column 1 of two takes over what column 0 drifted by."""
    x, w = activations(4, 500, 2), torch.tensor([[1.0, 0.5], [-0.9, 0.3]])
    x_hat = x + torch.stack([0.4 * x[:, 1] - 0.3 * x[:, 0], torch.zeros(500)], dim=1)
    back = gptaq(w, x, x_hat, Scheme.int(8), percdamp=0, alpha=1.0).dequantize()
    for row in range(2):
        owed = w[row, 0] * (x - x_hat)[:, 0]
        move = np.linalg.lstsq(x_hat[:, 1:].numpy(), owed.numpy(), rcond=None)[0][0]
        assert back[row, 1].item() == pytest.approx(w[row, 1].item() + move, abs=0.01)


def test_gptaq_keeps_the_16_bit_outputs_better_than_gptq_on_drifted_inputs():
    w, x = randn(0, 32, 24), activations(1, 2000, 24)
    x_hat = x @ (torch.eye(24) + 0.15 * randn(3, 24, 24))
    got = {alpha: gptaq(w, x, x_hat, Scheme.int(4), alpha=alpha).dequantize() for alpha in (0.0, 1.0)}
    lost = {alpha: (x @ w.T - x_hat @ back.T).square().sum() for alpha, back in got.items()}
    assert lost[1.0] < 0.9 * lost[0.0]
    with pytest.raises(ValueError, match="one shape"):
        gptaq(w, x, x_hat[:-1], Scheme.int(4))


# the pictures


@pytest.mark.parametrize("bits, common", itertools.product((2, 3, 4), (0.0, 0.6, 0.95)))
def test_the_stepper_ends_where_the_library_does(bits, common):
    stands = ch06_stepper.run(bits, common)
    w, H = (torch.tensor(t, dtype=torch.float32) for t in (ch06_stepper.weights(), ch06_stepper.curvature(common)))
    course, nearest = gptq(w, H, Scheme.int(bits), percdamp=0), quantize(w, Scheme.int(bits))
    last = stands[-1]
    assert np.array_equal(last.codes, course.codes.numpy())
    whole = error(w, torch.zeros_like(w), H)
    assert last.gptq[-1] == pytest.approx(100 * error(w, course.dequantize(), H) / whole, rel=1e-4)
    assert last.rtn[-1] == pytest.approx(100 * error(w, nearest.dequantize(), H) / whole, rel=1e-4)
    if common == 0:
        assert np.array_equal(course.codes.numpy(), nearest.codes.numpy()) and last.gptq == last.rtn
    for before, after in itertools.pairwise(stands):
        k = before.done
        assert np.array_equal(before.now[:, :k], after.now[:, :k])  # what is rounded stays
        assert after.now[:, k + 1 :] == pytest.approx(before.now[:, k + 1 :] + after.moved[:, k + 1 :])


def words(scene):
    return [mark.at[2] for mark in scene.marks if mark.kind == "text"]


def inside(scene):
    for mark in scene.marks:
        for x, y in mark.at if mark.kind == "path" else [mark.at[:2]]:
            if not (-1 <= x <= scene.width + 1 and -1 <= y <= scene.height + 1):
                return False
    return True


def test_the_valley_tells_both_costs_and_where_w2_moves():
    scene = ch06.valley((1.2, 0.8), [[25, 4], [4, 1]], {"nearest": (1, 1), "made up for": (1, 2)})
    told = words(scene)
    assert {"nearest: (1, 1)", "cost 0.72", "made up for: (1, 2)", "cost 0.52"} <= set(told) and inside(scene)
    assert any(word.endswith("w₂ = 1.6") for word in told)


@pytest.mark.parametrize("cols, block", [(12, 4), (10, 4), (8, 8), (6, 1)])
def test_lazy_counts_every_pair_of_columns_once(cols, block):
    told = " ".join(words(ch06.lazy(cols, block)))
    at_once, later = (int(re.search(rf"{start}\D*(\d+)", told)[1]) for start in ("one by one:", "with the block:"))
    pairs = [(i, j) for i in range(cols) for j in range(i + 1, cols)]
    assert at_once == sum(i // block == j // block for i, j in pairs) and at_once + later == len(pairs)
    assert inside(ch06.lazy(cols, block))


def test_trap_hatches_what_is_worse_than_nearest():
    kl, floor = [[0.1, 0.6], [0.9, 0.2]], [0.5, 0.5]
    scene = ch06.trap(kl, floor, ("a", "b"))
    told = words(scene)
    assert {"0.1", "0.6", "0.9", "0.2", "0.2 × nearest", "1.8 × nearest"} <= set(told) and inside(scene)
    red = [m for m in scene.marks if m.kind == "path" and m.look["fill"] == "red"]
    assert len(red) == 2 and any(m.look["color"] == "red" for m in scene.marks if m.kind == "path")


# mine, and the warm-ups


@pytest.fixture
def one_linear(monkeypatch):
    w, x = randn(0, 8, 32), activations(1, 300, 32)
    x[:, 5] = 0
    monkeypatch.setattr(recipe, "inputs", lambda: ((randn(9, 8, 32), x + 1), (w, x)))
    return w, x


@pytest.mark.parametrize("group", [None, 8])
def test_the_recipe_is_gptq_with_act_order(one_linear, group):
    w, x = one_linear
    scheme = Scheme.int(4, group=group, scale_dtype=torch.float16)
    mine = recipe.RECIPE.quantize(pieces.references(), w, scheme)
    course = gptq(w, library_hessian(x), scheme, act_order=True)
    assert (mine.dequantize() != course.dequantize()).float().mean() < 0.02
    assert mine.nbytes == course.nbytes and (mine.dequantize()[:, 5] == 0).all()


def test_the_recipe_runs_on_the_learner_s_pieces_and_only_on_the_bot_s_weights(one_linear):
    w, _ = one_linear
    found = pieces.references()
    found.functions["hessian"] = lambda x: torch.eye(x.shape[1])
    got = recipe.RECIPE.quantize(found, w, recipe.RECIPE.scheme)
    assert torch.equal(got.dequantize(), quantize(w, recipe.RECIPE.scheme).dequantize())
    with pytest.raises(ValueError, match="must be a weight of the bundled model"):
        recipe.RECIPE.quantize(found, w + 1, recipe.RECIPE.scheme)
    with pytest.raises(ValueError, match="symmetric"):
        recipe.RECIPE.quantize(found, w, Scheme.int(4, symmetric=False))


def numbers(question):
    return [float(x) for x in re.findall(r"(?<![₁₂])-?\d+(?:\.\d+)?", question.text)]


@pytest.mark.parametrize("seed", SEEDS)
def test_warm_up_answers_are_what_the_questions_compute(seed):
    def ask(function):
        return function(random.Random(seed))

    h, off = numbers(asked := ask(warmup.cost_of_one_error))
    assert ch06.cost((off, 0), [[h, 1], [1, 1]], (0, 0)) == pytest.approx(asked.answer)
    h12, h22, off = numbers(asked := ask(warmup.where_the_other_moves))
    H = torch.tensor([[100.0, h12], [h12, h22]]).double()
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    w = torch.tensor([[1 + off, 0.0]]).double()
    moved = column_step.reference(w, U, 0, torch.ones(1).double())
    assert moved[0, 1].item() == pytest.approx(asked.answer)
    a, b, c, d, *_ = numbers(asked := ask(warmup.hessian_entry))
    assert hessian.reference(torch.tensor([[a, b], [c, d]]))[0, 1].item() == pytest.approx(asked.answer)
    matrices, cols, each = numbers(asked := ask(warmup.bytes_of_g_idx))
    assert matrices * torch.zeros(int(cols), dtype=torch.int32).nbytes == asked.answer and each == 4
    mean, percdamp = numbers(asked := ask(warmup.damping))
    A = lower_factor(mean * torch.eye(3), percdamp)
    assert (A.T @ A)[0, 0].item() - mean == pytest.approx(asked.answer)
    tokens, cols = map(int, numbers(asked := ask(warmup.rank_of_few_tokens)))
    assert torch.linalg.matrix_rank(hessian.reference(randn(seed, tokens // 10, cols // 10))) == asked.answer // 10
