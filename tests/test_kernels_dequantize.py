"""Decoding kernels give the very weights that `dequantize` gives, rounded once."""

import pytest
import torch

from course_lib import Scheme, quantize
from course_lib.kernels import ON_GPU, dequantize, packing

DEVICE = "cuda" if ON_GPU else "cpu"
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def weights(n=130, k=384):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("group", [32, 64, 128, None])
@pytest.mark.parametrize("symmetric", [True, "full", False])
def test_int4(symmetric, group, dtype):
    q = quantize(weights(), Scheme.int(4, symmetric=symmetric, group=group))
    packed = packing.pack(q, torch.float32).to(DEVICE)
    w, exact = dequantize.dequantize_int4(packed, dtype).cpu(), q.dequantize().to(dtype)
    wrong = (w != exact).nonzero()
    assert not len(wrong), f"{len(wrong)} differ, as w{wrong[0].tolist()}: {w[*wrong[0]]!r} for {exact[*wrong[0]]!r}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("group", [32, 96, None])
@pytest.mark.parametrize("symmetric", [True, False])
def test_int8(symmetric, group, dtype):
    q = quantize(weights(), Scheme.int(8, symmetric=symmetric, group=group))
    parts = [t if t is None else t.to(DEVICE) for t in (q.codes, q.scale, q.zero_point)]
    assert torch.equal(dequantize.dequantize_int8(*parts, dtype=dtype).cpu(), q.dequantize().to(dtype))


def test_errors():
    codes = torch.zeros(4, 64, dtype=torch.int8)
    with pytest.raises(ValueError, match="codes must be int8 or uint8"):
        dequantize.dequantize_int8(codes.float(), torch.ones(4, 2))
    with pytest.raises(
        ValueError, match=r"scale and zero must be \(4, groups\) with groups that divide 64, got \(4, 3\)"
    ):
        dequantize.dequantize_int8(codes, torch.ones(4, 3))
