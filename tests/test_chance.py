"""Stochastic rounding: one of two neighbours, right on average, twice the nearest's squared error."""

import pytest
import torch

from course_lib.formats import chance


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def neighbours(x):
    """The bfloat16 numbers at or below, and at or above, each float32 x."""
    near = x.bfloat16()
    low = torch.where(near.float() > x, torch.nextafter(near, torch.tensor(-torch.inf).bfloat16()), near)
    high = torch.where(near.float() < x, torch.nextafter(near, torch.tensor(torch.inf).bfloat16()), near)
    return low.float(), high.float()


def test_bfloat16_is_one_of_two_neighbours_and_both_come():
    x = torch.randn(2000, generator=seeded()) * 10.0 ** torch.randint(-30, 30, (2000,), generator=seeded(1))
    x = torch.cat([x, -x, torch.tensor([1e-40, -1e-40, 0.0])])
    low, high = neighbours(x)
    drawn = torch.stack([chance.to_bfloat16(x, seeded(seed)).float() for seed in range(40)])
    assert ((drawn == low) | (drawn == high)).all()
    between = (x - low > 0.2 * (high - low)) & (high - x > 0.2 * (high - low))
    assert ((drawn == low).any(0) & (drawn == high).any(0))[between].all()  # 0.8^40 is 1e-4 a side
    assert (drawn == low)[:, low == high].all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_bfloat16_s_mean_is_x(share):
    low, high = 1.0, 1.0 + 2**-7
    x = torch.full((40_000,), low + share * (high - low))
    up = (chance.to_bfloat16(x, seeded()).float() == high).double().mean().item()
    assert abs(up - share) < 5 * (share * (1 - share) / 40_000) ** 0.5


def test_what_is_no_number_or_fits_stays():
    odd = torch.tensor([torch.inf, -torch.inf, 0.0, 1.0, -3.5, 2.0**127])
    assert chance.to_bfloat16(odd, seeded()).float().tolist() == odd.tolist()
    assert chance.to_bfloat16(torch.tensor([torch.nan]), seeded()).isnan().all()
    with pytest.raises(TypeError, match="x must be float32, got torch.float64"):
        chance.to_bfloat16(torch.ones(2, dtype=torch.float64))


def test_whole_numbers_stay_and_the_squared_error_is_twice_the_nearest_s():
    assert chance.rounded(torch.arange(-5.0, 6), seeded()).tolist() == list(range(-5, 6))
    x = 100 * torch.rand(200_000, generator=seeded(2)) - 50
    drawn = chance.rounded(x, seeded())
    assert ((drawn - x).abs() < 1).all()
    assert abs((drawn - x).mean()) < 5 * (1 / 6 / 200_000) ** 0.5
    assert 1.97 < ((drawn - x) ** 2).mean() / ((x.round() - x) ** 2).mean() < 2.03  # 1/6 and 1/12
