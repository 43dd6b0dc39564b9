"""Rotations: orthogonal, scipy's Hadamard matrix, the function kept; MXFP4 gains by them and NVFP4 loses."""

import pytest
import torch
from scipy.linalg import hadamard as scipys

from course_lib import Scheme, calibrate, models
from course_lib.calibrate import rotation
from course_lib.calibrate.norms import gains
from course_lib.formats import microscaling
from tests.tiny import llama


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [1, 2, 4, 16, 32, 256])
def test_it_is_scipys_matrix_over_the_root_of_n(n):
    assert torch.equal(rotation.hadamard(n), torch.from_numpy(scipys(n) / n**0.5).float())


@pytest.mark.parametrize("n", [2, 16, 128])
def test_random_signs_leave_it_orthogonal_and_every_entry_as_large(n):
    R = rotation.hadamard(n, seed=3)
    assert torch.allclose(R @ R.T, torch.eye(n), atol=1e-5) and torch.allclose(R.T @ R, torch.eye(n), atol=1e-5)
    assert torch.allclose(R.abs(), torch.full((n, n), n**-0.5))
    assert torch.equal(R, rotation.hadamard(n, seed=3))
    signs = R[:, 0].sign()
    assert torch.allclose(R * signs[:, None], rotation.hadamard(n))


@pytest.mark.parametrize("n", [16, 32])
def test_blocks_are_rotated_one_by_one_and_the_product_stays(n):
    x, w, R = randn(0, 3, 5, 64), randn(1, 7, 64), rotation.hadamard(n, seed=0)
    assert torch.allclose(rotation.rotate(x, R) @ rotation.rotate(w, R).T, x @ w.T, atol=1e-4)
    assert torch.allclose(rotation.rotate(rotation.rotate(x, R), R.T), x, atol=1e-5)
    whole = torch.block_diag(*[R] * (64 // n))
    assert torch.allclose(rotation.rotate(x, R), x @ whole, atol=1e-5)


def test_one_loud_number_is_shared_by_all():
    x = torch.zeros(16).index_fill(0, torch.tensor([5]), 8.0)
    assert torch.allclose(rotation.rotate(x, rotation.hadamard(16, seed=1)).abs(), torch.full((16,), 2.0))


def relative_error(x, name, R=None):
    """relMSE of a format; with R, rotated, rounded and rotated back."""
    y = x if R is None else rotation.rotate(x, R)
    found = microscaling.quantize(y, name).dequantize()
    return ((found - y).square().sum() / y.square().sum()).item()


def laplace(seed, rows):
    u = torch.rand(rows, 1024, generator=torch.Generator().manual_seed(seed)) - 0.5
    return -u.sign() * torch.log1p(-2 * u.abs())


def test_a_16_wide_rotation_helps_mxfp4_and_hurts_nvfp4():
    """On Laplace's distribution; the known figures, in hundredths, to 1.5 % (the sample is ours)."""
    x, R = laplace(0, 1024), rotation.hadamard(16, seed=0)
    known = {("mxfp4", False): 1.605, ("mxfp4", True): 1.336, ("nvfp4", False): 0.857, ("nvfp4", True): 0.921}
    found = {(name, on): 100 * relative_error(x, name, R if on else None) for name, on in known}
    assert found == pytest.approx(known, rel=0.015)
    assert found["mxfp4", True] < found["mxfp4", False] and found["nvfp4", True] > found["nvfp4", False]


@pytest.mark.parametrize("n", [16, 32])
def test_a_model_with_rotated_inputs_computes_the_same(n):
    model, ids = llama(), torch.arange(48).reshape(2, 24) % 32
    turned = rotation.rotate_inputs(model, n)
    with torch.no_grad():
        assert torch.allclose(turned(ids).logits, model(ids).logits, atol=2e-4)
    small = calibrate.quantize_model(turned, Scheme.int(8), activations=Scheme.int(8), progress=False)
    assert [n for n in small.qtensors if "q_proj" in n] == [f"model.layers.{i}.self_attn.q_proj.1" for i in (0, 1)]
    with torch.no_grad():
        assert (small(ids).logits - model(ids).logits).abs().mean() < 0.1
    own, kept = (m.model.layers[0].mlp.down_proj for m in (model, turned))
    assert torch.allclose(rotation.rotate(kept[1].weight, rotation.hadamard(n, seed=0).T), own.weight, atol=1e-5)
    assert isinstance(own, torch.nn.Linear)


@pytest.mark.parametrize("tied", [True, False])
def test_a_rotated_residual_stream_keeps_the_logits(tied):
    model, ids = llama(tied=tied), torch.arange(48).reshape(2, 24) % 32
    with torch.no_grad():
        for name, gain in gains(model).items():
            gain.copy_(1 + 0.3 * randn(len(name), *gain.shape))
        turned = rotation.rotate_residual(model, seed=1)
        assert torch.allclose(turned(ids).logits, model(ids).logits, atol=5e-4)
    assert not torch.allclose(turned.model.embed_tokens.weight, model.model.embed_tokens.weight, atol=1e-2)
    assert all((gain == 1).all() for gain in gains(turned).values())


def test_the_bundled_model_keeps_its_logits_and_can_be_rounded():
    model, tokenizer = models.load("bundled")
    ids = tokenizer("def f(x):", return_tensors="pt").input_ids
    turned = rotation.rotate_residual(model)
    small = calibrate.quantize_model(turned, microscaling.scheme("mxfp4"), progress=False)
    with torch.no_grad():
        before = model(ids).logits
        assert (turned(ids).logits - before).abs().max() < 1e-3
        p, q = torch.log_softmax(before, -1), torch.log_softmax(small(ids).logits, -1)
    assert 0 < (p.exp() * (p - q)).sum(-1).mean() < 0.5


def test_bad_input():
    for n in (0, 12, 2.0, True):
        with pytest.raises(ValueError, match="n must be a power of two"):
            rotation.hadamard(n)
    with pytest.raises(ValueError, match="R must be a square matrix"):
        rotation.rotate(torch.ones(2, 4), torch.ones(2, 3))
    with pytest.raises(ValueError, match="R of size 16 must divide the last axis"):
        rotation.rotate(torch.ones(2, 24), rotation.hadamard(16))
    with pytest.raises(ValueError, match="n = 64 must divide the 32 inputs of model.layers.0.self_attn.q_proj"):
        rotation.rotate_inputs(llama(), 64)
    with pytest.raises(TypeError, match="model must be Llama-like"):
        rotation.rotate_residual(torch.nn.Linear(2, 2))
