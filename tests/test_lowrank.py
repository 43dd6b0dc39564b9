"""Low-rank corrections: numpy's SVD, Eckart & Young under H, brute force, and the bytes and refusals of the modules."""

import numpy as np
import pytest
import torch

from course_lib import Scheme, artifacts, calibrate
from course_lib.calibrate.lowrank import Corrected, absorb, correct, low_rank, low_rank_bytes
from tests.tiny import llama


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spd(seed, n, rank=None):
    """A Hessian of correlated inputs with channels of unlike loudness; singular where rank < n."""
    x = randn(seed, 4 * n, rank or n) @ randn(seed + 1, rank or n, n) * torch.logspace(-1, 1, n, dtype=torch.float64)
    return x.T @ x / len(x)


def loss(E, H):
    return torch.trace(E @ H @ E.T).item()


SHAPES = [(6, 9), (9, 6), (8, 8), (1, 5), (5, 1)]


# against numpy's SVD


@pytest.mark.parametrize("shape", SHAPES)
def test_without_h_it_is_numpy_s_truncated_svd(shape):
    E = randn(1, *shape)
    u, s, v = np.linalg.svd(E.numpy(), full_matrices=False)
    for rank in range(min(shape) + 1):
        A, B = low_rank(E, None, rank)
        assert A.shape == (shape[0], rank) and B.shape == (rank, shape[1])
        assert np.allclose(A.numpy() @ B.numpy(), u[:, :rank] * s[:rank] @ v[:rank], atol=1e-5)
        one = low_rank(E, torch.eye(shape[1]), rank)
        assert torch.allclose(one[0] @ one[1], A @ B, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_under_h_it_is_the_svd_of_e_s_taken_back_for_two_roots_s(shape):
    """Scale, truncate, unscale, as the papers write it: by numpy, with Cholesky's root and with the symmetric one."""
    E, H = randn(2, *shape), spd(3, shape[1])
    values, vectors = np.linalg.eigh(H.numpy())
    for S in (np.linalg.cholesky(H.numpy()), vectors * np.sqrt(values) @ vectors.T):
        u, s, v = np.linalg.svd(E.numpy() @ S, full_matrices=False)
        for rank in range(min(shape) + 1):
            A, B = low_rank(E, H, rank)
            expected = u[:, :rank] * s[:rank] @ v[:rank] @ np.linalg.inv(S)
            left = loss(E - (A @ B).double(), H)
            assert left == pytest.approx((s[rank:] ** 2).sum(), rel=1e-4, abs=1e-6 * loss(E, H))
            assert np.allclose((A @ B).numpy() @ S, expected @ S, atol=1e-3 * np.abs(E.numpy() @ S).max())


# laws


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_a_and_b_do_better(seed, rank):
    """Nudged in all directions, the alternating least squares of other starts, and any columns of U: never less."""
    E, H = randn(seed, 6, 8), spd(seed + 10, 8)
    A, B = (t.double() for t in low_rank(E, H, rank))
    least = loss(E - A @ B, H)
    for k in range(40):
        for size in (1e-3, 1e-1, 1.0):
            other = (A + size * randn(100 + k, *A.shape)) @ (B + size * randn(200 + k, *B.shape))
            assert loss(E - other, H) >= least * (1 - 1e-6)
    for k in range(5):
        A = randn(300 + k, 6, rank)
        for _ in range(60):
            B = torch.linalg.lstsq(A, E).solution  # best B for A: H drops out, as a column of B is free
            A = torch.linalg.solve(B @ H @ B.T, B @ H @ E.T).T  # best A for B
        assert loss(E - A @ B, H) >= least * (1 - 1e-6)


def test_error_never_rises_with_rank_and_is_0_at_full_rank():
    for shape in SHAPES:
        E, H = randn(4, *shape), spd(5, shape[1])
        losses = [loss(E - (A @ B).double(), H) for A, B in (low_rank(E, H, r) for r in range(min(shape) + 1))]
        assert losses[0] == pytest.approx(loss(E, H)) and losses[-1] < 1e-8 * losses[0]
        assert all(b <= a * (1 + 1e-9) for a, b in zip(losses, losses[1:], strict=False))


def test_inputs_that_never_come_do_no_harm():
    """H of rank 3: what is left is still the rest of E's singular values under H, and B stays as large as E."""
    E, H = randn(6, 6, 8), spd(7, 8, rank=3)
    A, B = low_rank(E, H, 3)
    assert loss(E - (A @ B).double(), H) < 1e-8 * loss(E, H)
    assert B.norm() <= E.norm() * (1 + 1e-6)


def test_h_decides_which_error_is_kept():
    E, quiet = torch.diag(torch.tensor([3.0, 2.0])), torch.diag(torch.tensor([1.0, 1.0]))
    loud = torch.diag(torch.tensor([1.0, 9.0]))
    for H, kept in ((quiet, 0), (loud, 1)):
        A, B = low_rank(E, H, 1)
        assert (A @ B)[kept, kept].item() == pytest.approx(E[kept, kept].item())


def test_a_random_projection_undoes_only_its_share():
    E, H, shares = randn(8, 64, 64), spd(9, 64), []
    for seed in range(10):
        R = torch.linalg.qr(randn(seed, 64, 8))[0]
        shares.append(1 - loss(E - R @ R.T @ E, H) / loss(E, H))
    A, B = low_rank(E, H, 8)
    assert sum(shares) / 10 == pytest.approx(8 / 64, abs=0.05)
    assert 1 - loss(E - (A @ B).double(), H) / loss(E, H) > 2 * sum(shares) / 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((torch.ones(3), None, 1), "error must be a floating-point matrix"),
        ((torch.ones(3, 4, dtype=torch.int32), None, 1), "got torch.int32 of shape"),
        ((torch.ones(3, 4), torch.eye(3), 1), r"H must be None or of shape \(4, 4\), error's columns"),
        ((torch.ones(3, 4), None, 4), "rank must be a whole number from 0 to 3, got 4"),
        ((torch.ones(3, 4), None, True), "rank must be"),
        ((torch.full((3, 4), torch.nan), None, 1), "error must be finite"),
        ((torch.ones(3, 4), torch.full((4, 4), torch.inf), 1), "H must be finite"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        low_rank(*arguments)


# models


@pytest.fixture(scope="module")
def tiny():
    model = llama()
    ids = torch.arange(256).reshape(8, 32) * 7 % len(model.get_input_embeddings().weight)
    return model, ids, calibrate.collect(model, ids, progress=False)


def gap(model, other, ids):
    with torch.no_grad():
        return (model(ids).logits - other(ids).logits).square().mean().item()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_corrected_model_multiplies_by_its_weight_and_the_factors(tiny, weighted):
    model, ids, stats = tiny
    small = calibrate.quantize_model(model, Scheme.int(3, group=32), progress=False)
    better = correct(model, small, 8, stats if weighted else None)
    name = "model.layers.1.mlp.down_proj"
    layer = better.get_submodule(name)
    E = model.get_submodule(name).weight.detach() - small.qtensors[name].dequantize()
    A, B = low_rank(E, stats[name].H if weighted else None, 8)
    x = randn(3, 5, 64).float()
    expected = x @ (small.qtensors[name].dequantize() + A.half().float() @ B.half().float()).T
    assert torch.allclose(layer(x), expected, atol=1e-4)
    assert gap(model, better, ids) < gap(model, small, ids)
    assert calibrate.model_bytes(better) - calibrate.model_bytes(small) == sum(
        low_rank_bytes(q.shape, 8) for q in small.qtensors.values()
    )
    assert all(isinstance(part, calibrate.QuantLinear) for n, part in small.named_modules() if n.endswith("_proj"))


def test_full_rank_gives_the_model_back(tiny):
    model, ids, stats = tiny
    small = calibrate.quantize_model(model, Scheme.int(2, group=32), progress=False)
    whole = correct(model, small, 16, stats)  # k and v have 16 outputs, the others more
    assert gap(model, whole, ids) < gap(model, correct(model, small, 4, stats), ids) < gap(model, small, ids)
    first = whole.get_submodule("model.layers.0.self_attn.k_proj")
    x = randn(4, 5, 32).float()
    assert torch.allclose(first(x), model.get_submodule("model.layers.0.self_attn.k_proj")(x), atol=5e-3)


def test_absorbing_takes_the_large_directions_out_before_rounding(tiny):
    model, ids, _ = tiny
    scheme, four = Scheme.int(4, group=32), Scheme.int(4)
    small = absorb(model, scheme, 4, four)
    name = "model.layers.0.mlp.up_proj"
    layer, w = small.get_submodule(name), model.get_submodule(name).weight.detach()
    A, B = low_rank(w, None, 4)
    rest = w - A.half().float() @ B.half().float()
    assert torch.equal(layer.base.qtensor.codes, calibrate.rtn(rest, scheme).codes)
    x = randn(5, 6, 32).float()
    rounded = calibrate.quantize_activations(x, four)
    expected = rounded @ layer.base.qtensor.dequantize().T + x @ layer.B.T @ layer.A.T
    assert torch.allclose(layer(x), expected, atol=1e-4)
    plain = calibrate.quantize_model(model, scheme, activations=four, progress=False)
    assert gap(model, small, ids) < gap(model, plain, ids)


def test_what_is_rounded_is_what_the_stored_factors_leave():
    """At 8 bits a step is small enough for the factors' own 16 bits to matter."""
    model, scheme = torch.nn.ModuleDict({"up": torch.nn.Linear(64, 64, bias=False)}), Scheme.int(8)
    model["up"].weight.data = 100 * randn(11, 64, 2).float() @ randn(12, 2, 64).float() + randn(13, 64, 64).float()
    w, (A, B) = model["up"].weight.detach(), low_rank(model["up"].weight, None, 2)
    codes = absorb(model, scheme, 2)["up"].base.qtensor.codes
    assert torch.equal(codes, calibrate.rtn(w - A.half().float() @ B.half().float(), scheme).codes)
    assert not torch.equal(codes, calibrate.rtn(w - A @ B, scheme).codes)


def test_a_bias_is_added_once():
    model = torch.nn.ModuleDict({"up": torch.nn.Linear(32, 16)})
    small = calibrate.quantize_model(model, Scheme.int(4), progress=False)
    better, x = correct(model, small, 16), randn(6, 3, 32).float()
    assert torch.allclose(better["up"](x), model["up"](x), atol=5e-3)


def test_a_model_that_was_rescaled_has_no_error_to_correct(tiny):
    model, ids, stats = tiny
    scaled = calibrate.quantize_model(model, Scheme.int(4, group=32), "awq", ids, progress=False)
    with pytest.raises(ValueError, match=r"rounded must differ from model in its QuantLinears only, and .*norm"):
        correct(model, scaled, 2)
    with pytest.raises(ValueError, match="rounded must have QuantLinear modules"):
        correct(model, model, 2)


def test_what_else_is_refused(tiny, tmp_path):
    model, _, stats = tiny
    small = calibrate.quantize_model(model, Scheme.int(4, "full", 32, scale_dtype=torch.float16), progress=False)
    with pytest.raises(ValueError, match="k_proj: rank must be a whole number from 0 to 16, got 17"):
        correct(model, small, 17)
    with pytest.raises(ValueError, match="stats must hold H of every linear"):
        correct(model, small, 2, {})
    with pytest.raises(ValueError, match="16-bit factors beside its codes"):
        artifacts.save(correct(model, small, 2, stats), tmp_path / "out", "gptq_v2")
    base = small.get_submodule("model.layers.0.self_attn.k_proj")
    with pytest.raises(ValueError, match=r"A and B must be \(16, r\) and \(r, 32\)"):
        Corrected(base, torch.ones(32, 2), torch.ones(2, 16))
