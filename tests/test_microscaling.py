"""MX and NVFP4 against torchao 0.18 (recorded by benchmarks/peers/microscaling.py) and against ggml's MXFP4."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from course_lib import Scheme, calibrate, models
from course_lib.formats import ggml, microscaling

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


def test_ggml_differs_in_ties_only():
    """The same scale bytes; ggml rounds a tie towards zero, we to the even code. ggml packs j with j + 16."""
    ties = torch.randint(-24, 25, (4, 256), generator=torch.Generator().manual_seed(0)) / 4.0
    x = torch.cat([GOLDEN["x"], ties])
    blocks = ggml.quantize(x, "MXFP4").numpy().reshape(-1, 17)
    q = microscaling.quantize(x, "mxfp4")
    amax = x.reshape(-1, 32).abs().amax(-1)
    normal = (amax > 1e-30).numpy()
    assert np.array_equal(blocks[normal, 0], q.scale.view(torch.uint8).reshape(-1).numpy()[normal])
    theirs = np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], 1)[normal]
    ours = q.codes.reshape(-1, 32).numpy()[normal]
    ratio = (x.reshape(-1, 32) / q.scale.float().reshape(-1, 1)).abs().numpy()[normal]
    differ = (theirs & 7) != (ours & 7)
    assert differ.any() and set(ratio[differ].tolist()) <= {0.75, 1.75, 3.5}


@pytest.mark.parametrize(
    ("amax", "bytes_"), [(6.5, (127, 128, 127, 128)), (7.1, (127, 128, 128, 128)), (7.9, (127, 128, 128, 128)),
                         (6.0, (127, 128, 127, 127)), (4.0, (127, 127, 127, 127))]
)  # fmt: skip
def test_the_four_rules_on_one_block(amax, bytes_):
    x = torch.zeros(1, 32)
    x[0, 3] = -amax
    found = [microscaling.quantize(x, "mxfp4", rule).scale.view(torch.uint8).item() for rule in microscaling.RULES]
    assert tuple(found) == bytes_


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
    amax = torch.tensor([edge * 2.0**k for k in (-126, 0, 127)] + [(edge - 2.0**-20) * 2.0**k for k in (0, 127)] + [top])
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


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4"])
def test_gptq_runs_on_them_as_on_integers(name):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 128, generator=generator) @ torch.randn(128, 128, generator=generator)
    w = torch.randn(64, 128, generator=generator)
    scheme = microscaling.scheme(name)
    H = calibrate.hessian(x)
    rtn = (x @ (calibrate.rtn(w, scheme).dequantize() - w).T).square().mean()
    gptq = (x @ (calibrate.gptq(w, H, scheme).dequantize() - w).T).square().mean()
    assert gptq < 0.7 * rtn


def test_a_model_in_mxfp4_still_answers():
    model, tokenizer = models.load("bundled")
    small = calibrate.quantize_model(model, microscaling.scheme("mxfp4"))
    ids = tokenizer("def f(x):", return_tensors="pt").input_ids
    with torch.no_grad():
        p, q = (torch.log_softmax(m(ids).logits, -1) for m in (model, small))
    assert 0 < (p.exp() * (p - q)).sum(-1).mean() < 0.5


def test_bad_input():
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
