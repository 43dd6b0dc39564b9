"""SmoothQuant preserves the function, undoes planted outliers; whole-number linears against torch and bitsandbytes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import Scheme, calibrate, dequantize, models, quantize
from course_lib.calibrate import int8, smoothquant
from course_lib.calibrate.smoothquant import migration_scales
from course_lib.models.outliers import readers
from tests.test_nf4 import GOLDEN, numbers
from tests.tiny import llama

IDS = torch.arange(48).reshape(2, 24) % 32


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.fixture(scope="module")
def stats(model):
    return calibrate.collect(model, IDS, hessian=False)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


# smoothquant


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_the_function_is_preserved(model, stats, alpha):
    before = copy.deepcopy(model.state_dict())
    smooth = smoothquant(model, stats, alpha)
    assert (logits(smooth) - logits(model)).abs().max() < 2e-5 * logits(model).abs().max()
    assert all(torch.equal(model.state_dict()[name], w) for name, w in before.items())
    changed = [n for n, w in smooth.state_dict().items() if not torch.equal(w, before[n])]
    assert all(any(part in n for part in ("layernorm", "q_proj", "k_proj", "v_proj", "gate", "up")) for n in changed)
    assert len(changed) == 7 * len(model.model.layers)


def test_at_one_half_inputs_and_weights_reach_equally_far(model, stats):
    smooth = smoothquant(model, stats, 0.5)
    after = calibrate.collect(smooth, IDS, hessian=False)
    layer = smooth.model.layers[0]
    w_max = torch.stack([part.weight.abs().amax(0) for part in readers(layer)[1][1]]).amax(0)
    assert torch.allclose(after["model.layers.0.mlp.gate_proj"].max_abs, w_max, rtol=1e-4)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_whatever_alpha_a_planted_factor_is_taken_back(model, stats, alpha):
    """x_j → f·x_j and w_j → w_j / f make s_j → f·s_j: both models smooth to the same one."""
    planted = models.plant_outliers(model, channels=[3, 5], factors=[64, 16])
    loud = calibrate.collect(planted, IDS, hessian=False)
    once, twice = smoothquant(model, stats, alpha), smoothquant(planted, loud, alpha)
    pairs = zip(once.parameters(), twice.parameters(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)


def test_scales_by_hand():
    s = migration_scales(torch.tensor([64.0, 1.0, 0.0, 2.0]), torch.tensor([0.25, 1.0, 1.0, 0.0]), 0.5)
    assert s.tolist() == [16.0, 1.0, 1.0, 1.0]  # √64 / √¼; a channel without inputs or weights stays
    assert migration_scales(torch.tensor([8.0]), torch.tensor([0.5]), 1.0).item() == 8
    assert migration_scales(torch.tensor([8.0]), torch.tensor([0.5]), 0.0).item() == 2


def test_bad_input_is_said(model, stats):
    with pytest.raises(ValueError, match="alpha must lie between 0 .* got 1.5"):
        smoothquant(model, stats, 1.5)
    with pytest.raises(ValueError, match="stats must hold model.layers.0.self_attn.q_proj, got 0 other names"):
        smoothquant(model, {}, 0.5)
    with pytest.raises(TypeError, match="model must be Llama-like, with model.layers, got Linear"):
        smoothquant(nn.Linear(2, 2), stats)
    with pytest.raises(ValueError, match="must not be quantized yet, but model.layers.0.self_attn.q_proj is a QuantL"):
        smoothquant(calibrate.quantize_model(model, Scheme.int(8), progress=False), stats)


def test_a_norm_with_another_formula_is_refused(model, stats):
    class PlusOne(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(weight - 1)

        def forward(self, x):
            return x * (1 + self.weight)

    other = copy.deepcopy(model)
    other.model.layers[0].input_layernorm = PlusOne(model.model.layers[0].input_layernorm.weight.detach())
    with pytest.raises(TypeError, match=r"input_layernorm \(PlusOne\) does not multiply by its weight"):
        smoothquant(other, stats)


# whole numbers


@pytest.mark.parametrize("symmetric_x", [True, False])
@pytest.mark.parametrize("symmetric_w", [True, False])
@pytest.mark.parametrize("share", [None, "tensor"])
def test_int_linear_is_what_quant_linear_computes(symmetric_x, symmetric_w, share):
    x, w = randn(0, 7, 96) + 0.5, randn(1, 10, 96)
    qx, qw = quantize(x, Scheme.int(8, symmetric_x, share)), quantize(w, Scheme.int(8, symmetric_w, share))
    y = int8.int_linear(qx, qw)
    exact = F.linear(dequantize(qx).double(), dequantize(qw).double())
    assert torch.allclose(y.double(), exact, rtol=1e-5, atol=1e-5)
    linear = calibrate.QuantLinear(qw, activations=qx.scheme)
    assert torch.allclose(y, linear(x), rtol=1e-4, atol=1e-4)


def test_int_matmul_is_torch_s_int8_kernel():
    qx = torch.randint(-127, 128, (32, 64), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    qw = torch.randint(-127, 128, (16, 64), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    assert torch.equal(int8.int_matmul(qx, qw), torch._int_mm(qx, qw.T.contiguous()))
    unsigned = (qx.int() + 128).to(torch.uint8)  # a kernel for signed codes serves unsigned ones: both move by 128
    assert torch.equal(int8.int_matmul(unsigned, qw, zx=128), torch._int_mm(qx, qw.T.contiguous()))


def test_int_matmul_with_a_zero_point_a_row():
    g = torch.Generator().manual_seed(2)
    qx, qw = (torch.randint(0, 256, (n, 33), generator=g).to(torch.uint8) for n in (5, 4))
    zx, zw = (torch.randint(0, 256, (n, 1), generator=g).to(torch.uint8) for n in (5, 4))
    wide = (qx.long() - zx.long()) @ (qw.long() - zw.long()).T
    assert torch.equal(int8.int_matmul(qx, qw, zx, zw).long(), wide)
    assert int8.int_matmul(qx, qw, zx, zw).dtype == torch.int32


def test_int_linear_refuses_scales_inside_the_sum():
    x, w = quantize(randn(0, 2, 8), Scheme.int(8)), quantize(randn(1, 3, 8), Scheme.int(8, group=4))
    with pytest.raises(ValueError, match="w must hold integer codes with one scale a row, or one in all, got int8 g4"):
        int8.int_linear(x, w)
    with pytest.raises(ValueError, match=r"codes must be \(tokens, in\) and \(out, in\), got \(2, 8\) and \(3, 4\)"):
        int8.int_matmul(x.codes, w.codes[:, :4])


# LLM.int8


def test_llm_int8_is_bitsandbytes_own():
    x = numbers(5 * 128, 617).reshape(5, 128)
    x[1:, 7] *= 40
    x[2, 90], x[4, 91] = 6.0, -5.999  # at the threshold, and just below it
    w = quantize(numbers(8 * 128, 7919).reshape(8, 128), Scheme.int(8))
    assert w.codes.int().sum(1).tolist() == GOLDEN["int8_w_codes_sum"]
    assert (x.abs() >= 6).any(0).nonzero().flatten().tolist() == GOLDEN["int8_columns"] == [7, 90]
    assert torch.allclose(
        int8.llm_int8(x, w), torch.tensor(GOLDEN["int8_y"]), atol=2e-4
    )  # rounding moves it by up to 0.13


def test_without_loud_channels_it_is_the_plain_product_and_with_them_it_is_better():
    x, w = randn(3, 16, 64), quantize(randn(4, 8, 64), Scheme.int(8))
    plain = int8.int_linear(quantize(x, Scheme.int(8)), w)
    assert torch.allclose(int8.llm_int8(x, w, threshold=100.0), plain, atol=1e-5)
    x[:, 5] *= 50
    exact = x @ dequantize(w).T
    plain = int8.int_linear(quantize(x, Scheme.int(8)), w)
    assert (int8.llm_int8(x, w) - exact).abs().mean() < 0.1 * (plain - exact).abs().mean()


def test_a_model_with_split_inputs(model):
    planted = models.plant_outliers(model, channels=[3, 5], factors=[64, 32])
    eight = calibrate.quantize_model(planted, Scheme.int(8), progress=False)
    plain = calibrate.quantize_model(planted, Scheme.int(8), activations=Scheme.int(8), progress=False)
    split = int8.with_outlier_split(eight)
    off = {what: (logits(bot) - logits(eight)).abs().mean() for what, bot in (("plain", plain), ("split", split))}
    assert off["split"] < 0.5 * off["plain"]
    with pytest.raises(ValueError, match="model must have int8 linears"):
        int8.with_outlier_split(model)
