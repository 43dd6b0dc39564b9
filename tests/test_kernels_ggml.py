"""GEMV from the bytes of a GGUF file, against the dequantized weights in float64."""

import numpy as np
import pytest
import torch

from course_lib.formats import ggml as formats
from course_lib.kernels import ON_GPU, digits, ggml

DEVICE = "cuda" if ON_GPU else "cpu"


def product(blocks, kind, x):
    w = torch.from_numpy(formats.dequantize(blocks, kind)).double()
    return w @ x.double(), w.abs() @ x.double().abs()


def run(blocks, kind, x):
    return ggml.gemv(x.to(DEVICE), torch.from_numpy(blocks).to(DEVICE), kind).cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 256), (300, 512), (17, 1792)])
@pytest.mark.parametrize("kind", ggml.BLOCKS)
def test_it_multiplies_by_the_dequantized_weight(kind, shape, dtype):
    w = np.random.default_rng(1).standard_t(3, shape).astype(np.float32)
    blocks = formats.quantize(w, kind)
    x = torch.randn(shape[1], generator=torch.Generator().manual_seed(2)).to(dtype)
    y, magnitude = product(blocks, kind, x)
    unit = torch.finfo(dtype).eps / 2
    assert ((run(blocks, kind, x).double() - y).abs() <= (unit + 2**-18) * magnitude).all()


@pytest.mark.parametrize("kind", ggml.BLOCKS)
def test_every_code_and_scale_counts(kind):
    """Random bytes for codes and sub-scales: one bit read wrongly shows, since x has no two equal columns."""
    rng = np.random.default_rng(3)
    elements, size = ggml.BLOCKS[kind]
    blocks = rng.integers(0, 256, (512, 512 // elements, size), dtype=np.uint8)
    for at in {"Q4_0": [0], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}[kind]:
        blocks[..., at : at + 2] = rng.uniform(0.5, 2, (*blocks.shape[:2], 1)).astype(np.float16).view(np.uint8)
    blocks = np.ascontiguousarray(blocks.reshape(512, -1))
    x = torch.randn(512, generator=torch.Generator().manual_seed(4))
    y, magnitude = product(blocks, kind, x)
    assert ((run(blocks, kind, x).double() - y).abs() <= 2**-20 * magnitude).all()


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 15), (torch.bfloat16, 15), (torch.float32, 23)], ids=str)
def test_digits_hold_a_run_to_a_bit_of_its_largest(dtype, bits):
    x = torch.randn(320, generator=torch.Generator().manual_seed(5)) * torch.logspace(-20, 20, 320)
    x = x.clamp(-6e4, 6e4).to(dtype)
    found, scale, sums = (t.cpu() for t in digits.of(x.to(DEVICE)))
    whole = sum(d.double() * 256.0 ** (len(found) - 1 - i) for i, d in enumerate(found)).reshape(-1, 32)
    runs = x.double().reshape(-1, 32)
    assert ((whole * scale[:, None] - runs).abs() <= runs.abs().amax(1, keepdim=True) * 2.0**-bits).all()
    assert torch.allclose(sums.double(), (whole * scale[:, None]).reshape(-1, 16).sum(1), rtol=1e-6, atol=0)
    assert (whole.abs().amax(1) > 2.0 ** (bits - 2)).logical_or(runs.abs().amax(1) < 1e-30).all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ggml.BLOCKS)
def test_what_is_no_number_stays_none(kind, wrong):
    blocks = formats.quantize(np.ones((3, 512), np.float32), kind)
    x = torch.ones(512)
    x[300] = wrong
    assert not run(blocks, kind, x).isfinite().any()


def test_q5_0_is_not_there_and_shapes_are_named():
    blocks = formats.quantize(np.ones((2, 256), np.float32), "Q4_0")
    bytes_ = torch.from_numpy(blocks)
    for call, words in [
        (lambda: ggml.gemv(torch.ones(256), bytes_, "Q5_0"), "kind must be one of Q4_0, Q8_0, Q4_K, Q6_K, got 'Q5_0'"),
        (lambda: ggml.gemv(torch.ones(255), bytes_, "Q4_0"), "x must be 256 floats"),
        (lambda: ggml.gemv(torch.ones(256), bytes_[:, :-1], "Q4_0"), "blocks must be contiguous uint8"),
        (lambda: ggml.gemv(torch.ones(256), bytes_.float(), "Q4_0"), "blocks must be contiguous uint8"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
