"""Minifloats against torch and ml_dtypes: every code decoded, every bf16 number and every midpoint encoded."""

import ml_dtypes
import numpy as np
import pytest
import torch

from course_lib.formats import minifloat

THEIRS = {
    "e4m3fn": ml_dtypes.float8_e4m3fn, "e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "e5m2": ml_dtypes.float8_e5m2,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz, "e3m2": ml_dtypes.float6_e3m2fn, "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn, "e8m0": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip
TORCH = {"e4m3fn": torch.float8_e4m3fn, "e4m3fnuz": torch.float8_e4m3fnuz, "e5m2": torch.float8_e5m2,
         "e5m2fnuz": torch.float8_e5m2fnuz, "e8m0": torch.float8_e8m0fnu}  # fmt: skip
BF16 = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
SIGNED = [name for name in THEIRS if name != "e8m0"]


def all_codes(name):
    return np.arange(2 ** minifloat.get(name).bits, dtype=np.uint8)


@pytest.mark.parametrize("name", THEIRS)
def test_every_code_is_the_number_that_it_is_elsewhere(name):
    codes = all_codes(name)
    assert np.array_equal(minifloat.decode(codes, name), codes.view(THEIRS[name]).astype(np.float32), equal_nan=True)
    if name in TORCH:
        theirs = torch.from_numpy(codes).view(TORCH[name]).float()
        assert torch.equal(minifloat.decode(torch.from_numpy(codes), name).nan_to_num(-1), theirs.nan_to_num(-1))


def hard_numbers(name):
    """Every number of the format, every midpoint of two, both a little to either side, and beyond the largest."""
    grid = minifloat.get(name).magnitudes
    step = grid[-1] - grid[-2]
    points = np.concatenate([grid, (grid[1:] + grid[:-1]) / 2, grid[-1] + step * np.arange(0.25, 3, 0.25)])
    points = np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, 0)])
    return np.concatenate([points, -points]) if name != "e8m0" else points


@pytest.mark.parametrize("name", SIGNED)
def test_every_bf16_number_is_encoded_as_in_ml_dtypes(name):
    """They overflow to the format's own infinity or NaN; formats with neither saturate, in both."""
    x = BF16 if minifloat.get(name).nan_code is not None else BF16[~np.isnan(BF16)]
    ours, theirs = minifloat.encode(x, name, saturate=False), x.astype(THEIRS[name]).view(np.uint8)
    number = ~np.isnan(x)
    if name == "e4m3fn":  # the sign of a NaN that an overflow leaves is theirs to choose
        number &= ~np.isnan(minifloat.decode(ours, name))
        assert np.isnan(theirs.view(THEIRS[name])[~number].astype(np.float32)).all()
    assert np.array_equal(ours[number], theirs[number])
    assert np.isnan(minifloat.decode(ours[np.isnan(x)], name)).all()


@pytest.mark.parametrize("name", SIGNED)
def test_midpoints_go_to_the_even_code(name):
    """Against ml_dtypes from float32, in which all midpoints of these formats are exact."""
    x = hard_numbers(name).astype(np.float32)
    ours, theirs = minifloat.encode(x, name, saturate=False), x.astype(THEIRS[name]).view(np.uint8)
    a, b = (minifloat.decode(c, name) for c in (ours, theirs & (2 ** minifloat.get(name).bits - 1)))
    assert np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("name", ["e4m3fn", "e4m3fnuz", "e5m2fnuz"])
def test_saturating_is_what_torch_does(name):
    x = torch.from_numpy(BF16[~np.isnan(BF16)])
    finite = torch.isfinite(x) if name != "e4m3fn" else torch.ones_like(x, dtype=bool)  # inf -> 448 there
    theirs = x.to(TORCH[name])
    kept = finite & ~torch.isnan(theirs.float())
    assert torch.equal(minifloat.encode(x, name)[kept], theirs.view(torch.uint8)[kept])
    if name == "e4m3fn":
        assert kept.all()


@pytest.mark.parametrize("name", SIGNED)
def test_the_quick_way_from_float32_gives_the_same_codes(name):
    """Tensors of 32 bits and fewer take another road than arrays of float64; random bit patterns, all hard numbers."""
    bits = np.random.default_rng(0).integers(0, 2**32, 2**18, np.uint32).view(np.float32)
    x = np.concatenate([bits[~np.isnan(bits)], hard_numbers(name).astype(np.float32), np.float32([0.0, -0.0, np.inf])])
    slow = minifloat.encode(x.astype(np.float64), name)
    assert np.array_equal(minifloat.encode(torch.from_numpy(x), name).numpy(), slow)
    every = torch.from_numpy(BF16[~np.isnan(BF16)])
    for dtype in (torch.bfloat16, torch.float16):
        small = every.to(dtype)
        assert torch.equal(minifloat.encode(small, name), minifloat.encode(small.double(), name))
    apart = torch.from_numpy(x[:1000]).reshape(20, 50).T
    assert torch.equal(minifloat.encode(apart, name), torch.from_numpy(slow[:1000]).reshape(20, 50).T)
    assert minifloat.encode(torch.empty(0, 3), name).shape == (0, 3)


@pytest.mark.parametrize("name", ["e4m3fn", "e5m2", "e4m3fnuz"])
def test_a_nan_among_numbers_is_not_lost(name):
    x = torch.tensor([1.0, torch.nan, -2.0, torch.inf])
    found = minifloat.decode(minifloat.encode(x, name), name)
    assert found[[0, 2]].tolist() == [1, -2] and found[1].isnan() and found[3] == minifloat.get(name).max


def test_e5m2_overflows_to_infinity_in_torch():
    x = torch.from_numpy(BF16[~np.isnan(BF16)])
    assert torch.equal(minifloat.encode(x, "e5m2", saturate=False), x.to(torch.float8_e5m2).view(torch.uint8))
    assert minifloat.decode(minifloat.encode(torch.tensor([1e9, -torch.inf]), "e5m2"), "e5m2").tolist() == [
        57344,
        -57344,
    ]


def test_e4m3fn_beyond_448():
    """The documented difference: torch saturates, ml_dtypes gives NaN above 464; 464 itself is a tie and goes down."""
    x = np.float32([448, 464, 465, np.inf])
    assert minifloat.decode(minifloat.encode(x, "e4m3fn"), "e4m3fn").tolist() == [448] * 4
    assert minifloat.encode(x, "e4m3fn", saturate=False).tolist() == [0x7E, 0x7E, 0x7F, 0x7F]
    assert torch.from_numpy(x).to(torch.float8_e4m3fn).float().tolist() == [448] * 4
    assert x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8).tolist() == [0x7E, 0x7E, 0x7F, 0x7F]


def test_no_double_rounding_from_float64():
    """1.0625 is the tie between 1 and 1.125; a hair above it must go up. Through float32 the hair is lost."""
    x = np.array([1.0625 + 2.0**-40])
    assert minifloat.decode(minifloat.encode(x, "e4m3fn"), "e4m3fn").tolist() == [1.125]
    assert x.astype(ml_dtypes.float8_e4m3fn).astype(float).tolist() == [1.0]
    assert torch.from_numpy(x).to(torch.float8_e4m3fn).double().tolist() == [1.0]


def test_e2m1_has_fifteen_numbers():
    values = minifloat.decode(all_codes("e2m1"), "e2m1")
    assert sorted(set(values.tolist())) == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    ties = np.float32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    assert minifloat.decode(minifloat.encode(ties, "e2m1"), "e2m1").tolist() == [0, 1, 1, 2, 2, 4, 4]


def test_e8m0_is_a_power_of_two():
    assert minifloat.decode(np.uint8([0, 127, 254]), "e8m0").tolist() == [2.0**-127, 1, 2.0**127]
    x = np.float32([1, 1.4, 1.6, 3e38, 2.0**-127])
    assert minifloat.decode(minifloat.encode(x, "e8m0"), "e8m0").tolist() == [1, 1, 2, 2.0**127, 2.0**-127]
    for bad in (0.0, -1.0):
        with pytest.raises(ValueError, match="x must be positive"):
            minifloat.encode(np.float32([bad]), "e8m0")


def test_every_positive_bf16_number_becomes_the_e8m0_of_torch_and_ml_dtypes():
    """But for the subnormals just above 2^-127, which both send up to 2^-126 even where 2^-127 is nearer."""
    x = BF16[(BF16 > 0) | np.isnan(BF16)]  # infinity among them
    ours, theirs = minifloat.encode(x, "e8m0", saturate=False), x.astype(THEIRS["e8m0"]).view(np.uint8)
    assert np.array_equal(theirs, torch.from_numpy(x).to(TORCH["e8m0"]).view(torch.uint8).numpy())
    apart = (x > 2.0**-127) & (x < 1.5 * 2.0**-127)
    assert np.array_equal(ours[~apart], theirs[~apart])
    assert (ours[apart] == 0).all() and (theirs[apart] == 1).all() and apart.sum() == 31


def test_e8m0_at_its_upper_end():
    x = np.float32([1.4, 1.5, 1.6, np.inf]) * np.float32(2.0**127)
    assert minifloat.encode(x, "e8m0").tolist() == [254] * 4
    assert minifloat.encode(x, "e8m0", saturate=False).tolist() == [254, 255, 255, 255]


@pytest.mark.parametrize("name", THEIRS)
def test_a_number_of_the_format_comes_back(name):
    f = minifloat.get(name)
    codes = all_codes(name)
    codes = codes[np.isfinite(f.values)]
    assert np.array_equal(minifloat.encode(minifloat.decode(codes, name), name), codes)


def test_bad_input():
    with pytest.raises(ValueError, match="name must be one of e4m3fn"):
        minifloat.encode(torch.ones(1), "e4m3")
    with pytest.raises(ValueError, match="x must hold no NaN, for which e2m1 has no code"):
        minifloat.encode(torch.tensor([torch.nan]), "e2m1")
    with pytest.raises(TypeError, match="floating-point tensor, got torch.int64"):
        minifloat.encode(torch.tensor([1]), "e2m1")
    with pytest.raises(ValueError, match="codes must be uint8 from 0 to 15"):
        minifloat.decode(torch.tensor([16], dtype=torch.uint8), "e2m1")
