"""Training under rounding: forward and gradients are torch's own, the copy is a copy, and it beats rounding alone."""

import copy
from functools import partial

import pytest
import torch

from course_lib import Scheme
from course_lib.calibrate import quantize_model
from course_lib.calibrate.qat import FakeQuant, gap, rows_of, straight_through
from course_lib.calibrate.targets import linears_of
from course_lib.qtensor import quantize
from tests.tiny import llama

ASYM = Scheme.int(2, symmetric=False)
BATCHES = [torch.randint(0, 60, (4, 24), generator=torch.Generator().manual_seed(s)) for s in range(3)]


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def torchs(fake, g):
    """Value and gradients of w and of the steps by torch's learnable fake quantization, one scale a row."""
    w, q = fake.w.detach().clone().requires_grad_(), fake.start
    scale = fake.log_step.detach().exp()[:, 0].requires_grad_()
    zero = torch.zeros(len(w)) if q.zero_point is None else q.zero_point[:, 0].float()
    top = 2 ** (fake.scheme.bits - 1) - 1
    low, high = (-top, top) if q.zero_point is None else (0, 2 * top + 1)
    out = torch._fake_quantize_learnable_per_channel_affine(w, scale, zero, 0, low, high, 1.0)
    out.backward(g)
    return out.detach(), w.grad, scale.grad


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("symmetric", [True, False, "full"])
def test_value_and_gradients_are_torchs(bits, symmetric):
    w, g = randn(bits, 6, 32), randn(9, 6, 32)
    fake = FakeQuant(w, Scheme.int(bits, symmetric), observer="mse")  # a grid that clips
    out = fake()
    out.backward(g)
    want, w_grad, step_grad = torchs(fake, g)
    assert torch.allclose(out, want, atol=1e-6)
    assert torch.allclose(fake.w.grad, w_grad, rtol=1e-5, atol=0) and 0 < (w_grad == 0).sum() < w_grad.numel()
    per_step = fake.log_step.grad[:, 0] / fake.log_step.detach().exp()[:, 0]  # d/d log s = s · d/ds
    assert torch.allclose(per_step, step_grad, atol=1e-4)


@pytest.mark.parametrize("scheme", [ASYM, Scheme.int(3), Scheme.int(2, False, 8, scale_dtype=torch.float16)])
def test_before_training_it_stores_what_an_mse_grid_stores(scheme):
    w = randn(3, 4, 16)
    q, want = FakeQuant(w, scheme).qtensor(), quantize(w, scheme, "mse")
    assert torch.equal(q.codes, want.codes) and torch.allclose(q.step, want.step, rtol=1e-3)
    assert q.nbytes == want.nbytes and torch.allclose(FakeQuant(w, scheme)(), want.dequantize(), rtol=2e-3)


def test_what_is_stored_is_what_was_trained():
    model = llama()
    result = quantize_model(model, ASYM, "qat", BATCHES, steps=5, rate=1e-2)
    log = []
    quantize_model(model, ASYM, "qat", BATCHES, steps=5, rate=1e-2, log=log)
    with torch.no_grad():
        name, q = next(iter(result.qtensors.items()))
        assert torch.allclose(result.get_submodule(name).weight, q.dequantize(), atol=1e-6)
    assert len(log) == 5 and set(result.qtensors) == set(linears_of(model))


def test_it_beats_rounding_and_leaves_the_model_alone():
    model = llama()
    before = copy.deepcopy(model.state_dict())
    plain = quantize_model(model, ASYM)
    log = []
    trained = quantize_model(model, ASYM, "qat", BATCHES, steps=60, rate=1e-2, log=log)
    held = torch.randint(0, 60, (8, 24), generator=torch.Generator().manual_seed(99))

    def kl(other):
        with torch.no_grad():
            p, q = (m(held).logits.log_softmax(-1) for m in (model, other))
        return (p.exp() * (p - q)).sum(-1).mean()

    assert log[-1] < 0.7 * log[0] and kl(trained) < 0.8 * kl(plain)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_grid_that_is_given_is_begun_with():
    model = llama(seed=2)
    grid = quantize_model(model, ASYM, partial(quantize, observer="mse"), progress=False).qtensors
    one, other = ({}, {"start": grid})
    trained = [quantize_model(model, ASYM, "qat", BATCHES, steps=3, progress=False, **o) for o in (one, other)]
    for name, q in trained[0].qtensors.items():
        assert torch.equal(q.codes, trained[1].qtensors[name].codes), name
        assert torch.equal(q.scale, trained[1].qtensors[name].scale), name


def test_a_grid_of_another_kind_is_refused():
    model, some = llama(seed=2), Scheme.int(3)
    for grid in ({}, quantize_model(model, some, progress=False).qtensors):
        with pytest.raises(
            ValueError, match="start must hold a QTensor of int2 channel asym without g_idx for model.la"
        ):
            quantize_model(model, ASYM, "qat", BATCHES, steps=1, progress=False, start=grid)


def test_an_unrounded_model_has_nothing_to_learn():
    model = llama()
    fakes = {name: lambda w=linear.weight: w for name, linear in linears_of(model).items()}
    assert gap(model, fakes, BATCHES[0]).abs() < 1e-6


def test_without_the_straight_through_nothing_moves():
    x = torch.tensor([0.2, 1.4], requires_grad=True)
    (3 * x.round()).sum().backward()
    assert x.grad.tolist() == [0, 0]
    straight_through(x, 0, 1).sum().backward()
    assert x.grad.tolist() == [1, 1]  # 1.4 rounds to 1, which is inside


def test_rows_are_cut_anew():
    assert [tuple(t.shape) for t in rows_of(BATCHES, 5)] == [(5, 24), (5, 24), (2, 24)]


@pytest.mark.parametrize("options, match", [({"steps": 0}, "steps must be at least 1"), ({"rate": 0}, "rate positive")])
def test_bad_options_are_said(options, match):
    with pytest.raises(ValueError, match=match):
        quantize_model(llama(), ASYM, "qat", BATCHES, **options)


def test_other_formats_are_refused():
    with pytest.raises(ValueError, match='"qat" needs an integer scheme'):
        quantize_model(llama(), Scheme("e2m1", (1, -1)), "qat", BATCHES)
