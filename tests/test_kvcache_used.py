"""QuantizedKVCache's codes read by a kernel: the stores agree, and a model says what it says over decoded keys."""

import copy

import pytest
import torch

from course_lib import models
from course_lib.kernels import ON_GPU, dispatch
from course_lib.kvcache import KVFormat, QuantizedKVCache, attend
from course_lib.kvcache.page_store import PageStore, joined, why_not
from course_lib.kvcache.store import store

DEVICE = "cuda" if ON_GPU else "cpu"
FORMATS = {
    "fp8": KVFormat("fp8", group=64, residual=4, scale=0.05),
    "fp8 measured": KVFormat("fp8", group=64, residual=0, scale=None),
    "int8": KVFormat("int8", group=64, residual=4, sinks=2),
    "int4": KVFormat("int4", group=64, residual=4, sinks=2),
}


@pytest.fixture(scope="module")
def bot():
    """The bundled model's first two blocks."""
    model, tokenizer = models.load("bundled", dtype=torch.float32)
    model.model.layers, model.config.num_hidden_layers = model.model.layers[:2], 2
    return model.to(DEVICE), tokenizer


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("axis", ["keys", "values"])
def test_pages_hold_what_the_other_stores_hold(name, axis):
    torch.manual_seed(0)
    format = FORMATS[name]
    pages, plain = PageStore(format, axis), store(format, "channel" if axis == "keys" else "token")
    x = (torch.randn(2, 3, 5 * format.group, 64) + 3 * torch.randn(64)).to(DEVICE)
    x[0, 0, :, :8], x[1, 1, : format.group] = 0.25, 0.0  # channels and tokens of equal numbers
    for part in x.split([format.group, 3 * format.group, format.group], 2):
        pages.append(part)
        plain.append(part)
    assert pages.tokens == plain.tokens == x.shape[2]
    torch.testing.assert_close(pages.decode(), plain.decode(), atol=1e-5, rtol=1e-5)
    for kept in (pages, plain):
        kept.each(lambda t: t.flip(0))
        kept.cut(3 * format.group)
    torch.testing.assert_close(pages.decode(), plain.decode(), atol=1e-5, rtol=1e-5)
    pages.append(x[:, :, : format.group])
    plain.append(x[:, :, : format.group])
    torch.testing.assert_close(pages.decode(), plain.decode(), atol=1e-5, rtol=1e-5)


def test_room_doubles_and_a_table_skips_what_is_empty():
    format = FORMATS["int8"]
    keys, values = PageStore(format, "keys"), PageStore(format, "values")
    for _ in range(3):
        for kept in (keys, values):
            kept.append(torch.randn(2, 1, 64, 64))
    pages = joined(keys, values)
    assert keys.held[0].shape[1] == 4 and pages.table.tolist() == [[0, 1, 2], [4, 5, 6]]
    assert pages.lengths.tolist() == [192, 192]


@pytest.mark.parametrize(
    "format, dim, reason",
    [
        (KVFormat("int2"), 64, "no kernel for int2"),
        (KVFormat("int4", group=24), 64, "power of two"),
        (KVFormat("int4", group=64), 80, "have 80"),
        (KVFormat("int4", group=64), 32, "at least 64 channels"),
        (KVFormat("int4", group=64, key_axis="token"), 64, "keys must have scales per channel"),
        (KVFormat("int4", group=32), 64, "has 2: group=64"),
        (KVFormat("int4", group=128), 64, ""),
        (KVFormat("fp8", group=32), 128, ""),
    ],
)
def test_what_pages_cannot_hold_has_its_reason(format, dim, reason):
    assert reason in why_not(format, dim) and bool(reason) == bool(why_not(format, dim))


def steps(model, tokens, cache, start):
    """Logits (batch, steps, vocabulary) of a prompt, then of one token at a time; and what attended, step by step."""
    with torch.no_grad():
        out = [model(input_ids=tokens[:, :start], past_key_values=cache).logits[:, -1]]
        ran = [cache.ran]
        for i in range(start, tokens.shape[1]):
            out.append(model(input_ids=tokens[:, i : i + 1], past_key_values=cache).logits[:, -1])
            ran.append(cache.ran)
    return torch.stack(out, 1), ran


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_over_pages_says_what_it_says_over_decoded_keys(bot, name):
    model = copy.deepcopy(bot[0])
    torch.manual_seed(0)
    tokens = torch.randint(1, 1024, (2, 139), device=DEVICE)
    with dispatch.prefer("reference"):
        wanted, ran = steps(model, tokens, QuantizedKVCache(model.config, FORMATS[name]), 136)
    assert {said for row in ran for said in row} == {"reference, because it was asked for"}
    with dispatch.prefer("kernels"):
        cache = QuantizedKVCache(model.config, FORMATS[name])
        assert model.config._attn_implementation == attend.NAME
        got, ran = steps(model, tokens, cache, 136)
    assert ran[0] == 2 * ["reference, because several tokens came at a time"]
    assert all(row == 2 * ["kv.decode_attention"] for row in ran[1:])
    # float16 holds key − zero to 2^-11 of the larger, on both sides of every product
    assert (got - wanted).abs().max() <= 2**-9 * wanted.abs().max()
    plain = QuantizedKVCache(model.config.to_dict(), FORMATS[name])
    _, ran = steps(model, tokens, plain, 139)
    assert ON_GPU or ran == [2 * ["reference, because x is on the CPU"]]
    for mine, other in zip(cache.layers, plain.layers, strict=True):  # the same tokens moved into the stores
        assert mine.stores[0].tokens == other.stores[0].tokens > 0
        torch.testing.assert_close(mine.decoded()[1], other.decoded()[1], atol=0.1, rtol=0.1)


def test_what_a_kernel_cannot_take_goes_the_old_way(bot):
    model, tokenizer = bot[0], bot[1]
    model = copy.deepcopy(model)
    batch = tokenizer(["The customer asks for", "A refund"], padding=True, padding_side="left", return_tensors="pt")
    how = dict(max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0)
    format = KVFormat("fp8", group=16, residual=0, scale=0.05)
    long = {k: torch.cat([v] * 9, 1).to(DEVICE) for k, v in batch.items()}
    with dispatch.prefer("reference"):
        wanted = model.generate(**long, past_key_values=QuantizedKVCache(model.config, format), **how)
    with dispatch.prefer("kernels"):
        cache = QuantizedKVCache(model.config, format)
        got = model.generate(**long, past_key_values=cache, **how)
        assert cache.ran == 2 * ["reference, because the batch is padded"]
        assert torch.equal(got, wanted)
        other = QuantizedKVCache(model.config.to_dict(), format)
        model.generate(**long, past_key_values=other, **how)
        assert "was not made with the config" in other.ran[0]
        int2 = QuantizedKVCache(model.config, "int2", residual=0)
        model.generate(**long, past_key_values=int2, **how)
        assert int2.ran[0] == "reference, because there is no kernel for int2"


def test_generate_over_pages_crops_and_reorders(bot):
    """Beams reorder the pages; afterwards cropping decodes into the window."""
    model, tokenizer = copy.deepcopy(bot[0]), bot[1]
    ids = torch.cat([tokenizer("The customer asks for a refund", return_tensors="pt").input_ids] * 6, 1).to(DEVICE)
    format = KVFormat("fp8", group=16, residual=0, scale=0.05)
    how = dict(max_new_tokens=3, min_new_tokens=3, do_sample=False, num_beams=2, pad_token_id=0)
    with dispatch.prefer("reference"):
        wanted = model.generate(ids, past_key_values=QuantizedKVCache(model.config, format), **how)
    with dispatch.prefer("kernels"):
        cache = QuantizedKVCache(model.config, format)
        got = model.generate(ids, past_key_values=cache, **how)
        assert cache.ran == 2 * ["kv.decode_attention"]
    assert torch.equal(got, wanted)
    before = cache.decoded(0)[0]
    cache.crop(20 - cache.get_seq_length())
    torch.testing.assert_close(cache.decoded(0)[0], before[:, :, :20])


def test_with_lse_joins_two_parts_of_the_tokens():
    torch.manual_seed(0)
    q = torch.randn(2, 4, 64, device=DEVICE)
    keys, values = torch.randn(2, 2, 2, 40, 64, device=DEVICE)
    whole, top = attend.dense(q, keys, values)
    parts = [attend.dense(q, keys[:, :, part], values[:, :, part]) for part in (slice(0, 7), slice(7, 40))]
    joined = torch.logaddexp2(parts[0][1], parts[1][1])
    torch.testing.assert_close(joined, top)
    torch.testing.assert_close(sum(torch.exp2(lse - joined)[..., None] * o for o, lse in parts), whole)
