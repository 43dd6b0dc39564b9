"""Observers against numpy, a plain loop, GPTQ's own search and a brute-force scan."""

import numpy as np
import pytest
import torch

from course_lib import observers
from course_lib.qtensor import quantize
from course_lib.scheme import Scheme

KINDS = [True, "full", False]


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_outlier(n=4096, value=40.0):
    x = gaussian(1, n)
    x[0, 0] = value
    return x


def error(w, scheme, observer):
    return (quantize(w, scheme, observer).dequantize() - w).square().mean().item()


@pytest.mark.parametrize("p", [99.9, 99, 75.5, 100])
def test_percentiles_are_numpys(p):
    blocks = gaussian(3, 5, 257)
    lo, hi = observers.percentile(blocks, Scheme.int(4, symmetric=False), p)
    assert np.allclose(hi, np.percentile(blocks.numpy(), p, axis=-1), rtol=1e-6)
    assert np.allclose(lo, np.percentile(blocks.numpy(), 100 - p, axis=-1), rtol=1e-6)
    lo, hi = observers.percentile(blocks, Scheme.int(4), p)
    assert np.allclose(hi, np.percentile(blocks.abs().numpy(), p, axis=-1), rtol=1e-6) and torch.equal(lo, -hi)


def test_p_must_be_a_percentage():
    with pytest.raises(ValueError, match="p must be a percentage above 50 and at most 100, got 0.999"):
        observers.percentile(gaussian(2, 8), Scheme.int(4), 0.999)


@pytest.mark.parametrize("kind", ["full", False])
@pytest.mark.parametrize("bits", [3, 4])
def test_mse_search_is_gptqs(kind, bits):
    """The published search of GPTQ's quantizer: 80 shrunken ranges, sum of |error|^2.4, first of equals."""
    w = gaussian(12, 64)
    n = 2**bits - 1
    lo, hi = w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)
    if kind == "full":
        hi = torch.maximum(-lo, hi)
        lo = -hi
    best, best_scale, best_zero = torch.full_like(lo, torch.inf), None, None
    for i in range(80):
        p = 1 - i / 100
        scale = (p * hi - p * lo) / n
        zero = torch.full_like(scale, 2 ** (bits - 1)) if kind == "full" else torch.round(-p * lo / scale)
        q = torch.clamp(torch.round(w / scale[:, None]) + zero[:, None], 0, n)
        loss = (scale[:, None] * (q - zero[:, None]) - w).abs().pow(2.4).sum(1)
        better = loss < best
        best_scale = scale if best_scale is None else torch.where(better, scale, best_scale)
        best_zero = zero if best_zero is None else torch.where(better, zero, best_zero)
        best = torch.where(better, loss, best)

    def search(blocks, scheme):
        return observers.mse(blocks, scheme, norm=2.4, maxshrink=0.8, joint=True)

    q = quantize(w, Scheme.int(bits, kind), search)
    assert torch.allclose(q.scale[:, 0], best_scale, rtol=1e-6) and torch.equal(q.zero_point[:, 0].float(), best_zero)


@pytest.mark.parametrize("kind", KINDS)
def test_mse_finds_what_a_fine_scan_finds(kind):
    x, scheme = with_outlier(), Scheme.int(4, kind)
    lo, hi = (x.min(), x.max()) if kind is False else (-x.abs().max(), x.abs().max())
    scan = [i / 400 for i in range(20, 401)]
    best = min(error(x, scheme, lambda b, s, f=f: (f * lo.expand(1, 1), f * hi.expand(1, 1))) for f in scan)
    found = error(x, scheme, "mse")
    assert found <= best * 1.02  # its steps are 1/100, the scan's 1/400; apart ends may well be better
    assert found < 0.5 * error(x, scheme, "minmax")


def test_mse_never_loses_to_minmax():
    w = gaussian(32, 64) * torch.logspace(-2, 2, 32)[:, None]
    for kind in KINDS:
        for dtype in (torch.float32, torch.float16):
            scheme = Scheme.int(4, kind, group=16, scale_dtype=dtype)
            blocks = w.unflatten(1, (4, 16))
            losses = [
                (quantize(w, scheme, o).dequantize().unflatten(1, (4, 16)) - blocks).square().sum(-1)
                for o in ("mse", "minmax")
            ]
            assert (losses[0] <= losses[1] * 1.000001).all() and (losses[0] < losses[1]).float().mean() > 0.5


def test_blocks_are_searched_one_by_one(monkeypatch):
    w = gaussian(6, 256) * torch.logspace(-1, 1, 6)[:, None]
    for name in ("mse", "entropy"):
        for kind in (True, False):
            scheme = Scheme.int(4, kind)
            whole = observers.observe(w, scheme, name)
            alone = [observers.observe(w[i : i + 1], scheme, name) for i in range(6)]
            assert all(torch.equal(whole[k], torch.cat([a[k] for a in alone])) for k in (0, 1))
            with monkeypatch.context() as patch:
                patch.setattr(observers, "_CHUNK", 256)  # one block a chunk
                assert torch.equal(whole[1], observers.observe(w, scheme, name)[1])


def loop_divergence(x, f, bits, bins):
    """KL(P‖Q) of one block on the restricted symmetric grid, value by value."""
    top = np.abs(x).max()
    width = np.float32(2 * top / bins)
    counts = [0.0] * bins
    for v in x:
        counts[min(int((v + top) / width), bins - 1)] += 1
    n = 2 ** (bits - 1) - 1
    first, last = (min(max(int((end + top) / width), 0), bins - 1) for end in (-f * top, f * top))
    p, groups = [0.0] * bins, {}
    for j, count in enumerate(counts):
        p[min(max(j, first), last)] += count
        centre = -top + (j + 0.5) * width
        if first <= j <= last and count:
            groups.setdefault(int(np.clip(np.rint(centre / (f * top / n)), -n, n)), []).append(j)
    q = [1e-4] * bins
    for members in groups.values():
        for j in members:
            q[j] = sum(counts[i] for i in members) / len(members)
    inside = sum(counts[first : last + 1])
    return sum(a / len(x) * np.log(a / len(x) / (b / inside)) for a, b in zip(p, q, strict=True) if a)


def test_entropy_is_the_least_divergence_of_a_plain_loop():
    x = with_outlier(3000, 9.0)
    lo, hi = observers.entropy(x, Scheme.int(4), bins=256, steps=20)
    top = x.abs().max().item()
    losses = [loop_divergence(x[0].numpy(), 1 - i / 20, 4, 256) for i in range(19)]
    assert hi.item() / top == pytest.approx(1 - np.argmin(losses) / 20) and lo.item() == -hi.item()
    assert 0 < np.argmin(losses) < 18


def test_entropy_cuts_an_outlier_off():
    x = with_outlier(100_000)
    for kind in KINDS:
        lo, hi = observers.observe(x, Scheme.int(4, kind), "entropy")
        assert 2 < hi.item() < 6 and -6 < lo.item() < -2
        assert error(x, Scheme.int(4, kind), "entropy") < 0.05 * error(x, Scheme.int(4, kind), "minmax")


def test_entropy_keeps_everything_where_the_grid_holds_every_value():
    x = torch.arange(-7.0, 8).repeat(20)[None]
    lo, hi = observers.observe(x, Scheme.int(4), "entropy")
    assert (lo.item(), hi.item()) == (-7, 7) and error(x, Scheme.int(4), "entropy") == 0


@pytest.mark.parametrize("name", list(observers.OBSERVERS))
@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_blocks_come_through(name, kind):
    w = torch.stack([torch.zeros(64), torch.full((64,), 3.0), torch.linspace(5, 6, 64), -torch.linspace(5, 6, 64)])
    q = quantize(w, Scheme.int(4, kind), name)
    assert torch.isfinite(q.dequantize()).all() and (q.dequantize()[0] == 0).all()
    assert ((q.dequantize() - w).abs() <= 2 * q.scale).all()  # clipped a little, perhaps, but nothing absurd


@pytest.mark.parametrize("name", list(observers.OBSERVERS))
def test_any_shape_of_blocks(name):
    blocks = gaussian(2, 3, 4, 40)
    for scheme in (
        Scheme.int(4, False),
        Scheme("int4", (1, 8), True, scale_dtype=torch.float8_e4m3fn, tensor_scale=True),
        Scheme.int(4, group=8, scale_scheme=Scheme.int(8, group=16)),
    ):
        lo, hi = observers.observe(blocks, scheme, name)
        assert lo.shape == hi.shape == (2, 3, 4) and (lo <= hi).all()


@pytest.mark.parametrize(
    "observer, says",
    [
        ("median", "observer must be one of minmax, percentile, mse, entropy or a function, got 'median'"),
        (lambda b, s: b.amax(-1), r"must return lo and hi, two tensors of shape \(2, 1\), got \(2, 1\)"),
        (lambda b, s: (0.0, 1.0), r"shape \(2, 1\), got float, float"),
        (lambda b, s: (b.amin(), b.amax()), r"shape \(2, 1\), got \(\), \(\)"),
        (lambda b, s: (b.amax(-1), b.amin(-1)), "finite lo <= hi for every block"),
        (lambda b, s: (b.amin(-1), b.amax(-1) / 0), "finite lo <= hi for every block"),
    ],
)
def test_bad_observers_are_one_clear_sentence(observer, says):
    with pytest.raises(ValueError, match=says):
        quantize(gaussian(2, 16), Scheme.int(4), observer)


def test_an_observer_of_ones_own():
    q = quantize(gaussian(2, 16), Scheme.int(4), lambda blocks, scheme: (-blocks.std(-1), blocks.std(-1)))
    assert torch.allclose(q.scale[:, 0], gaussian(2, 16).std(-1) / 7)


@pytest.mark.parametrize("kind", [*KINDS, "real zeros"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_the_round_trip_of_a_search_is_that_of_codes(bits, kind):
    real = {"zero_dtype": torch.float16} if kind == "real zeros" else {}
    scheme = Scheme.int(bits, symmetric=False if real else kind, group=16, scale_dtype=torch.float16, **real)
    x = torch.randn(64, 2, 16, generator=torch.Generator().manual_seed(bits)) * torch.logspace(-6, 3, 64)[:, None, None]
    x[0], x[1], x[2, :, 1:] = 0, x[1].abs(), 0
    before, codec = x.clone(), scheme.codec
    for shrink in (1.0, 0.4):  # the second clips
        grid = codec.from_range(shrink * x.amin(-1), shrink * x.amax(-1), scheme)
        step, zero = (None if t is None else t[..., None] for t in (grid.step, grid.zero_point))
        for s in (step, torch.zeros_like(step), -step):
            w_hat = codec.round_trip(x, s, zero)
            assert torch.equal(w_hat, codec.decode(codec.encode(x, s, zero), s, zero)) and w_hat.dtype == torch.float32
    ties, one = torch.arange(-9, 9) + 0.5, torch.ones(1)  # go to the even one before a whole zero point is added
    odd = None if kind is True else torch.tensor([1.0 if real else 1]).to(torch.float16 if real else torch.uint8)
    assert torch.equal(codec.round_trip(ties, one, odd), codec.decode(codec.encode(ties, one, odd), one, odd))
    assert torch.equal(x, before)
    assert torch.equal(codec.round_trip(x.half(), step, zero), codec.round_trip(x.half().float(), step, zero))
