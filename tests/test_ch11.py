"""Chapter 11's own: references against the library, the source's numbers, the explorer, warm-ups, *mine*."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch

from course_lib import kvcache
from course_lib.checks import pieces
from course_lib.checks.ch11 import cache_bytes, crossover, leave, pages, saved, squeeze
from course_lib.checks.ch11 import mine as recipe
from course_lib.kvcache import MODELS, KVFormat, QuantizedKVCache, attention
from course_lib.kvcache.store import round_trip
from course_lib.viz import explorers
from course_lib.viz.explorers import ch11_requests
from course_lib.viz.plots import ch11

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "11-kv-cache.ipynb"


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch11-{name}"))


def printed(source):
    space = {"torch": torch, "kvcache": kvcache, "kv_bytes": kvcache.kv_bytes, "KVFormat": KVFormat,
             "matrices": 7504658432, "llama": MODELS["llama-3-8b"].config,
             "config": MODELS["llama-3.1-8b"].config}  # fmt: skip
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, space)
    return out.getvalue()


# the exercises' references, against the library


@pytest.mark.parametrize("name", ["llama-2-7b", "qwen2.5-7b", "falcon-7b", "deepseek-v3", "gpt-oss-20b", "gemma-3-27b"])
@pytest.mark.parametrize("tokens", [1, 100, 5000])
def test_cache_bytes_is_kv_bytes(name, tokens):
    config = MODELS[name].config
    plain = []
    for layer in kvcache.layers(config):
        keeps = {"rank": 512, "rope": 64} if layer.attention == "MLA" else {
            "kv_heads": layer.kv_heads, "head_dim": layer.key_dim}  # fmt: skip
        plain.append({"heads": 128, "window": layer.cap} | keeps)
    assert cache_bytes.reference(plain, tokens, 3) == kvcache.kv_bytes(config, tokens, 3)


@pytest.mark.parametrize("lengths, shared, block", [([17, 40], 0, 16), ([40, 40], 20, 16), ([600, 700, 650], 512, 16)])
def test_pages_is_the_library_s(lengths, shared, block):
    config = MODELS["llama-3-8b"].config
    used = kvcache.paged_bytes(config, lengths, block, shared=shared)
    assert pages.reference(lengths, shared, block) * kvcache.block_bytes(config, block) == used


@pytest.mark.parametrize("per", ["channel", "token"])
@pytest.mark.parametrize("b", [2, 4, 8])
def test_squeeze_is_the_store_with_float16_ranges(per, b):
    x = randn(b, 32, 64) + 2
    stored = round_trip(x[None, None], KVFormat(f"int{b}", group=64 if per == "token" else 32), per)[0, 0]
    step = float((x.max() - x.min()) / (2**b - 1))
    off = (squeeze.reference(x, b, per) - stored).abs()
    assert float((off > 0.01).float().mean()) < 0.05 and off.max() < 1.1 * step  # a code may tip over


def test_leave_is_the_split_of_the_format():
    format = KVFormat("int2", group=32, residual=40)
    for n in range(0, 300, 7):
        leaving, staying = leave.reference(torch.zeros(n, 2), 40, 32)
        assert (0, len(leaving), len(staying)) == format.split(n)


def test_crossover_is_the_library_s():
    for bits, kv_bits, want in ((16, 16, 114_512), (4.5, 16, 32_207), (4.5, 3, 171_768)):
        tokens = crossover.reference(7_504_658_432, bits, 65_536, kv_bits)
        assert (
            tokens == want == kvcache.crossover_tokens(MODELS["llama-3-8b"].config, 7_504_658_432 * bits / 8, kv_bits)
        )


def test_the_claim_follows_from_the_table():
    v2, older = (MODELS[name].config for name in ("deepseek-v2", "deepseek-67b"))
    shape = dict(num_hidden_layers=60, num_attention_heads=128, num_key_value_heads=128, head_dim=128)
    for key, other in (("same_shape", shape), ("other_model", older)):
        share = 100 * (1 - kvcache.bytes_per_token(v2) / kvcache.bytes_per_token(other))
        assert saved.reference[key] == pytest.approx(share, abs=0.006)
    assert round(100 * (1 - kvcache.bytes_per_token(v2, 6) / kvcache.bytes_per_token(older)), 1) == 93.3
    said = {n: f"{100 * (1 - kvcache.bytes_per_token(v2, n) / kvcache.bytes_per_token(older)):.1f} %" for n in (8, 4)}
    assert said == {8: "91.1 %", 4: "95.6 %"}  # as the check tells who wrote 8 or 4


# what the text says


def test_the_source_s_two_numbers():
    assert printed(cell("seed")).strip() == "weights at 4 bits: 3.3 GiB. KV cache at 16 bits: 32.0 GiB"


def test_the_log_agrees_and_sharing_helps():
    lines = printed(cell("vllm")).splitlines()
    assert lines[0] == "a block of 16 tokens: 2,097,152 bytes"
    for line in lines[1:]:
        assert line.split()[1] == line.split()[-2]
    numbers = [
        int(line.split()[-1 if "customers" not in line else -2]) for line in printed(cell("concurrency")).splitlines()
    ]
    assert numbers[0] < numbers[1] < numbers[2]


def test_the_formula_is_right_for_one_of_five():
    times = [float(line.rsplit(", ", 1)[1].split()[0]) for line in printed(cell("formula")).splitlines()]
    assert [t == 1.0 for t in times] == [True, False, False, False, False]


def test_alone_it_buys_five_percent_at_best():
    one, many = printed(cell("batch-one")).splitlines()
    assert "at best 1.05 times" in one and "at best 2.09 times" in many


def test_fp8_is_off_at_both_ends_unless_the_scale_is_measured():
    lines = printed(cell("fp8")).splitlines()
    fixed = [float(line.split("off by")[1].split("%")[0]) for line in lines]
    measured = [float(line.split("by")[-1].split("%")[0]) for line in lines]
    assert max(measured) - min(measured) < 0.2
    assert fixed[0] > 1.5 * measured[0] and fixed[3] > 10 * measured[3] and fixed[1] == measured[1]


def test_keys_want_channels_and_values_tokens():
    space = {"mine": type("M", (), {"pieces": staticmethod(pieces.references)})}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(cell("squeeze-after"), {"torch": torch, "attention": attention} | space)
    shares = [float(line.rsplit(" ", 1)[1].rstrip("%")) for line in out.getvalue().splitlines()[1:]]
    assert shares[1] > 3 * shares[0] and shares[2] > 1.5 * shares[3]


# the explorer


def test_what_the_tasks_promise():
    explorer = explorers.attention()
    token, channel = (explorer.numbers("int2", axis, 0) for axis in ("token", "channel"))
    loud = token.keys.mean(0).argsort()[-3:]
    halves = {int(c) // 32 for c in loud}
    assert halves == {1}, "the three loud channels lie in one group of 32"
    off = token.off.mean(0)
    quiet = [c for c in range(32, 64) if c not in loud]
    assert off[quiet].min() > 3 * off[:32].max()
    assert channel.shares["channel"] < 0.5 * token.shares["token"]
    assert explorer.numbers("int2", "token", 64).shares["token"] > token.shares["token"]


@pytest.mark.parametrize("bits", ["int2", "int4", "int8", "fp8"])
def test_the_explorer_s_figures_are_those_of_the_outcome(bits):
    explorer = explorers.attention(bits=bits)
    for axis in ("channel", "token"):
        n = explorer.numbers(bits, axis, 32)
        found = attention.outcome(attention.planted(), KVFormat(bits, key_axis=axis, residual=32, scale=None))
        assert n.shares[axis] == pytest.approx(100 * found.weight_error)
        assert (n.off[-32:] == 0).all() and n.moved.shape == (128, 128)
        sentence = explorer.sentence(n)
        assert sentence.endswith(".") and ("one scale for all" in sentence) == (bits == "fp8")


def test_the_explorer_takes_a_real_head_and_refuses_others():
    s = attention.planted(tokens=64, dim=32, loud=0)
    assert explorers.attention(s).numbers("int4", "channel", 0).keys.shape == (64, 32)
    for bad in (torch.ones(3), attention.planted(tokens=40)):
        with pytest.raises(ValueError, match=r"attention\(sample\)"):
            explorers.attention(bad)


def test_the_plots_say_their_numbers():
    figure = ch11.growth({"a": [(0, 0.0), (131072, 16.0)]}, ("weights", 15.0))
    assert {"a, 16", "weights"} <= {t.get_text() for t in figure.axes[0].texts}
    figure = ch11.axes_of_keys({"x": {"channel": 0.01, "token": 1.0}})
    assert [t.get_text() for t in figure.axes[0].texts] == ["per channel 0.01", "per token 1"]


# mine


def test_a_learner_s_cache_is_the_library_s_with_ranges_in_full_precision():
    functions = pieces.references()
    mine = recipe.make_cache(functions, layers=1)
    config = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=64)
    ours = QuantizedKVCache(config, "int2", residual=recipe.WINDOW)
    k, v = randn(0, 2, 2, 150, 32), randn(1, 2, 2, 150, 32)
    for a, b in zip(k.split([100, 1, 49], 2), v.split([100, 1, 49], 2), strict=True):
        seen, library = mine.update(a, b, 0), ours.update(a, b, 0)
        assert mine.get_seq_length() == ours.get_seq_length()
    for x, y in zip(seen, library, strict=True):
        assert x.shape == y.shape and torch.equal(x[:, :, -49:], y[:, :, -49:])
        assert float(((x - y).abs() > 0.05).float().mean()) < 0.01
    assert not torch.equal(seen[0][:, :, :64], k[:, :, :64])


def test_broken_pieces_are_said_and_replaced(monkeypatch):
    own = pieces.references()
    own.functions = own.functions | {"leave": lambda recent, window, block: recent[0, 0, 0, 0, 0]}
    own.whose = own.whose | {"leave": "yours"}
    monkeypatch.setattr(recipe.pieces, "load", lambda: own)
    calls = []
    real = recipe.measure

    def measured(functions):
        calls.append(functions)
        recipe.make_cache(functions, 1).update(randn(0, 1, 1, 70, 4), randn(1, 1, 1, 70, 4), 0)
        return kvcache_result(), 1

    monkeypatch.setattr(recipe, "measure", measured)
    assert real is not measured
    run = recipe.RECIPE()
    assert len(calls) == 2 and set(run.whose.values()) == {"the course's"}
    assert "the course's were used" in run.notes[0] and "KL" in run.text() and "KL" in run.html()


def kvcache_result():
    from course_lib.evaluate import CacheComparison

    return CacheComparison(0.01, 0.001, 0.95, 10)


# warm-ups


def test_the_hints_compute_what_they_say():
    gqa = [{"heads": 4, "kv_heads": 2, "head_dim": 8, "window": None}]
    assert cache_bytes.reference(gqa, 10, 1) == 640
    assert pages.reference([40, 40], 20, 16) == 5
    leaving, staying = leave.reference(torch.zeros(15, 1), 4, 2)
    assert (len(leaving), len(staying)) == (10, 5)
    assert crossover.reference(10, 4, 3, 16) == 1
    column = torch.tensor([[0.0], [1.0], [2.2], [3.0]])
    assert squeeze.reference(column, 2, "channel").flatten().tolist() == [0, 1, 2, 3]


# pages at work


def test_what_the_pages_explorer_s_tasks_promise():
    shared, own = (ch11_requests.history(16, share) for share in (True, False))
    assert (shared[40].texts, own[40].texts) == (17, 8)
    assert (shared[100].finished, own[100].finished, shared[100].reserved_finished) == (65, 21, 11)
    middle = {block: ch11_requests.history(block, True)[20:] for block in (4, 8, 16, 32, 64)}
    empty = [sum(m.empty for m in moments) for moments in middle.values()]
    assert empty == sorted(empty) and [72 // block * block for block in (64, 4)] == [64, 72]
    assert [sum(m.texts for m in moments) for moments in middle.values()] == sorted(
        (sum(m.texts for m in moments) for moments in middle.values()), reverse=True
    )
    assert [page for page in shared[7].pages if page[1] == 2 and page[2] < 16] == [("H", 2, 12)]
    assert [page for page in shared[8].pages if page[0] == "H" and page[2] < 16] == [("H", 1, 13)] * 2


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("block", [4, 16, 64])
def test_each_moment_holds_what_it_says(block, share):
    asked = ch11_requests.requests()
    assert max(len(r.prompt) + r.reply for r in asked) <= ch11_requests.LONGEST
    for m in ch11_requests.history(block, share):
        assert len(m.pages) * block == ch11_requests.MEMORY and 0 <= m.empty < 1 and 0 <= m.reserved_empty < 1
        assert all(0 <= tokens <= block and (users > 0) == (tokens > 0) for _, users, tokens in m.pages)
        assert m.share or m.shared == 0
        assert len(m.reserved) <= ch11_requests.MEMORY // ch11_requests.LONGEST
        began = sum(r.replies for r in asked[: m.step + 1])
        assert m.finished + m.texts <= began and m.finished + m.texts + 2 * m.waiting >= began


def test_a_still_picture_has_a_mark_for_every_page():
    explorer = explorers.pages(step=40, block=16)
    scene = explorer.frame()[1]
    taken = explorer.numbers(40, 16, True)
    tips = [mark.look["text"] for mark in scene.marks if mark.kind == "tip"]
    assert len(tips) == taken.taken + len(taken.reserved)
    assert sum(f"{users} texts" in tip for tip in tips for users in [17]) == 4, "72 tokens are four whole pages"
