"""MX and NVFP4 against torchao 0.18 (recorded by benchmarks/peers/microscaling.py) and against ggml's MXFP4."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from course_lib import QTensor, Scheme, calibrate, models, quantize
from course_lib.formats import ggml, microscaling, minifloat, nf4, packing

GOLDEN = load_file(Path(__file__).parent / "golden/microscaling.safetensors")
MX = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4")


@pytest.mark.parametrize("rule", microscaling.RULES)
@pytest.mark.parametrize("name", MX)
def test_mx_is_that_of_torchao_bit_for_bit(name, rule):
    q = microscaling.quantize(GOLDEN["x"], name, rule)
    assert torch.equal(q.scale.view(torch.uint8), GOLDEN[f"{name}.{rule}.scale"])
    assert torch.equal(q.codes, GOLDEN[f"{name}.{rule}.codes"])


@pytest.mark.parametrize(("part", "rows"), [("a", slice(0, 4)), ("b", slice(4, None))])
def test_nvfp4_is_that_of_torchao_bit_for_bit(part, rows):
    q = microscaling.quantize(GOLDEN["x"][rows], "nvfp4")
    assert q.tensor_scale.item() == GOLDEN[f"nvfp4.{part}.tensor_scale"].item()
    assert torch.equal(q.scale.view(torch.uint8), GOLDEN[f"nvfp4.{part}.scale"])
    assert torch.equal(q.codes, GOLDEN[f"nvfp4.{part}.codes"])


def ggml_and_ours(x):
    """(scale bytes, codes (blocks, 32)) of ggml's MXFP4 and of ours; ggml's byte j holds codes j and j + 16."""
    blocks = ggml.quantize(x, "MXFP4").numpy().reshape(-1, 17)
    q = microscaling.quantize(x, "mxfp4", "floor")
    theirs = blocks[:, 0], np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], 1)
    return theirs, (q.scale.view(torch.uint8).reshape(-1).numpy(), q.codes.reshape(-1, 32).numpy())


def test_ggml_differs_in_ties_and_in_minus_zero_only():
    """The same scale bytes, by OCP's rule. ggml rounds a tie towards zero, we to the even code; ggml has no -0."""
    ties = torch.randint(-24, 25, (4, 256), generator=torch.Generator().manual_seed(0)) / 4.0
    x = torch.cat([GOLDEN["x"], ties])
    x = x[(x.reshape(len(x), -1, 32).abs().amax(-1) > 1e-30).all(1)]  # whole blocks of zeros: the next test
    (byte, theirs), (our_byte, ours) = ggml_and_ours(x)
    assert np.array_equal(byte, our_byte)
    ratio = (x.reshape(-1, 32).numpy() / np.ldexp(np.float32(1), byte.astype(int) - 127)[:, None]).astype(np.float64)
    tie = np.isin(np.abs(ratio), [0.75, 1.75, 3.5])  # between an even code below and an odd one above they agree
    assert np.array_equal(theirs[tie] & 7, (ours[tie] & 7) - 1) and tie.any()
    minus = ours == 8
    assert (theirs[minus] == 0).all() and minus.any()
    assert np.array_equal(theirs[~tie & ~minus], ours[~tie & ~minus])


def test_ggml_s_block_of_zeros_has_the_scale_byte_0_and_so_has_ours():
    (byte, theirs), (our_byte, ours) = ggml_and_ours(torch.zeros(2, 32))
    assert byte.tolist() == our_byte.tolist() == [0, 0] and not theirs.any() and not ours.any()


def test_ggml_packs_j_with_j_plus_16_and_torchao_packs_neighbours():
    x = torch.tensor([[0.5, 1.0] + 14 * [0.0] + [6.0, 2.0] + 14 * [0.0]])  # codes 1 2 … 7 4 …
    assert ggml.quantize(x, "MXFP4")[0, 1:3].tolist() == [0x71, 0x42]
    assert packing.pack(microscaling.quantize(x, "mxfp4").codes, 4)[0, 0].item() == 0x21  # and torchao's first byte


@pytest.mark.parametrize(
    ("amax", "bytes_"), [(6.5, (127, 128, 127, 128)), (7.1, (127, 128, 128, 128)), (7.9, (127, 128, 128, 128)),
                         (6.0, (127, 128, 127, 127)), (4.0, (127, 127, 127, 127))]
)  # fmt: skip
def test_the_four_rules_on_one_block(amax, bytes_):
    x = torch.zeros(1, 32)
    x[0, 3] = -amax
    found = [microscaling.quantize(x, "mxfp4", rule).scale.view(torch.uint8).item() for rule in microscaling.RULES]
    assert tuple(found) == bytes_


def test_a_large_matrix_is_encoded_piece_by_piece_and_a_step_may_broadcast():
    codec = Scheme("e2m1").codec
    w = torch.randn(1500, 1024, generator=torch.Generator().manual_seed(6))
    for step in (torch.rand(1500, 1) + 0.1, torch.rand(1, 1) + 0.1, torch.rand(1024) + 0.1):
        assert torch.equal(codec.encode(w, step), minifloat.encode(w / step, "e2m1"))
    assert codec.encode(torch.empty(0, 4), torch.ones(1, 1)).shape == (0, 4)
    square, columns = torch.randn(1200, 1200), torch.rand(1200) + 0.1
    assert torch.equal(codec.encode(square, columns), minifloat.encode(square / columns, "e2m1"))


KNOWN = {  # relative mean squared error on N(0, 1), in hundredths; the sample is ours, hence 1.5 %
    ("mxfp4", "floor"): 1.335, ("mxfp4", "even"): 1.264, ("nvfp4", None): 0.909, ("nvfp4", "four-over-six"): 0.761,
    ("mxfp6_e2m3", "floor"): 0.081, ("mxfp6_e3m2", "floor"): 0.292, ("mxfp8_e4m3", "floor"): 0.087,
    ("mxfp8_e4m3", "rceil"): 0.070, ("mxint8", "floor"): 0.0068,
}  # fmt: skip


@pytest.mark.parametrize(("name", "rule"), KNOWN)
def test_the_error_on_gaussians(name, rule):
    x = torch.randn(512, 1024, generator=torch.Generator().manual_seed(0))
    error = (microscaling.quantize(x, name, rule).dequantize() - x).square().mean() / x.square().mean()
    assert 100 * error.item() == pytest.approx(KNOWN[name, rule], rel=0.015)


@pytest.mark.parametrize("mantissa", [1, 2, 3, 6])
def test_even_rounds_the_exponent_up_from_half_a_unit_on_up_to_the_largest_float32(mantissa):
    top = torch.finfo(torch.float32).max
    edge = 2 - 2.0 ** -(mantissa + 1)  # 1.11…1 and half a unit of its last place
    below = edge - 2.0**-20
    amax = torch.tensor([edge * 2.0**k for k in (-126, 0, 127)] + [below * 2.0**k for k in (0, 127)] + [top])
    k = microscaling.power_of_two(amax, 1.0, mantissa, "even")
    assert k.tolist() == [-125, 1, 127, 0, 127, 127]  # 2^128 is more than a scale byte can say
    assert microscaling.power_of_two(amax, 6.0, mantissa, "even").tolist() == [-127, -1, 126, -2, 125, 126]


def test_bits_per_weight():
    x = torch.randn(64, 256)
    bits = {name: round(microscaling.quantize(x, name).bits_per_weight, 3) for name in microscaling.NAMED}
    assert bits == {"mxfp8_e4m3": 8.25, "mxfp8_e5m2": 8.25, "mxfp6_e3m2": 6.25, "mxfp6_e2m3": 6.25, "mxfp4": 4.25,
                    "mxint8": 8.25, "nvfp4": 4.502}  # fmt: skip


def test_a_block_of_zeros_stays_zero_and_a_leading_dimension_is_a_batch():
    for name in microscaling.NAMED:
        assert torch.equal(microscaling.quantize(torch.zeros(2, 3, 32), name).dequantize(), torch.zeros(2, 3, 32))
    x = torch.randn(2, 3, 32)
    both = microscaling.quantize(x, "nvfp4").dequantize()
    assert torch.equal(both[1], microscaling.quantize(x[1], "nvfp4").dequantize())


def test_four_over_six_is_never_worse():
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    either = microscaling.quantize(x, "nvfp4", "four-over-six")
    assert set((either.codes & 7).reshape(-1, 16).amax(-1).tolist()) == {6, 7}  # 4 and 6 are codes 6 and 7
    six = microscaling.quantize(x, "nvfp4")
    assert (either.dequantize() - x).square().sum() < (six.dequantize() - x).square().sum()


SCHEMES = {
    "mxfp4": microscaling.scheme("mxfp4"), "mxfp4 even": microscaling.scheme("mxfp4", "even"),
    "nvfp4": microscaling.scheme("nvfp4"), "four-over-six": microscaling.scheme("nvfp4", "four-over-six"),
    "e4m3 rows": Scheme("e4m3fn"), "e4m3 tensor": Scheme("e4m3fn", (-1, -1)), "e4m3 64x64": Scheme("e4m3fn", (64, 64)),
    "e2m3": microscaling.scheme("mxfp6_e2m3"), "mxint8": microscaling.scheme("mxint8"),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_gptq_runs_on_them_as_on_integers(scheme):
    """Inputs that go together: less error than the nearest codes, on inputs that it has not seen."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(128, 128, generator=generator)
    x, held_out = (torch.randn(512, 128, generator=generator) @ mix for _ in range(2))
    w = torch.randn(64, 128, generator=generator)
    rtn = (held_out @ (calibrate.rtn(w, scheme).dequantize() - w).T).square().mean()
    gptq = (held_out @ (calibrate.gptq(w, calibrate.hessian(x), scheme).dequantize() - w).T).square().mean()
    assert gptq < 0.8 * rtn


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_gptq_without_correlation_is_the_nearest_code_exactly(scheme):
    w = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    a, b = calibrate.gptq(w, 0.3 * torch.eye(128), scheme), calibrate.rtn(w, scheme)
    assert torch.equal(a.codes, b.codes) and torch.equal(a.scale.float(), b.scale.float())
    assert torch.equal(a.dequantize(), b.dequantize())


@pytest.mark.parametrize(
    ("name", "share"), [("mxfp4", 1.0), ("nvfp4", 0.8), ("four-over-six", 0.8), ("e4m3 rows", 0.9)]
)
def test_awq_keeps_the_function_and_never_errs_more(name, share):
    """Under MXFP4 it may find nothing: a float's error grows with the number, so a larger one is no more exact."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(256, 128, generator=generator)
    block = torch.nn.Sequential(torch.nn.RMSNorm(128), torch.nn.Linear(128, 64, bias=False))
    with torch.no_grad():
        block[0].weight.copy_(torch.logspace(-1, 1, 128)[torch.randperm(128, generator=generator)])
        block[1].weight.copy_(torch.randn(64, 128, generator=generator))
        scaled = calibrate.awq(block, x, SCHEMES[name], clip=False)
        assert torch.allclose(scaled(x), block(x), rtol=1e-3, atol=1e-3)
        errors = []
        for net in (block, scaled):
            kept = calibrate.rtn(net[1].weight, SCHEMES[name]).dequantize()
            errors.append((net[0](x) @ (kept - net[1].weight).T).square().mean())
    assert errors[1] <= share * errors[0]


@pytest.mark.parametrize(("block", "shape"), [((-1, -1), (1, 1)), ((1, -1), (256, 1)), ((128, 128), (2, 3))])
def test_fp8_by_tensor_row_or_tile_is_torch_s_cast_of_w_over_s(block, shape):
    w = torch.randn(256, 384, generator=torch.Generator().manual_seed(3))
    q = quantize(w, Scheme("e4m3fn", block))
    assert q.scales is q.scale and q.scale.shape == shape
    rows, cols = 256 // shape[0], 384 // shape[1]
    tiles = w.reshape(shape[0], rows, shape[1], cols)
    assert torch.equal(q.scale, tiles.abs().amax((1, 3)) / 448)
    s = q.scale[:, None, :, None]
    cast = (tiles / s).to(torch.float8_e4m3fn)
    assert torch.equal(q.codes, cast.view(torch.uint8).reshape(w.shape))
    assert torch.equal(q.dequantize(), (s * cast.float()).reshape(w.shape))


def test_nf4_with_quantized_scales_is_the_same_type():
    w = torch.randn(8, 2048, generator=torch.Generator().manual_seed(4))
    q = quantize(w, nf4.scheme())
    assert isinstance(q, QTensor) and isinstance(q.scales, QTensor) and q.scales.scheme.format == "int8"
    assert isinstance(microscaling.quantize(w, "nvfp4"), QTensor) and q.dequantize().shape == w.shape


def test_compressed_tensors_store_the_tensor_scale_upside_down():
    """global_scale = 448 · 6 / max|w| there (recorded by its generate_gparam), max|w| / (448 · 6) in torchao."""
    q = microscaling.quantize(GOLDEN["x"][4:], "nvfp4")
    assert 1 / q.tensor_scale.item() == pytest.approx(GOLDEN["nvfp4.b.global_scale"].item(), rel=1e-6)


def test_a_model_in_mxfp4_still_answers():
    model, tokenizer = models.load("bundled")
    small = calibrate.quantize_model(model, microscaling.scheme("mxfp4"))
    ids = tokenizer("def f(x):", return_tensors="pt").input_ids
    with torch.no_grad():
        p, q = (torch.log_softmax(m(ids).logits, -1) for m in (model, small))
    assert 0 < (p.exp() * (p - q)).sum(-1).mean() < 0.5


@pytest.mark.parametrize("name", microscaling.NAMED)
@pytest.mark.parametrize("top", [1e-45, 1e-41, 1e-38, 3.4e38])
def test_the_smallest_and_the_largest_float32_come_back_as_numbers(name, top):
    x = torch.linspace(-1, 1, 64).reshape(2, 32) * top
    x[1] = 0
    back = microscaling.quantize(x, name).dequantize()
    assert torch.isfinite(back).all() and (back[1] == 0).all()
    assert (back - x).abs().max() <= (0.5 * top if top > 1e-40 else 2.0**-127)


def test_rows_that_do_not_divide_are_filled_up_if_asked():
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(5))
    q = microscaling.quantize(x, "mxfp4", pad=True)
    assert q.codes.shape == (3, 64) and q.shape == (3, 40) and q.dequantize().shape == (3, 40)
    whole = torch.cat([x, torch.zeros(3, 24)], 1)
    assert torch.equal(q.dequantize(), microscaling.quantize(whole, "mxfp4").dequantize()[:, :40])


def test_bad_input():
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="w must be finite in float32: 1 of 32 values"):
            microscaling.quantize(torch.ones(1, 32).index_fill(1, torch.tensor([3]), bad), "nvfp4")
    with pytest.raises(ValueError, match="name must be one of mxfp8_e4m3"):
        microscaling.quantize(torch.ones(1, 32), "mxfp5")
    with pytest.raises(ValueError, match="scale_rule must be one of floor, ceil, even, rceil for these scales"):
        microscaling.quantize(torch.ones(1, 32), "mxfp4", "round")
    with pytest.raises(ValueError, match="scale_rule must be one of four-over-six for these scales"):
        microscaling.quantize(torch.ones(1, 32), "nvfp4", "floor")
    with pytest.raises(ValueError, match="does not divide"):
        microscaling.quantize(torch.ones(1, 33), "mxfp4")
    with pytest.raises(ValueError, match="symmetric must be True"):
        Scheme("e2m1", (1, 32), symmetric=False)
