"""8-bit products: int32 sums are exact, fp8 sums float32's, against torch integers and float64."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib import Scheme, quantize
from course_lib.kernels import ON_GPU, accumulate, tokens, w8a8

DEVICE = "cuda" if ON_GPU else "cpu"
E4M3 = torch.float8_e4m3fn


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("many", [False, True], ids=["pieces", "whole"])
@pytest.mark.parametrize("k", [1, 100, 2500])
def test_tokens_in_int8_are_those_of_quantize(k, many, dtype, monkeypatch):
    monkeypatch.setattr(tokens, "MANY", 1 if many else 1000)
    monkeypatch.setattr(tokens, "WIDE", 1024)
    x = (normal(7, k) * torch.logspace(-3, 3, 7)[:, None]).to(dtype)
    codes, scale, total = (t.cpu() for t in w8a8.quantize_tokens(x.to(DEVICE)))
    expected = quantize(x.float(), Scheme.int(8))
    assert torch.equal(codes, expected.codes) and torch.equal(scale, expected.scale)
    assert torch.equal(total, codes.int().sum(1).int())


@pytest.mark.parametrize("many", [False, True], ids=["pieces", "whole"])
def test_ties_go_to_even_and_zeros_stay(many, monkeypatch):
    monkeypatch.setattr(tokens, "MANY", 1 if many else 1000)
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5], [0.0] * 6])
    codes, scale, _ = w8a8.quantize_tokens(x.to(DEVICE))
    assert codes.cpu().tolist() == [[127, 0, 2, 2, 0, -2], [0] * 6] and scale.cpu().tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("many", [False, True], ids=["pieces", "whole"])
@pytest.mark.parametrize("block", [None, 128, 32])
def test_tokens_in_fp8_are_torchs_casts(block, many, monkeypatch):
    monkeypatch.setattr(tokens, "MANY", 1 if many else 1000)
    x = normal(5, 384, seed=1) * torch.logspace(-4, 4, 384)
    codes, scale, _ = w8a8.quantize_tokens(x.to(DEVICE), E4M3, block)
    parts = x.reshape(5, -1, block or 384)
    s = parts.abs().amax(-1) / 448
    assert torch.equal(scale.cpu(), s)
    assert torch.equal(codes.cpu().float(), (parts / s[..., None]).to(E4M3).float().reshape(5, 384))


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 70), (3, 300, 257), (70, 64, 1000)])
def test_int8_products_are_exact(shape, zeros):
    m, n, k = shape
    x = normal(m, k, seed=2)
    codes = torch.randint(-128, 128, (n, k), generator=torch.Generator().manual_seed(3)).to(torch.int8)
    scale, zero = normal(n, seed=4).abs(), torch.randint(-128, 128, (n,)) if zeros else None
    y = w8a8.int8_linear(*(t if t is None else t.to(DEVICE) for t in (x, codes, scale, zero))).cpu()
    q = quantize(x, Scheme.int(8))
    exact = q.codes.long() @ (codes.long() - (0 if zero is None else zero[:, None])).T
    assert torch.equal(y, exact.float() * q.scale * scale)


@pytest.mark.parametrize("granularity", ["tensor", "row", "block"])
@pytest.mark.parametrize("shape", [(1, 256, 256), (20, 300, 500), (70, 140, 272)])
def test_fp8_products(shape, granularity):
    m, n, k = shape
    x, w = normal(m, k, seed=5), normal(n, k, seed=6) * torch.logspace(-1, 1, n)[:, None]
    rows = {"tensor": n, "row": 1, "block": 128}[granularity]
    width = 128 if granularity == "block" else k
    grid = (math.ceil(n / rows), math.ceil(k / width))
    scale = torch.stack([torch.stack([w[i * rows : (i + 1) * rows, j * width : (j + 1) * width].abs().max() / 448
                                      for j in range(grid[1])]) for i in range(grid[0])])  # fmt: skip
    spread = scale.repeat_interleave(rows, 0)[:n].repeat_interleave(width, 1)[:, :k]
    codes = (w / spread).to(E4M3)
    y = w8a8.fp8_linear(x.to(DEVICE), codes.to(DEVICE), scale.to(DEVICE)).cpu()
    q, s, _ = (
        t if t is None else t.cpu() for t in w8a8.quantize_tokens(x.to(DEVICE), E4M3, 128 if width == 128 else None)
    )
    x_hat = q.double() * s.double().repeat_interleave(math.ceil(k / s.shape[1]) if s.shape[1] == 1 else 128, 1)[:, :k]
    w_hat = codes.double() * spread.double()
    # a GPU's matrix unit shifts 33 numbers a step to 14 bits of the largest, which is no more than the sum of all; in
    # float32 every addition rounds once
    bound = 128 / accumulate.STEP * 33 * 2**-13 if ON_GPU and m > 1 else k * 2**-24
    assert ((y - x_hat @ w_hat.T).abs() <= bound * (x_hat.abs() @ w_hat.abs().T)).all()
    assert lost(x_hat, w_hat, y) < 0.001
    assert (y - x @ w.T).norm() < 0.06 * (x @ w.T).norm()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_rows_cut_into_parts_give_the_same(kind, monkeypatch):
    """Parts of different lengths, one that ends before its tile does."""
    x, k = normal(70, 592, seed=11).to(DEVICE), 592
    codes = torch.randint(-128, 128, (40, k), generator=torch.Generator().manual_seed(12)).to(torch.int8)
    weight = (
        (codes, torch.rand(40, 1), torch.arange(-20, 20))
        if kind == "int8"
        else (normal(40, k).to(E4M3), torch.rand(40, 1))
    )
    call = w8a8.int8_linear if kind == "int8" else w8a8.fp8_linear
    weight = [t.to(DEVICE) for t in weight]
    monkeypatch.setattr(w8a8, "launch", lambda m, n, k, tall, shape: ((1, -(-n // shape["BN"]), 1), 640))
    whole = call(x[:60], *weight) if kind == "int8" else call(x, *weight)
    monkeypatch.setattr(w8a8, "launch", lambda m, n, k, tall, shape: ((-(-m // tall), -(-n // shape["BN"]), 2), 384))
    parts = call(x, *weight)
    if kind == "int8":
        assert torch.equal(parts[:60], whole)
    else:
        assert torch.allclose(parts, whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "m, n, k", [(65, 8192, 28672), (128, 8192, 28672), (512, 8192, 28672), (128, 64, 100), (1, 1, 1)]
)
def test_parts_cover_a_row_in_whole_turns(m, n, k, monkeypatch):
    monkeypatch.setattr(w8a8, "ON_GPU", True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=132))
    shape = w8a8.tile_of(m, w8a8.INT8)
    grid, each = w8a8.launch(m, n, k, shape["BM"], shape)
    assert each % shape["BK"] == 0 and (grid[2] - 1) * each < k <= grid[2] * each
    assert grid[2] == 1 or math.prod(grid) <= 264


def lost(x, w, got):
    exact = x.double() @ w.double().T
    return float((torch.as_tensor(got).double() - exact).norm() / exact.norm())


def test_one_level_of_fourteen_bits_loses_digits_that_two_levels_keep():
    """Positive products make a growing sum: the longer the row, the more the single level drops; two levels stay."""
    for k, least in ((1024, 0.01), (4096, 0.05)):
        x, w = (torch.rand(8, k, generator=torch.Generator().manual_seed(s)).to(E4M3).double() for s in (7, 8))
        one, two = (lost(x, w, accumulate.product(x.numpy(), w.numpy(), columns)) for columns in (None, 128))
        assert least < one < 4 * least and two < 0.001
        y = w8a8.fp8_linear(x.float().to(DEVICE), w.to(E4M3).to(DEVICE), torch.ones(8, 1, device=DEVICE)).cpu()
        q, s, _ = w8a8.quantize_tokens(x.float().to(DEVICE), E4M3)
        assert lost(q.cpu().double() * s.cpu(), w, y) < 0.001


@pytest.mark.parametrize("bits", [8, 14, 30])
def test_the_model_is_exact_where_nothing_is_shifted_out(bits):
    rng = np.random.default_rng(9)
    x, w = (rng.integers(-1, 2, (4, 96)).astype(float) for _ in range(2))
    assert np.array_equal(accumulate.product(x, w, bits=bits), x @ w.T)
    assert np.array_equal(accumulate.product(x, w, 32, bits), x @ w.T)


def test_scales_of_zero_give_zero_and_tiny_tokens_survive():
    x = torch.cat([torch.zeros(1, 64), torch.full((1, 64), 1e-39), normal(1, 64, seed=10)])
    zero = torch.zeros(8)
    assert (
        w8a8.int8_linear(x.to(DEVICE), torch.ones(8, 64, dtype=torch.int8, device=DEVICE), zero.to(DEVICE)) == 0
    ).all()
    assert (w8a8.fp8_linear(x.to(DEVICE), torch.ones(8, 64).to(E4M3).to(DEVICE), zero[:, None].to(DEVICE)) == 0).all()
    codes, scale, _ = (t.cpu() for t in w8a8.quantize_tokens(x.to(DEVICE)))
    assert codes[0].eq(0).all() and scale[0] == 1 and codes[1].eq(127).all()


def test_errors_and_no_tokens():
    codes = torch.zeros(8, 64, dtype=torch.int8)
    for call, words in [
        (lambda: w8a8.int8_linear(torch.ones(2, 63), codes, torch.ones(8)), r"x must be \(m, 64\), got \(2, 63\)"),
        (lambda: w8a8.int8_linear(torch.ones(2, 64), codes, torch.ones(7)), "one number for each of 8 channels, got 7"),
        (lambda: w8a8.fp8_linear(torch.ones(2, 64), codes, torch.ones(8)), "codes must be torch.float8_e4m3fn"),
        (
            lambda: w8a8.fp8_linear(torch.ones(2, 64), codes.to(E4M3), torch.ones(3, 1)),
            r"scale must be \(1, 1\), \(8, 1\)",
        ),
        (lambda: w8a8.quantize_tokens(torch.ones(2, 64), torch.int32), "dtype must be int8"),
        (lambda: w8a8.quantize_tokens(torch.ones(2, 64), E4M3, 48), "block must be a power of two, got 48"),
        (lambda: w8a8.quantize_tokens(torch.ones(64)), r"x must be floats \(m, k\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    assert w8a8.int8_linear(torch.ones(0, 64), codes, torch.ones(8)).shape == (0, 8)
