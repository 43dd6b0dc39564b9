"""SINQ: the published code's scales and weights; imbalance never rises; nothing changes but by rounding; its bytes."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import Scheme, calibrate, models, quantize
from course_lib.calibrate.sinq import Scaled, column_scales, even_out, imbalance, sinq, sinq_stored
from tests.tiny import llama

GOLDEN = json.loads((Path(__file__).parent / "golden" / "sinq" / "golden.json").read_text(encoding="utf-8"))
IDS = torch.arange(48).reshape(2, 24) % 32


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uneven(seed, rows=24, columns=64, much=0.6):
    loud = torch.exp(much * randn(seed + 100, rows, 1)) * torch.exp(much * randn(seed + 200, columns))
    return 0.05 * loud * randn(seed, rows, columns)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


# against the published code


@pytest.mark.parametrize("case", GOLDEN["scales"], ids=lambda c: f"{len(c['w'])}x{len(c['w'][0])} {c['turns']} turns")
def test_scales_are_those_of_the_published_code(case):
    """A deviation adds up to 16 squares, and up to 16 turns multiply: a few hundred last bits at most."""
    r, t = even_out(torch.tensor(case["w"]) * GOLDEN["unit"], case["turns"])
    torch.testing.assert_close(t.flatten(), torch.tensor(case["t"]), rtol=3e-5, atol=0)
    torch.testing.assert_close(r.flatten(), torch.tensor(case["r"]), rtol=3e-5, atol=0)


def test_the_goldens_differ_where_the_turns_do():
    first = [case["t"] for case in GOLDEN["scales"][:3]]
    assert first[0] == [1.0] * 16 and first[1] != first[0] and first[2] != first[1]


@pytest.mark.parametrize("case", GOLDEN["tiles"], ids=lambda c: f"{c['bits']} bits")
def test_only_columns_need_a_scale_of_their_own(case):
    """The published quantizer divides by rows, too, and multiplies their factors into the scales: the same codes."""
    w, groups = torch.tensor(case["w"]) * GOLDEN["unit"], (24, 2)
    t = column_scales(w, 64)
    torch.testing.assert_close(t, torch.tensor(case["t"]), rtol=3e-5, atol=0)
    q = quantize(w / t, Scheme.int(case["bits"], False, 64))
    torch.testing.assert_close(q.scale, torch.tensor(case["rows"]).reshape(groups), rtol=1e-4, atol=0)
    assert q.zero_point.float().tolist() == torch.tensor(case["zero"]).reshape(groups).tolist()
    theirs = torch.tensor([int(digit, 16) for digit in case["codes"]]).reshape(w.shape)
    place = w / t / q.scale.repeat_interleave(64, 1)
    tie = (place - place.floor() - 0.5).abs() < 1e-3
    assert torch.equal(q.codes[~tie].long(), theirs[~tie]) and tie.float().mean() < 0.01


# laws


@pytest.mark.parametrize("seed", range(0, 20, 2))
@pytest.mark.parametrize("turns", [1, 3, 16])
def test_imbalance_never_rises(seed, turns):
    w = uneven(seed, 2 + seed, 2 + 3 * seed, 0.1 * seed)
    r, t = even_out(w, turns)
    assert imbalance(w / r / t) <= imbalance(w) * (1 + 1e-5)
    if seed > 4 and turns == 16:
        assert imbalance(w / r / t) < 0.7 * imbalance(w)


def test_more_turns_are_never_worse():
    w = uneven(1, much=1.5)
    found = [imbalance(w / r / t).item() for r, t in (even_out(w, n) for n in (1, 2, 4, 8, 16))]
    assert found == sorted(found, reverse=True) and found[-1] < 0.1 * found[0]


def test_at_the_fixed_point_all_deviations_agree_and_nothing_moves():
    """Rows and columns in turn, in float64, until they stand still: Sinkhorn and Knopp's own order."""
    w = uneven(3).double()
    for _ in range(500):
        w = w / w.std(1, keepdim=True)
        w = w / w.std(0, keepdim=True)
    assert (w.std(1) - 1).abs().max() < 0.02 and (w.std(0) - 1).abs().max() < 1e-9
    r, t = even_out(w)
    assert imbalance(w) < 1.02 and max((r / r.mean() - 1).abs().max(), (t / t.mean() - 1).abs().max()) < 0.02


def test_a_loud_column_is_found_and_its_factor_too():
    w = randn(5, 256, 64)
    loud = w.clone()
    loud[:, 7] *= 16
    before, after = column_scales(w), column_scales(loud)
    assert after.argmax() == 7 and (after[7] / before[7] / (after / before).median()).item() == pytest.approx(
        16, rel=0.1
    )


def test_groups_are_evened_out_one_by_one():
    w = torch.cat([uneven(6), uneven(7)], dim=1)
    assert torch.equal(column_scales(w, 64), torch.cat([column_scales(part) for part in w.split(64, dim=1)]))


# whole models


def test_the_function_is_kept_and_the_original_left_alone():
    model = llama()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    even = sinq(model, 32)
    assert (logits(even) - logits(model)).abs().max() < 5e-5 * logits(model).abs().max()
    assert all(torch.equal(model.state_dict()[name], p) for name, p in before.items())
    changed = {name.rsplit(".", 2)[1] for name, p in even.state_dict().items() if not torch.equal(p, before[name])}
    assert changed == {"input_layernorm", "post_attention_layernorm", "q_proj", "k_proj", "v_proj", "o_proj",
                       "gate_proj", "up_proj", "down_proj"}  # fmt: skip


def test_folded_scales_cost_no_byte_and_stored_ones_two_a_column():
    model, scheme = llama(), Scheme.int(3, False, 32, scale_dtype=torch.float16)
    plain = calibrate.quantize_model(model, scheme, progress=False)
    folded = calibrate.quantize_model(sinq(model, 32), scheme, progress=False)
    stored = sinq_stored(model, scheme)
    columns = sum(part.in_features for part in plain.modules() if isinstance(part, calibrate.QuantLinear))
    assert calibrate.model_bytes(folded) == calibrate.model_bytes(plain)
    assert calibrate.model_bytes(stored) == calibrate.model_bytes(plain) + 2 * columns


def test_stored_scales_compute_what_the_weights_times_t_do():
    model, scheme = llama(), Scheme.int(8, False, 32)
    stored = sinq_stored(model, scheme)
    name = "model.layers.1.mlp.down_proj"
    part, w = stored.get_submodule(name), model.get_submodule(name).weight.detach()
    assert isinstance(part, Scaled) and torch.equal(part.t, column_scales(w, 32).half().float())
    x = randn(1, 5, 64)
    assert torch.allclose(part(x), x @ (part.base.qtensor.dequantize() * part.t).T, rtol=1e-5, atol=1e-5)
    half_a_step = part.base.qtensor.step.repeat_interleave(32, 1) * part.t / 2
    assert ((part.base.qtensor.dequantize() * part.t - w).abs() <= half_a_step * 1.001 + 1e-6).all()


def test_it_undoes_what_was_planted_into_the_columns():
    model = llama(seed=1)
    hot = models.plant_outliers(model, channels=[3, 17], factors=[1 / 64] * 2)
    scheme = Scheme.int(4, False, 32)

    def off(bot):
        return (logits(calibrate.quantize_model(bot, scheme, progress=False)) - logits(model)).square().mean().item()

    assert off(sinq(hot, 32)) < 1.5 * off(model) < off(hot) / 4


def test_any_method_may_come_next():
    even = sinq(llama(), 32)
    scheme = Scheme.int(3, False, 32, zero_dtype=torch.float16)
    for method in ("rtn", "hqq"):
        assert calibrate.quantize_model(even, scheme, method, progress=False).quantized_fraction > 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: even_out(torch.ones(1, 4)), r"at least 2 rows and 2 columns, got \(1, 4\)"),
        (lambda: even_out([[1.0]]), "got list"),
        (lambda: even_out(torch.full((2, 2), torch.nan)), "w must be a finite matrix"),
        (lambda: even_out(torch.ones(2, 2), 0), "turns must be a whole number, at least 1, got 0"),
        (lambda: even_out(torch.ones(2, 2), True), "turns must be"),
        (lambda: column_scales(torch.ones(4, 6), 4), r"divide w's columns, got 4 for shape \(4, 6\)"),
        (lambda: column_scales(torch.ones(4, 6), 1), "group must be at least 2"),
        (lambda: sinq(nn.Sequential(nn.Linear(4, 4))), "decoder blocks"),
    ],
)
def test_bad_input_hears_one_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()
