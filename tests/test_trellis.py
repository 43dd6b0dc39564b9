"""Trellis codes: QTIP's and exllamav3's own numbers to the last bit, Viterbi against all paths, bytes, the bound."""

import hashlib
import itertools
import json
from pathlib import Path

import pytest
import torch

from course_lib import Scheme, calibrate
from course_lib.calibrate import gptq, hessian, trellis
from course_lib.calibrate.trellis import TrellisWeight, block_ldlq, by_trellis, trellis_model
from course_lib.formats import points
from course_lib.formats import trellis as codes
from course_lib.qtensor import quantize
from course_lib.viz.plots import codes as pictures
from tests.tiny import llama

# SHA-256 of all 65,536 levels as float32, and five of them: states 0, 1, 2, 12345, 65535. Made by running decode_1mad
# and decode_3inst of Cornell-RelaxML/qtip (lib/codebook/bitshift.py, e90c668) and, of turboderp-org/exllamav3,
# _decode_lut (exl3_triton.py, 361f222) for mcg and mul1_codebook (ngram_codec.py) for mul1.
THEIRS = {
    "1mad": (
        "ad576609c75b73bdf51f9d934c24aa514e155891cb5166d3befe6951a696d10d",
        [-1.251686930656433, -0.8389685153961182, -0.4262501299381256, 0.02029762603342533, 0.41271838545799255],
    ),
    "3inst": (
        "0540d77c8b460a6a2c9c8441594e2810736c34745a6783488787ce1c03b927ec",
        [0.76806640625, -0.91943359375, 0.931640625, 1.0869140625, -0.158203125],
    ),
    "mcg": (
        "e62151bdd0c5af56543ea62fea1f461374cf04677811e7266e24ec7577884130",
        [1.84375, 0.134521484375, -0.75927734375, -0.40673828125, 0.85009765625],
    ),
    "mul1": (
        "533d7e19d43a60ddfee2a5e77279a3fdb33b652337f0768f84f441250e777e52",
        [-3.453125, 0.64111328125, -0.448486328125, -1.4091796875, -0.6513671875],
    ),
}


RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sha(t, dtype):
    return hashlib.sha256(t.numpy().astype(dtype).tobytes()).hexdigest()


@pytest.mark.parametrize("code", THEIRS)
def test_the_levels_are_theirs_bit_for_bit(code):
    table = codes.levels(code, 16)
    whole, some = THEIRS[code]
    assert table[[0, 1, 2, 12345, 65535]].tolist() == some
    assert sha(table, "<f4") == whole
    assert torch.equal(codes.levels(code, 10), table[: 2**10])  # a narrower state is a smaller number


# SHA-256 of the big-endian words of quantize and pack_trellis of QTIP's bitshift_codebook(L, K, V=1, "1mad"), CPU
@pytest.mark.parametrize(
    "L, bits, whole, first",
    [
        (
            10,
            2,
            "28b57293a59d005d076104dce372a1e9ad4f5169e9e3c863f18ae61fb620ceab",
            [59376, 15717, 60286, 48022, 893, 20758],
        ),
        (
            8,
            3,
            "5232ad8ca11ab3b78ef430dbe297e2bc02098417d64df9a142d600e22a2cccbe",
            [3973, 12618, 31266, 31584, 6547, 23411],
        ),
    ],
)
def test_the_same_path_in_the_same_bytes_as_qtips_code(L, bits, whole, first):
    i = torch.arange(6 * 256)
    x = (((i * i * 31 + 7 * i) % 1021 - 510) / 256).view(6, 256)  # exact in float16, to which QTIP rounds
    packed = codes.pack(codes.encode(x, codes.levels("1mad", L), bits), bits, L)
    words = packed[0, ::2].int() * 256 + packed[0, 1::2]
    assert words[:6].tolist() == first
    assert sha(packed, "u1") == whole


def every_path(L, bits, T):
    """All states (paths, T) of a trellis."""
    news = torch.tensor(list(itertools.product(range(2**bits), repeat=T - 1)))
    paths = torch.arange(2**L).repeat_interleave(len(news))[:, None]
    for new in news.repeat(2**L, 1).T:
        paths = torch.cat([paths, (paths[:, -1:] << bits) % 2**L + new[:, None]], 1)
    return paths


@pytest.mark.parametrize("L, bits, T", [(2, 1, 8), (4, 1, 8), (3, 2, 5), (4, 2, 5), (4, 3, 4), (5, 1, 6)])
def test_viterbi_finds_the_best_of_all_paths(L, bits, T):
    table, x = randn(1, 2**L), randn(2, 30, T)
    paths = every_path(L, bits, T)
    errors = (table[paths][None] - x[:, None]).square().sum(2)  # (sequences, paths)
    free = codes.encode(x, table, bits, tail_biting=False)
    assert torch.allclose((table[free] - x).square().sum(1), errors.min(1).values, atol=1e-5)
    ring = paths[:, -1] % 2 ** (L - bits) == paths[:, 0] >> bits
    for shared in range(2 ** (L - bits)):
        mine = codes.viterbi(x, table, bits, codes.room(T), torch.full((30,), shared))
        assert (mine[:, 0] >> bits == shared).all() and (mine[:, -1] % 2 ** (L - bits) == shared).all()
        some = ring & (paths[:, 0] >> bits == shared)
        assert torch.allclose((table[mine] - x).square().sum(1), errors[:, some].min(1).values, atol=1e-5)
    two_passes = (table[codes.encode(x, table, bits)] - x).square().sum(1)
    best = errors[:, ring].min(1).values
    assert (two_passes >= best - 1e-5).all()
    if T * bits >= 2 * L:  # short of that the free path's middle knows too little of the ring
        assert (two_passes < best + 1e-5).float().mean() >= 0.5


@pytest.mark.parametrize("L, bits, T", [(8, 2, 256), (10, 3, 256), (12, 1, 64), (6, 4, 2), (9, 5, 8)])
def test_states_follow_by_shifts_and_come_back_from_their_bytes(L, bits, T):
    states = codes.encode(randn(3, 5, T), codes.levels("1mad", L), bits)
    assert ((states << bits) % 2**L == states.roll(-1, 1) >> bits << bits).all()
    packed = codes.pack(states, bits, L)
    assert packed.dtype == torch.uint8 and packed.shape == (5, T * bits // 8)
    assert torch.equal(codes.unpack(packed, bits, L), states)
    anything = torch.randint(0, 256, (4, T * bits // 8), dtype=torch.uint8)  # every stream is one
    assert torch.equal(codes.pack(codes.unpack(anything, bits, L), bits, L), anything)


def test_one_bit_of_the_stream_moves_only_the_windows_that_hold_it():
    packed = torch.zeros(1, 64, dtype=torch.uint8)
    before = codes.unpack(packed, 2, 16)
    packed[0, 20] ^= 1  # bit 20·8 + 7 = 167: windows 2t … 2t + 15 with 76 ≤ t ≤ 83
    changed = (codes.unpack(packed, 2, 16) != before)[0].nonzero().flatten()
    assert changed.tolist() == list(range(76, 84))


def mse(L, bits, sequences, code="1mad"):
    table, x = codes.levels(code, L), randn(4, sequences, 256)
    size = trellis.GAIN * table.square().mean().sqrt()
    error = (table[codes.encode(x * size, table, bits)] / size - x).square().mean(1)
    return error.mean().item(), (error.std() / sequences**0.5).item()


def test_more_states_less_error_and_never_below_shannon():
    by_L = [mse(L, 2, 32)[0] for L in (4, 6, 8, 10)]
    assert by_L == sorted(by_L, reverse=True)
    for bits in (1, 2, 3):
        found, stderr = mse(8, bits, 32)
        assert points.bound(bits) < found - 4 * stderr
    assert by_L[-1] < 0.1175 - 0.03  # what the best four levels leave


@pytest.mark.parametrize("code", ["1mad", "3inst"])
def test_the_distortion_is_the_published_one(code):
    """0.069 at two bits for both, QTIP, table 1."""
    found, stderr = mse(16, 2, 10, code)
    assert abs(found - 0.069) < 4 * stderr + 0.0005  # half a unit of the last digit
    assert found + 4 * stderr < 0.089  # QuIP#'s points, by the same table


def test_what_chapter_15_says_of_the_recorded_rows():
    found = json.loads((RESULTS / "trellis.json").read_text(encoding="utf-8"))["results"]
    qat = json.loads((RESULTS / "qat.json").read_text(encoding="utf-8"))["results"]
    scanner = qat["int2 g64"]["gptq"]["bytes"]
    two = found["model"]["trellis, 2 bits, L=10"]
    others = [*qat["int2 g64"].values()]
    if (RESULTS / "autoround.json").exists():  # the section before it
        rounded = json.loads((RESULTS / "autoround.json").read_text(encoding="utf-8"))["results"]
        others += rounded["int2 g64"].values()
    others += [row for name, row in found["model"].items() if name.startswith("ggml IQ2")]
    for row in others:  # "the least KL, fewer bytes, a few replies that are right"
        assert all(two[f"kl_{d}"] < row[f"kl_{d}"] - 2 * row[f"kl_{d}_stderr"] for d in ("prose", "code", "task"))
        assert two["bytes"] < row["bytes"] and two["exact"] > row["exact"]
    small = (f"{name}, embeddings int8" for name in ("trellis, 3 bits, L=10", "gptq, int3 channel"))
    more = found["model"]["trellis, 2 bits, k, v, o in 3, L=10"]
    assert more["bytes"] < scanner and more["exact"] > two["exact"]
    three, control = (found["model"][name] for name in small)
    assert max(three["bytes"], control["bytes"]) < scanner and abs(three["bytes"] / control["bytes"] - 1) < 0.02
    assert three["exact"] >= qat["16 bits"]["exact"] - 4 and three["exact"] > control["exact"] + 10
    gaussian = found["gaussian"]
    for bits in (1, 2, 3, 4):  # every code stands above the bound, and the longest trellis nearest to it
        rows = {name: row for name, row in gaussian.items() if row["bits"] == bits}
        assert all(row["mse"] > points.bound(bits) for row in rows.values())
        others = min(row["mse"] for name, row in rows.items() if "L=16" not in name)
        assert rows[f"trellis 1mad L=16, {bits} bits"]["mse"] < others
    assert gaussian["E8, 65,536 points, 2 bits"]["mse"] == pytest.approx(0.089, abs=0.004)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: codes.levels("2mad", 16), "code must be one of '1mad'"),
        (lambda: codes.levels("1mad", 17), "L must be a whole number of bits from 2 to 16, got 17"),
        (lambda: codes.encode(randn(0, 2, 16), randn(0, 12), 2), r"2\^L levels"),
        (lambda: codes.encode(randn(0, 2, 16), randn(0, 16), 4), "from 1 to 3, below L = 4, got 4"),
        (lambda: codes.encode(randn(0, 16), randn(0, 16), 2), r"sequences \(n, T\)"),
        (lambda: codes.encode(torch.ones(1, 8) / 0, randn(0, 16), 2), "finite"),
        (lambda: codes.encode(randn(0, 2, 4), randn(0, 1024), 2), "at least L = 10 bits, got 4 weights of 2"),
        (lambda: codes.pack(torch.tensor([[0, 3, 2, 0]]), 2, 3), "share 1 bits with their neighbours"),
        (lambda: codes.pack(torch.tensor([[0, 0, 0]]), 2, 3), "multiple of 8"),
        (lambda: codes.unpack(torch.zeros(2, 3), 2, 3), "must be bytes"),
        (lambda: by_trellis(randn(0, 48, 64), torch.eye(64), 2), "powers of two"),
        (lambda: by_trellis(randn(0, 64, 64), torch.eye(32), 2), r"\(64, 64\), w's columns, got \(32, 32\)"),
        (lambda: by_trellis(randn(0, 64, 64), torch.zeros(64, 64), 2, L=6), "positive definite"),
    ],
)
def test_bad_input_gets_one_sentence(call, said):
    with pytest.raises(ValueError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


def test_with_one_column_and_a_scalar_quantizer_the_feedback_is_gptqs():
    w, scheme = randn(5, 12, 40), Scheme.int(3)
    H = hessian(randn(6, 100, 40) @ randn(7, 40, 40))
    step = quantize(w, scheme).step
    found = block_ldlq(w, H, lambda part: step * (part / step).round().clamp(-3, 3), 1)
    assert torch.allclose(found, gptq(w, H, scheme, static_groups=True).dequantize(), atol=1e-5)


def test_feedback_over_tiles_lessens_the_error_of_the_outputs():
    x = randn(8, 400, 64) @ randn(9, 64, 64)
    w, H = randn(10, 32, 64), hessian(x)
    blind = by_trellis(w, H.diagonal().mean() * torch.eye(64), 2, L=8)
    seeing = by_trellis(w, H, 2, L=8)
    lost = [((w - q.dequantize()) @ x.T).square().mean().item() for q in (blind, seeing)]
    assert lost[1] < 0.8 * lost[0]


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_a_weight_is_decoded_from_its_bytes_alone(bits):
    w = 0.03 * randn(11, 64, 128) + 0.2 * (torch.arange(128) == 5)  # a loud column, which the rotation spreads
    q = by_trellis(w, torch.eye(128), bits, L=8)
    assert q.nbytes == 64 * 128 * bits // 8 + (64 + 128) // 8 + 4
    assert q.bits_per_weight == 8 * q.nbytes / w.numel()
    again = TrellisWeight(q.packed.clone(), q.signs.clone(), q.scale.clone(), (64, 128), bits, "1mad", 8)
    assert torch.equal(again.dequantize(), q.dequantize())
    share = ((w - q.dequantize()).square().mean() / w.square().mean()).item()
    assert points.bound(bits) < share < 1.25 * mse(8, bits, 40)[0]
    for name, flipped in (("packed", q.packed ^ 1), ("signs", q.signs ^ 1)):
        assert not torch.equal(TrellisWeight(**(vars(q) | {name: flipped})).dequantize(), q.dequantize())


def test_zeros_stay_zeros():
    assert not by_trellis(torch.zeros(16, 32), torch.eye(32), 2, L=6).dequantize().any()


def test_a_model_holds_the_bytes_and_generates():
    model = llama(num_hidden_layers=1)
    before = {name: p.clone() for name, p in model.named_parameters()}
    batches = [torch.randint(0, model.config.vocab_size, (4, 32), generator=torch.Generator().manual_seed(0))]
    small = trellis_model(model, batches, lambda name: 3 if name.endswith("down_proj") else 2, L=6, progress=False)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    held = calibrate.quantized(small)
    assert {q.bits for name, q in held.items() if name.endswith("down_proj")} == {3}
    stored = sum(t.numel() * t.element_size() for q in held.values() for t in (q.packed, q.signs, q.scale))
    assert calibrate.model_bytes(small) == stored + 2 * sum(p.numel() for p in small.parameters())
    tokens = batches[0][:1, :8]
    assert small.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0).shape == (1, 12)
    with pytest.raises(ValueError, match="q_proj: .*powers of two"):
        trellis_model(llama(hidden_size=48, head_dim=12, num_hidden_layers=1), batches, L=6, progress=False)


MAX = {1: (0.3634, 0.3634), 2: (0.1188, 0.1175), 3: (0.03744, 0.03454), 4: (0.01154, 0.009497)}  # uniform, best; 1960


@pytest.mark.parametrize("bits", MAX)
def test_scalar_codes_are_those_of_max(bits):
    x = randn(12, 60_000)
    even = points.uniform(x, 2**bits)
    best = points.lloyd(x[:, None], even, 40)
    for found, published in zip((even, best), MAX[bits], strict=True):
        assert len(found) == 2**bits
        assert points.distortion(x[:, None], found) == pytest.approx(published, rel=0.03)


def test_lloyd_never_makes_it_worse_and_e8_is_e8():
    x, now = randn(13, 3000, 2), randn(14, 16, 2)
    errors = []
    for _ in range(12):
        errors.append(points.distortion(x, now))
        now = points.lloyd(x, now, 1)
    assert all(b <= a + 1e-7 for a, b in itertools.pairwise(errors)) and errors[-1] < 0.12
    lattice = points.e8(2401)
    assert [int(n) for n in lattice.square().sum(1).unique(return_counts=True)[1]] == [
        1,
        240,
        2160,
    ]  # Conway and Sloane
    roots = lattice[1:241]
    assert torch.equal((roots @ roots.T).round(), roots @ roots.T)  # whole scalar products: it is a lattice of its dual
    period = 2 * torch.rand(1500, 8, generator=torch.Generator().manual_seed(0)) - 1
    second = points.distortion(period, points.e8(56_881))  # all of length² up to 10
    assert second == pytest.approx(929 / 12960, rel=0.03)  # E8's normalized second moment, and a grid's is 1/12
    with pytest.raises(ValueError, match="65,536 points"):
        points.e8(2**17)
    with pytest.raises(ValueError, match="one d"):
        points.nearest(torch.zeros(2, 3), torch.zeros(2, 2))


def test_the_picture_shows_every_line_and_the_path_at_its_levels():
    table, states = [0.6, -0.9, -0.5, 1.3], [1, 2, 1, 3, 2]
    scene = pictures.path([0.0] * 5, table, 1, states)
    faint = [mark for mark in scene.marks if mark.kind == "path" and mark.look.get("color") == "faint"]
    assert len(faint) == 4 * 4 * 2  # gaps · states · lines out of each
    (way,) = [mark.at for mark in scene.marks if mark.kind == "path" and mark.look.get("width") == 3]
    heights = {s: {y for (_, y), t in zip(way, states, strict=True) if t == s} for s in set(states)}
    assert all(len(y) == 1 for y in heights.values())
    assert [s for s, _ in sorted(heights.items(), key=lambda item: item[1].pop())] == [
        3,
        2,
        1,
    ]  # the highest level first
    drawn = {(a, b) for mark in faint for a, b in [mark.at]}
    assert all(step in drawn for step in itertools.pairwise(way))


def test_points_and_distances_are_drawn_where_they_are():
    sets = {"a grid": points.lloyd(randn(15, 60, 2), randn(16, 16, 2)), "others": randn(17, 9, 2)}
    figure = pictures.plane(randn(18, 50, 2), sets)
    for axes, (name, found) in zip(figure.axes, sets.items(), strict=True):
        assert axes.get_title(loc="left") == name
        assert torch.allclose(torch.tensor(axes.lines[0].get_xydata()).float(), found)
    (axes,) = pictures.distances({"one": [(1, 0.4), (2, 0.2)], "two": [(2, 0.07)]}).axes
    assert [line.get_ydata()[-1] for line in axes.lines] == pytest.approx([0.2 * 16, 0.07 * 16, 1.0])
