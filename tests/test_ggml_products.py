"""Whole-number products: Q8_K byte for byte, Q4_K times Q8_K as llama.cpp's C code adds it up."""

import pytest
import torch

from course_lib.formats import ggml
from course_lib.formats.ggml import native, products

EPS = torch.finfo(torch.float32).eps


def inputs():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(512, generator=g)
    one = torch.zeros(256)
    one[17] = -3e-5
    yield from (x, x.exp(), x * x.exp(), -x.abs(), x * 1e-30, x * 1e30, torch.zeros(256), one, torch.ones(256))
    yield torch.tensor([2.0, -2.0]).repeat(128)  # the first of several largest numbers gives the sign
    yield torch.tensor([-2.0, 2.0]).repeat(128)
    yield (torch.arange(256) - 127.5) / 254  # ties


@pytest.mark.parametrize("x", inputs())
def test_an_input_s_bytes_are_ggml_s(x):
    assert products.q8_k(x).view("u1").reshape(-1, 292).tolist() == native.q8_k(x).tolist()


def blocks(rows=24, k=1024):
    w = torch.randn(rows, k, generator=torch.Generator().manual_seed(2))
    w[0] = 0
    w[1] = w[1].abs() + 1  # no minimum to take off
    w[2] = -w[2].abs() - 5  # a large one
    return ggml.quantize(w, "Q4_K")


def test_the_product_is_that_of_the_c_code_and_of_the_decoded_numbers():
    coded = blocks()
    x = torch.randn(1024, generator=torch.Generator().manual_seed(3)).exp()
    ours, theirs = products.q4_k(coded, x), native.q4_k(coded, x)
    x8 = products.q8_k(x)
    back = torch.from_numpy(x8["qs"] * x8["d"].astype("f8")[:, None]).flatten()
    decoded = ggml.dequantize(coded, "Q4_K").double()
    bound = 16 * EPS * decoded.abs().amax(1) * back.abs().sum()  # 4 super-blocks, a dozen roundings each
    assert ((ours - decoded @ back).abs() <= bound).all()
    assert ((theirs - decoded @ back).abs() <= bound).all()
    assert ((ours - decoded @ x.double()).abs() > bound)[1:].any()  # the input's rounding is really there
    assert ours.dtype == torch.float32 and ours[0] == 0


def test_the_sums_of_the_input_are_what_the_minima_meet():
    """A constant added to a row's weights adds that many times Σ x₈, and nothing else."""
    x = torch.randn(256, generator=torch.Generator().manual_seed(4))
    record = products.q8_k(x)[0]
    assert record["bsums"].tolist() == record["qs"].reshape(16, 16).sum(1).tolist()
    coded = blocks(4, 256)
    coded[:, 2:4] = 0  # dmin = 0
    without = products.q4_k(coded, x)
    coded[:, 2:4] = torch.tensor([1.0]).half().view(torch.uint8)
    minima = ggml.dequantize(coded, "Q4_K") - ggml.dequantize(
        torch.cat([coded[:, :2], 0 * coded[:, 2:4], coded[:, 4:]], 1), "Q4_K"
    )
    assert torch.allclose(
        products.q4_k(coded, x) - without, minima @ torch.tensor(record["qs"] * record["d"]), rtol=1e-4
    )


@pytest.mark.parametrize("module", [products, native])
def test_bad_inputs_get_one_sentence(module):
    with pytest.raises(ValueError, match=r"x must be .*\(k,\) with k a multiple of 256, got shape \(255,\)"):
        module.q8_k(torch.ones(255))
    with pytest.raises(ValueError, match=r"x must be .*got shape \(1, 256\)"):
        module.q8_k(torch.ones(1, 256))
    with pytest.raises(ValueError, match=r"blocks must be \(rows, 144\) bytes .*for this x, got shape \(24, 576\)"):
        module.q4_k(blocks(), torch.ones(256))


def test_what_is_not_finite_is_refused():
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="x must be finite"):
            products.q8_k(torch.full((256,), bad))
