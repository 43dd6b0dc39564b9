"""TurboQuant: the tables of Max (1960), the law of a coordinate, the paper's errors, the sketch's mean and variance."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from course_lib.calibrate.rotation import hadamard
from course_lib.formats import points
from course_lib.kvcache import KVFormat, QuantizedKVCache, stored_bytes
from course_lib.kvcache.turbo import Turbo, levels, random_rotation
from course_lib.kvcache.turbo_cache import TurboKVCache, TurboStore
from course_lib.viz import plots
from tests import tiny

# Max, "Quantizing for minimum distortion" (1960), table 1: the positive output levels, and the mean squared error
MAX = {
    1: ([0.7980], 0.3634),
    2: ([0.4528, 1.510], 0.1175),
    3: ([0.2451, 0.7560, 1.344, 2.152], 0.03454),
    4: ([0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733], 0.009497),
}
PAPER = {1: 0.36, 2: 0.117, 3: 0.03, 4: 0.009}  # Zandieh et al. (2025), theorem 1: unit vectors


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(seed, n, d):
    return torch.nn.functional.normalize(randn(seed, n, d), dim=-1)


def round_trip(turbo, x):
    return turbo.decode(*turbo.encode(x))


def expected(density, high, bits):
    """∫ (z − nearest level)² density(z) dz over ±high, by the middles of 200,000 strips."""
    z = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 1e5 - 1
    z = z * high
    t = levels(bits).double()
    off = z - t[torch.bucketize(z, (t[1:] + t[:-1]) / 2)]
    p = density(z)
    return float((off.square() * p).sum() / p.sum())


def on_sphere(d):
    """The law of √d times a coordinate of a random unit vector, up to a factor: (1 − z²/d)^((d−3)/2)."""
    return lambda z: (1 - z.square() / d).clamp(min=0) ** ((d - 3) / 2)


# ---- the table


@pytest.mark.parametrize("bits", MAX)
def test_levels_and_their_error_are_those_that_max_published(bits):
    half, error = MAX[bits]
    t = levels(bits)
    assert t.shape == (2**bits,) and torch.equal(t, -t.flip(0))
    assert (t[2 ** (bits - 1) :] - torch.tensor(half)).abs().max() < 1.01e-3  # four digits, the last one his
    assert expected(lambda z: torch.exp(-z.square() / 2), 12, bits) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_lloyd_on_quantiles_leaves_the_levels_where_they_are(bits):
    quantiles = torch.special.ndtri((torch.arange(2**17, dtype=torch.float64) + 0.5) / 2**17)[:, None]
    moved = points.lloyd(quantiles, levels(bits).double()[:, None], rounds=1)[:, 0]
    assert (moved - levels(bits)).abs().max() < 5e-4  # the outermost quantile stands for a whole tail


# ---- the rotation


def test_a_coordinate_of_a_turned_vector_has_the_law_of_the_sphere_and_not_that_of_a_gaussian():
    d, n = 8, 1500
    x = unit(0, 1, d)[0]
    u = torch.stack([x @ random_rotation(d, seed) for seed in range(n)])[:, 3].double().sort().values
    z = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    law = ((1 - z.square()) ** ((d - 3) / 2)).cumsum(0)
    at = torch.searchsorted(z, u)
    found = (torch.arange(n) + 0.5) / n
    limit = 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov: exceeded once in a thousand
    assert (law[at] / law[-1] - found).abs().max() < limit
    assert (torch.special.ndtr(u * math.sqrt(d - 2)) - found).abs().max() > limit / 2  # the test tells them apart
    assert (torch.special.ndtr(u * math.sqrt(d)) - found).abs().max() > limit / 2


@pytest.mark.parametrize("d", [1, 8, 64, 128])
def test_a_random_rotation_is_one(d):
    R = random_rotation(d, 3).double()
    assert torch.allclose(R @ R.T, torch.eye(d, dtype=torch.float64), atol=1e-6)
    assert torch.equal(random_rotation(d, 3), random_rotation(d, 3))
    assert d == 1 or not torch.equal(random_rotation(d, 3), random_rotation(d, 4))


def test_q_without_the_signs_of_r_would_not_be_uniform():
    first = torch.stack([random_rotation(8, seed)[0, 0] for seed in range(400)])
    assert 150 < int((first > 0).sum()) < 250  # LAPACK's Q has a first entry of one sign nearly always


# ---- errors


@pytest.mark.parametrize("make", [random_rotation, hadamard])
@pytest.mark.parametrize("d", [64, 128])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_unit_vectors_are_off_by_the_integral_over_the_sphere_and_by_the_paper_s_figure(bits, d, make):
    x = unit(bits, 8_000, d)
    error = (round_trip(Turbo(bits, make(d, 0)), x) - x).square().sum(-1).double()
    told, stderr = expected(on_sphere(d), math.sqrt(d), bits), float(error.std()) / math.sqrt(len(x))
    assert abs(float(error.mean()) - told) < 4 * stderr + 2e-4 * told  # and a length of float16
    assert float(error.mean()) == pytest.approx(PAPER[bits], rel=0.16)  # the paper rounds 0.0345 to 0.03
    assert points.bound(bits) < float(error.mean()) < math.sqrt(3) * math.pi / 2 * points.bound(bits)  # its two bounds


def test_bits_between_two_numbers_mix_two_tables():
    x = unit(0, 8_000, 64)
    error = float((round_trip(Turbo(2.75, random_rotation(64)), x) - x).square().sum(-1).mean())
    two, three = (expected(on_sphere(64), 8, bits) for bits in (2, 3))
    assert error == pytest.approx(two / 4 + three * 3 / 4, rel=0.01)


def test_a_single_loud_channel_is_as_good_as_any_for_a_random_rotation_and_not_for_hadamard_s():
    x = torch.eye(64)[:1]
    random = torch.stack([(round_trip(Turbo(2, random_rotation(64, s)), x) - x).square().sum() for s in range(200)])
    assert abs(float(random.mean()) - expected(on_sphere(64), 8, 2)) < 4 * float(random.std()) / math.sqrt(200)
    flat = float((round_trip(Turbo(2, hadamard(64, 0)), x) - x).square().sum())
    assert flat == pytest.approx((1.5104 - 1) ** 2, abs=1e-3)  # 64 numbers of size 1: two levels away from each


@pytest.mark.parametrize("length", ["norm", "unbiased"])
def test_the_unbiased_length_is_and_the_norm_shrinks_as_derived(length):
    d, n = 16, 500
    x, q = randn(0, 1, d), randn(1, d)
    q = q + x[0]
    found = torch.stack([round_trip(Turbo(1, random_rotation(d, s), length), x)[0] @ q for s in range(n)]).double()
    mean_size = math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)  # of a coordinate
    shrunk = math.sqrt(2 / math.pi) * math.sqrt(d) * mean_size  # the mean of cos(x, x̂) |x̂| / |x|
    told = float(q @ x[0]) * (shrunk if length == "norm" else 1)
    assert abs(float(found.mean()) - told) < 4 * float(found.std()) / math.sqrt(n)
    assert shrunk < 0.7  # so that the two cannot be mistaken for each other
    assert float(found.std()) / math.sqrt(n) < 0.06 * told


def test_the_unbiased_length_keeps_x_s_own_product_with_x_hat_and_is_not_the_length_of_x_hat():
    x, R = randn(3, 50, 64).double(), random_rotation(64).double()
    codes, n = Turbo(1, R, "unbiased").encode(x)
    u = (x @ R).sign() * math.sqrt(2 / math.pi) @ R.T / 8  # levels of 1 bit, by hand
    told = x.square().sum(-1, keepdim=True) / (x * u).sum(-1, keepdim=True)
    assert (n / told - 1).abs().max() < 2**-11 + 1e-6  # float16
    found = Turbo(1, R, "unbiased").decode(codes, n).double()
    assert ((found * x).sum(-1) / x.square().sum(-1) - 1).abs().max() < 2**-11 + 1e-6
    assert (n / found.norm(dim=-1, keepdim=True)).min() > 1.2


# ---- the sketch


@pytest.mark.parametrize("m, along", [(8, False), (8, True), (32, True)])
def test_the_sketch_s_inner_product_has_the_right_mean_and_the_variance_of_its_formula(m, along):
    d, n, R = 16, 500, random_rotation(16)
    x = randn(0, 1, d) * 3
    rest = (x - round_trip(Turbo(2, R), x))[0]
    q = 3 * rest if along else randn(1, d)
    found = torch.stack([round_trip(Turbo(2, R, sketch=randn(100 + s, m, d)), x)[0] @ q for s in range(n)]).double()
    bound = math.pi / 2 * float(q @ q) * float(rest @ rest) / m  # all that the paper has
    variance = bound - float(q @ rest) ** 2 / m
    assert abs(float(found.mean() - q @ x[0])) < 4 * math.sqrt(variance / n)
    assert float(found.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / n))
    assert variance < 0.4 * bound or not along


# ---- bytes


def test_bytes_by_hand():
    x = torch.tensor([[2.0, -1, 0.5, 1, -0.4, -2, 3, 0.1]])
    codes, length = Turbo(1, torch.eye(8)).encode(x)
    assert codes.tolist() == [[0b11001101]] and length.item() == pytest.approx(float(x.norm()), rel=1e-3)
    scaled = x * math.sqrt(8) / x.norm()  # 1.28 -0.64 0.32 0.64 -0.26 -1.28 1.92 0.06: middles at 0 and ±0.98
    codes, _ = Turbo(2, torch.eye(8)).encode(x)
    assert codes.tolist() == [[0b10100111, 0b10110001]], scaled
    codes, _ = Turbo(1.5, torch.eye(16)).encode(torch.cat([x, x], -1))  # eight of 2 bits, then eight of 1
    assert codes.tolist() == [[0b10100111, 0b10110001, 0b11001101]]


@pytest.mark.parametrize("bits", [1, 1.5, 2, 2.25, 2.75, 3, 3.5, 4, 4.75, 5])
@pytest.mark.parametrize("m", [None, 64, 24])
def test_a_code_takes_the_bytes_that_it_tells(bits, m):
    turbo = Turbo(bits, random_rotation(64), sketch=None if m is None else randn(0, m, 64))
    held = turbo.encode(randn(1, 2, 3, 5, 64))
    assert held[0].dtype == torch.uint8 and held[1].dtype == torch.float16
    assert held[0].shape[:-1] == (2, 3, 5) and held[0].shape[-1] == 64 * bits / 8 + (m or 0) / 8
    assert sum(t.nbytes for t in held) * 8 == turbo.bits_per_element * 2 * 3 * 5 * 64


@pytest.mark.parametrize("bits", [1, 2.75, 5])
def test_zeros_stay_zeros_and_sizes_do_not_matter(bits):
    turbo = Turbo(bits, random_rotation(64))
    assert not round_trip(turbo, torch.zeros(3, 64)).any()
    assert not round_trip(Turbo(bits, random_rotation(64), "unbiased"), torch.zeros(3, 64)).any()
    x = randn(0, 4, 64)
    assert torch.equal(turbo.encode(x)[0], turbo.encode(x * 1024)[0])
    assert torch.equal(round_trip(turbo, x.half()), round_trip(turbo, x.half().float()))


# ---- as a cache


@pytest.fixture(scope="module")
def model():
    return tiny.llama(context=256, head_dim=16)


def turbo16(bits=3.5, **more):
    return Turbo(bits, random_rotation(16), **more)


def ids(batch=2, n=41):
    return torch.randint(1, 250, (batch, n), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kinds", [(True, True), (True, False), (False, True)])
def test_attention_reads_what_the_cache_says_it_holds_the_first_and_last_tokens_exact(model, kinds):
    turbo = turbo16()
    ours = TurboKVCache(model.config, *[turbo if k else None for k in kinds], "int4", group=8, residual=8, sinks=3)
    plain = DynamicCache(config=model.config)
    with torch.no_grad():
        model(input_ids=ids()[:, :40], past_key_values=plain)
        model(input_ids=ids()[:, :40], past_key_values=ours)
    kivi = QuantizedKVCache(model.config, "int4", group=8, residual=8, sinks=3)
    with torch.no_grad():
        model(input_ids=ids()[:, :40], past_key_values=kivi)
    for i, layer in enumerate(plain.layers):
        for held, exact, old, is_turbo in zip(
            ours.decoded(i), (layer.keys, layer.values), kivi.decoded(i), kinds, strict=True
        ):
            assert torch.equal(held[:, :, :3], exact[:, :, :3]) and torch.equal(held[:, :, 27:], exact[:, :, 27:])
            if is_turbo:
                assert torch.allclose(held[:, :, 3:27], round_trip(turbo, exact[:, :, 3:27]), atol=1e-6)
            else:
                assert torch.equal(held, old)
    read = DynamicCache(config=model.config)
    for i in range(len(plain.layers)):
        read.update(*ours.decoded(i), i)
    with torch.no_grad():
        a, b = (model(input_ids=ids()[:, 40:], past_key_values=c).logits for c in (ours, read))
    assert torch.allclose(a, b, atol=1e-5)


def test_it_holds_the_bytes_of_kivi_at_the_same_bits():
    config = dict(num_hidden_layers=2, num_attention_heads=2, hidden_size=128)
    turbo, format = Turbo(2.75, random_rotation(64)), KVFormat("int2", residual=5, sinks=2)
    ours = TurboKVCache(config, turbo, turbo, format)
    for layer in range(2):
        for at in range(0, 100, 10):
            ours.update(randn(at, 3, 2, 10, 64), randn(at + 1, 3, 2, 10, 64), layer)
    assert ours.nbytes == stored_bytes(config, 100, format, batch=3, full_bits=32)


def test_cut_back_reordered_and_emptied(model):
    turbo = turbo16(sketch=randn(0, 8, 16))
    caches = [TurboKVCache(model.config, turbo, turbo, "int2", group=8, residual=0) for _ in range(2)]
    with torch.no_grad():
        model(input_ids=ids()[:, :32], past_key_values=caches[0])
        model(input_ids=ids(), past_key_values=caches[1])
    caches[1].crop(-9)
    assert all(torch.equal(a, b) for a, b in zip(caches[0].decoded(1), caches[1].decoded(1), strict=True))
    caches[1].reorder_cache(torch.tensor([1, 0]))
    assert torch.equal(caches[0].decoded(0)[0].flip(0), caches[1].decoded(0)[0])
    caches[1].reset()
    assert caches[1].nbytes == 0 and all(isinstance(s, TurboStore) for s in caches[1].layers[0].stores)
    with torch.no_grad():
        model(input_ids=ids()[:, :32], past_key_values=caches[1])
    assert torch.equal(caches[0].decoded(0)[1], caches[1].decoded(0)[1])


def test_generate_writes_with_it_and_with_five_bits_hardly_else(model):
    turbo = turbo16(5)
    x = ids(1, 33)
    args = dict(attention_mask=torch.ones_like(x), max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0)
    cache = TurboKVCache(model.config, turbo, turbo, "int4", group=8, residual=0)
    assert model.generate(x, past_key_values=cache, **args).shape == (1, 39)
    assert cache.get_seq_length() == 38 and cache.layers[0].stores[0].tokens == 32


# ---- bad input


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: levels(6), "bits must be a whole number from 1 to 5, got 6"),
        (lambda: levels(True), "bits must be a whole number from 1 to 5, got True"),
        (lambda: random_rotation(0), "d must be a whole number of at least 1, got 0"),
        (lambda: Turbo(2, torch.ones(8, 8)), "R must be a rotation"),
        (lambda: Turbo(2, torch.eye(12)), "R must be a rotation .d, d., d a multiple of 8, got a tensor of shape"),
        (lambda: Turbo(2, torch.eye(16)[:8]), "R must be a rotation"),
        (lambda: Turbo(0.5, torch.eye(16)), "bits must be from 1 to 5"),
        (lambda: Turbo(5.5, torch.eye(16)), "bits must be from 1 to 5"),
        (lambda: Turbo(2.1, torch.eye(16)), "bits must be from 1 to 5 and 16 of them whole bytes, got 2.1"),
        (lambda: Turbo(2, torch.eye(16), "mean"), "length must be one of norm, unbiased"),
        (lambda: Turbo(2, torch.eye(16), "unbiased", torch.ones(8, 16)), "length must be .* beside a sketch"),
        (lambda: Turbo(2, torch.eye(16), sketch=torch.ones(8, 8)), "sketch must be .m, 16., m a multiple of 8"),
        (lambda: Turbo(2, torch.eye(16), sketch=torch.ones(9, 16)), "sketch must be .m, 16., m a multiple of 8"),
        (lambda: turbo16().encode(torch.ones(3, 8)), "x must hold vectors of 16 channels, as R does, got shape .3, 8"),
        (lambda: turbo16().encode(torch.ones(0, 16)), "x must hold vectors of 16 channels"),
        (lambda: turbo16().encode(torch.full((1, 16), 3e4)), "x must be finite and its vectors no longer than 65504"),
        (lambda: turbo16().encode(torch.full((1, 16), math.nan)), "x must be finite"),
        (lambda: TurboKVCache(dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=64), turbo16(), None),
         "keys must be a Turbo of 32 channels, as the heads have, got 16"),
        (lambda: TurboKVCache(dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=64), None, turbo16()),
         "values must be a Turbo of 32 channels"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_sentence(make, told):
    with pytest.raises(ValueError, match=told):
        make()


# ---- the picture


def test_the_picture_says_its_numbers_and_a_way_keeps_its_mark():
    found = {"3 bits": {"a": (0.02, 0.005), "b": (0.01, 0.02)}, "5 bits": {"b": (0.001, 0.0001)}}
    figure = plots.kl_by_way(found, title="At equal bytes", base="no cache")
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["3 bits", "a", "b", "5 bits", "b"]
    assert [t.get_text() for t in axes.texts] == ["0.02", "0.01", "0.001"]
    marks = [line.get_marker() for line, _, _ in axes.containers]
    assert marks[1] == marks[2] != marks[0]


def test_what_is_recorded_says_what_the_text_says():
    results = Path(__file__).parents[1] / "benchmarks" / "results"
    found = json.loads((results / "turboquant.json").read_text(encoding="utf-8"))["results"]
    prose, loud, exact = found["prose"], found["prose loud"], found["exact tokens"]

    def less(row):  # than KIVI, in standard errors
        return row["less"][0] / row["less"][1]

    assert all(less(prose[f"turbo 3{which}"]) > 2 for which in ("", " keys", " values"))
    assert prose["turbo 3 sketch"]["kl"] > 2 * prose["kivi 3"]["kl"]
    assert less(prose["turbo 5 keys"]) < -1
    assert 10 * loud["turbo 3"]["kl"] < loud["token 3"]["kl"] and less(loud["turbo 3"]) < -2
    for name in ("kivi", "turbo"):
        assert exact[f"{name} 3 last 8"]["kl"] < exact[f"{name} 3 first 8"]["kl"]
