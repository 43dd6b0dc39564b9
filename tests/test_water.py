"""Reverse water-filling: the level spends the bits, no other plan loses less, and no quantizer comes below it."""

import pytest
import torch

from course_lib import Scheme, calibrate
from course_lib.calibrate.trellis import by_trellis
from course_lib.formats import points
from course_lib.viz.plots import codes


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spent(power, level):
    return (power / level).log2().clamp(min=0).mean().item() / 2


@pytest.mark.parametrize("seed", range(12))
def test_the_level_spends_the_bits_and_no_other_plan_loses_less(seed):
    n, bits = 1 + 3 * seed, 0.25 + 0.3 * seed
    power = torch.exp(3 * randn(seed, n))
    level = points.water_level(power, bits)
    assert spent(power, level) == pytest.approx(bits, rel=1e-9)
    least = power.clamp(max=level).sum()
    plans = torch.rand(2000, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    best = (power / level).log2().clamp(min=0) / 2  # plans near the best one, and plans far from it
    plans = torch.cat([plans, best * (1 + 0.2 * (plans - 0.5)) + 0.01 * plans])
    plans *= n * bits / plans.sum(1, keepdim=True)
    assert ((power * 2 ** (-2 * plans)).sum(1) >= least * (1 - 1e-12)).all()


def test_equal_powers_have_shannons_bound_and_directions_without_power_cost_nothing():
    assert points.water_level(torch.full((7,), 3.0), 2) == pytest.approx(3 * points.bound(2))
    some = torch.tensor([5.0, 2.0])
    assert points.water_level(torch.tensor([0.0, 5.0, 0.0, 2.0]), 1) == pytest.approx(points.water_level(some, 2))
    assert points.water_level(some, 0) == pytest.approx(5.0)  # nothing is spent: all lies under the water
    assert points.water_level(torch.zeros(3), 1) == 0.0


def test_no_way_of_rounding_gaussian_weights_comes_below_the_water():
    w, turn = 0.05 * randn(1, 256, 128).float(), torch.linalg.qr(randn(3, 128, 128))[0]
    H = (turn @ torch.diag(torch.logspace(0, -1.5, 128).double()) @ turn.T).float()  # loud directions, none a column
    scheme = Scheme.int(2, symmetric=False, group=32, scale_dtype=torch.float16)
    power = torch.linalg.eigvalsh(H.double()).clamp(min=0) * 0.05**2
    for q in (calibrate.rtn(w, scheme), calibrate.gptq(w, H, scheme), by_trellis(w, H, 2, L=8)):
        off = (w - q.dequantize()).double()
        lost = ((off @ H.double()) * off).sum() / len(w)
        assert lost > power.clamp(max=points.water_level(power, q.bits_per_weight)).sum()
    assert lost < 2 * power.clamp(max=points.water_level(power, q.bits_per_weight)).sum()  # the trellis comes near


@pytest.mark.parametrize(
    ("power", "bits"),
    [([], 1), ([[1.0]], 1), ([1.0, -1.0], 1), ([1.0, torch.nan], 1), ([torch.inf], 1), ([1.0], -1), ([1.0], torch.nan)],
)
def test_powers_and_bits_that_cannot_be(power, bits):
    with pytest.raises(ValueError, match="power must hold finite variances, 0 or more, and bits be 0 or more, got"):
        points.water_level(torch.tensor(power), bits)


def test_the_picture_shows_the_powers_the_level_and_what_is_left():
    power = torch.logspace(2, 0, 64)
    (axes,) = codes.water(power, {"one": power / 4, "two": power / 9}, 0.5, 2).axes
    curve, one, two, level = axes.lines
    assert curve.get_ydata() == pytest.approx(power.numpy())
    assert one.get_ydata() == pytest.approx((power / 4).reshape(16, 4).mean(1).numpy())
    assert two.get_ydata() == pytest.approx((power / 9).reshape(16, 4).mean(1).numpy())
    assert set(level.get_ydata()) == {0.5} and level.get_label() == "least possible, 2 bits"
