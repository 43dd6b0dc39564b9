"""FP4 weights against the dequantized ones in float64."""

import pytest
import torch

from course_lib.formats import microscaling
from course_lib.kernels import ON_GPU, fp4

DEVICE = "cuda" if ON_GPU else "cpu"
UNIT = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-24}


def weight(n, k, spread=1.0):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, k, generator=g) * torch.logspace(-spread, spread, k)[torch.randperm(k, generator=g)]


def held(q, x):
    y = fp4.linear(x.to(DEVICE), fp4.pack(q).to(DEVICE)).cpu().double()
    w = q.dequantize().double()
    magnitude = x.double().abs() @ w.abs().T
    lost = 2**-24 * x.double().abs().sum(-1, keepdim=True) * w.abs().amax(1)  # float16 cannot tell them from 0
    return (y - x.double() @ w.T).abs() <= (UNIT[x.dtype] + 2**-18) * magnitude + lost


@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize("tokens", [1, 5, 20])
@pytest.mark.parametrize("shape", [(1, 32), (70, 416), (257, 96), (256, 384)])
@pytest.mark.parametrize("kind", ["mxfp4", "nvfp4"])
def test_it_multiplies_by_the_dequantized_weight(kind, shape, tokens, dtype):
    x = torch.randn(tokens, shape[1], generator=torch.Generator().manual_seed(2)).to(dtype)
    assert held(microscaling.quantize(weight(*shape), kind), x).all()


@pytest.mark.parametrize("factor", [2.0**-60, 2.0**60])
@pytest.mark.parametrize("tokens", [1, 5])
def test_scales_far_outside_float16_and_blocks_far_apart(tokens, factor):
    x = torch.randn(tokens, 128, generator=torch.Generator().manual_seed(3)).to(torch.float16)
    q = microscaling.quantize(weight(8, 128, spread=6) * factor, "mxfp4")
    packed = fp4.pack(q).to(DEVICE)
    y = fp4.linear(x.float().to(DEVICE), packed).cpu().double()
    exact = x.double() @ q.dequantize().double().T
    assert ((y - exact).abs() <= 2**-18 * (x.double().abs() @ q.dequantize().double().abs().T)).all()


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_nan_scale_is_a_nan_row_and_only_that(tokens):
    q = microscaling.quantize(weight(4, 64), "mxfp4")
    q.scale.view(torch.uint8)[2, 1] = 255
    y = fp4.linear(torch.ones(tokens, 64).to(DEVICE), fp4.pack(q).to(DEVICE)).cpu()
    assert y.isnan().all(0).tolist() == [False, False, True, False]


def test_every_code_decodes():
    q = microscaling.quantize(weight(16, 32), "mxfp4")
    q.codes[:] = torch.arange(16, dtype=torch.uint8)[:, None]
    q.scale.view(torch.uint8)[:] = 127
    y = fp4.linear(torch.eye(32)[3].to(DEVICE), fp4.pack(q).to(DEVICE)).cpu()
    half = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert y.tolist() == half + [-v for v in half]


def test_errors():
    q = microscaling.quantize(weight(4, 64), "nvfp4")
    with pytest.raises(ValueError, match=r"x must be \(..., 64\) floats"):
        fp4.linear(torch.ones(65), fp4.pack(q))
    with pytest.raises(ValueError, match="q must be an MXFP4 or NVFP4 matrix"):
        fp4.pack(microscaling.quantize(weight(4, 64), "mxfp8_e4m3"))
    assert fp4.linear(torch.ones(0, 64), fp4.pack(q)).shape == (0, 4)
