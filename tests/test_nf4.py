"""NF4 against bitsandbytes' table, codes and scales (tests/golden/bitsandbytes), and its laws."""

import json
import statistics
from pathlib import Path

import pytest
import torch

from course_lib import Scheme, dequantize, quantize
from course_lib.formats import nf4, registry

GOLDEN = json.loads((Path(__file__).parent / "golden" / "bitsandbytes" / "golden.json").read_text(encoding="utf-8"))


def numbers(n, step):
    """n numbers in [-1, 1] that every machine computes alike: whole numbers, one quotient, one cube."""
    k = (torch.arange(n, dtype=torch.float64) * step % 1009 - 504) / 504
    return (k**3).float()


def weights():
    w = numbers(8 * 128, 7919).reshape(8, 128)
    w[3, 64:] = 0
    w[5] *= 100
    return w


def test_levels_are_the_published_table_to_the_bit():
    assert torch.equal(torch.tensor(nf4.LEVELS), torch.tensor(GOLDEN["levels"], dtype=torch.float64).float())


def test_levels_are_quantiles_of_the_bell_curve():
    """Python's own inverse of the normal distribution; the table was computed in single precision."""
    bell = statistics.NormalDist()
    p = 1 - (1 / 16 + 1 / 15) / 4
    above = [bell.inv_cdf(0.5 + k * (p - 0.5) / 8) for k in range(9)]
    below = [-bell.inv_cdf(p - k * (p - 0.5) / 7) for k in range(7)]
    assert [v / above[-1] for v in below + above] == pytest.approx(nf4.LEVELS, abs=2e-7)
    assert nf4.normal_levels(4).tolist() == pytest.approx(nf4.LEVELS, abs=2e-7)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_levels_rise_from_minus_one_over_zero_to_one(bits):
    levels = nf4.normal_levels(bits)
    assert len(levels) == 2**bits and levels[0] == -1 and levels[-1] == 1 and levels[2 ** (bits - 1) - 1] == 0
    assert (levels.diff() > 0).all()


def test_codes_and_scales_are_bitsandbytes_own():
    q = quantize(weights(), nf4.scheme(double=False))
    assert "".join(f"{c:x}" for c in q.codes.flatten().tolist()) == GOLDEN["nf4_codes"]
    theirs = torch.tensor(GOLDEN["nf4_absmax"]).float()
    zero = theirs == 0  # a block of zeros: they store 0, we store 1, and both decode it to 0
    assert torch.equal(q.scale.flatten()[~zero], theirs[~zero]) and (q.scale.flatten()[zero] == 1).all()
    levels = torch.tensor(GOLDEN["levels"]).float()
    theirs = levels[q.codes.long()].reshape(-1, 64) * theirs[:, None]
    assert torch.equal(dequantize(q), theirs.reshape(8, 128))


def test_a_level_comes_back_as_itself_and_a_tie_goes_down():
    levels = torch.tensor(nf4.LEVELS)
    w = torch.cat([levels, levels, levels, levels])[None] * 0.5
    assert torch.equal(dequantize(quantize(w, nf4.scheme(double=False))), w)
    middle = torch.zeros(1, 64)
    middle[0, :2] = torch.tensor([1.0, (nf4.LEVELS[10] + nf4.LEVELS[11]) / 2])
    assert quantize(middle, nf4.scheme(double=False)).codes[0, 1] == 10


def test_no_level_is_nearer():
    w = torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
    q = quantize(w, nf4.scheme(double=False))
    s = q.step.repeat_interleave(64, dim=1)[..., None]
    best = (s * torch.tensor(nf4.LEVELS) - w[..., None]).abs().amin(-1)
    assert torch.allclose((dequantize(q) - w).abs(), best, atol=1e-7)


def test_bits_per_weight_are_qlora_s():
    """QLoRA, section 3: 32 / 64 = 0.5 bits for a scale becomes 8 / 64 + 32 / (64 · 256) = 0.127."""
    w = torch.randn(256, 1024, generator=torch.Generator().manual_seed(0))
    assert quantize(w, nf4.scheme(double=False)).bits_per_weight == 4.5
    assert round(quantize(w, nf4.scheme()).bits_per_weight, 3) == 4.127


def test_double_quantization_costs_little():
    w = torch.randn(256, 1024, generator=torch.Generator().manual_seed(0))
    once, twice = ((dequantize(quantize(w, nf4.scheme(double))) - w).square().mean() for double in (False, True))
    assert twice == pytest.approx(once.item(), rel=0.01)


def test_bell_curves_lose_less_than_on_even_steps():
    w = torch.randn(256, 1024, generator=torch.Generator().manual_seed(1))
    even, bell = (
        (dequantize(quantize(w, s)) - w).square().mean() for s in (Scheme.int(4, group=64), nf4.scheme(double=False))
    )
    assert bell < 0.9 * even


def test_what_nf4_cannot_do_is_said():
    assert "nf4" in registry.names()
    with pytest.raises(ValueError, match="nf4 has no zero point: symmetric must be True, got False"):
        Scheme("nf4", (1, 64), symmetric=False)
    with pytest.raises(ValueError, match="nf4 has no scale_rule"):
        Scheme("nf4", (1, 64), scale_rule="ceil")
    with pytest.raises(ValueError, match="nf4 needs a scale_dtype with a mantissa"):
        Scheme("nf4", (1, 64), scale_dtype=torch.float8_e8m0fnu)
