"""QuantizedKVCache: exact where it rounds nothing, its own decoded numbers where it does, and bytes that are there."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from course_lib.formats import minifloat, packing
from course_lib.kvcache import KVFormat, QuantizedKVCache, attention, kv_bytes, stored_bytes
from course_lib.kvcache.store import encode, round_trip, store
from tests import tiny

NAMES = ("fp8", "int8", "int4", "int2")
GROUP = dict(group=8, residual=8)


@pytest.fixture(scope="module")
def model():
    return tiny.llama(context=256, head_dim=16)


def ids(batch=2, n=50, seed=0):
    return torch.randint(1, 250, (batch, n), generator=torch.Generator().manual_seed(seed))


def continued(model, cache, tokens, new=12, **more):
    return model.generate(tokens, attention_mask=torch.ones_like(tokens), past_key_values=cache, max_new_tokens=new,
                          min_new_tokens=new, do_sample=False, pad_token_id=0, **more)  # fmt: skip


# ---- nothing rounded: the plain cache, exactly


@pytest.mark.parametrize("name", NAMES)
def test_a_window_longer_than_the_text_is_the_plain_cache(model, name):
    plain, ours = DynamicCache(config=model.config), QuantizedKVCache(model.config, name, residual=64)
    with torch.no_grad():
        for chunk in ids().split([30, 1, 1, 18], 1):
            a, b = (model(input_ids=chunk, past_key_values=c).logits for c in (plain, ours))
            assert torch.equal(a, b)
    for i, layer in enumerate(plain.layers):
        keys, values = ours.decoded(i)
        assert torch.equal(keys, layer.keys) and torch.equal(values, layer.values)
    assert (
        ours.nbytes
        == kv_bytes(model.config, 50, 2, dtype_bits=32)
        == stored_bytes(model.config, 50, KVFormat(name, residual=64), 2, full_bits=32)
    )


# ---- rounding: attention over what the cache says it holds


@pytest.mark.parametrize("name", NAMES)
def test_attention_reads_exactly_the_decoded_keys_and_values(model, name):
    ours = QuantizedKVCache(model.config, name, **GROUP, sinks=3)
    x = ids(n=41)
    with torch.no_grad():
        model(input_ids=x[:, :40], past_key_values=ours)
        plain = DynamicCache(config=model.config)
        for i in range(len(ours)):
            plain.update(*(t.clone() for t in ours.decoded(i)), i)
        a, b = (model(input_ids=x[:, 40:], past_key_values=c).logits for c in (plain, ours))
    assert torch.equal(a, b)
    rounded = model(input_ids=x).logits[:, -1:]
    assert not torch.equal(b, rounded), "nothing was quantized"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [("channel", "token"), ("token", "channel")])
def test_what_is_stored_depends_on_the_tokens_not_on_how_many_came_at_a_time(name, axes):
    make = torch.Generator().manual_seed(0)
    k, v = (torch.randn(2, 2, 77, 16, generator=make) for _ in "kv")
    config = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=32)
    format = KVFormat(name, key_axis=axes[0], value_axis=axes[1], group=8, residual=8, sinks=2)
    seen = []
    for steps in ([77], [1] * 77, [40, 1, 1, 30, 5]):
        cache = QuantizedKVCache(config, format)
        for a, b in zip(k.split(steps, 2), v.split(steps, 2), strict=True):
            cache.update(a, b, 0)
        seen.append(cache)
    for other in seen[1:]:
        for mine, theirs in zip(seen[0].layers[0].stores, other.layers[0].stores, strict=True):
            for s, t in zip(mine.tensors, theirs.tensors, strict=True):
                assert torch.equal(s.view(torch.uint8), t.view(torch.uint8)) if s.dim() else s == t
        assert other.nbytes == seen[0].nbytes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sinks, residual, group", [(0, 0, 8), (4, 8, 8), (3, 20, 16)])
def test_nbytes_is_the_memory_it_holds_and_the_size_that_was_foretold(name, sinks, residual, group):
    config = dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32, hidden_size=1)
    format = KVFormat(name, group=group, residual=residual, sinks=sinks)
    cache = QuantizedKVCache(config, format)
    assert cache.nbytes == 0
    for n, step in zip((1, 3, 30, 60, 61, 62, 100), (1, 2, 27, 30, 1, 1, 38), strict=True):
        for layer in range(2):
            cache.update(*(torch.randn(3, 2, step, 32, dtype=torch.bfloat16) for _ in "kv"), layer)
        held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_of(cache)}
        assert cache.nbytes == stored_bytes(config, n, format, 3) == sum(held.values())


def tensors_of(thing, seen=None):
    """Every tensor reachable from an object's attributes."""
    seen = set() if seen is None else seen
    if isinstance(thing, torch.Tensor):
        yield thing
        return
    if id(thing) in seen or not (isinstance(thing, list | tuple | dict) or hasattr(thing, "__dict__")):
        return
    seen.add(id(thing))
    inside = (
        thing.values()
        if isinstance(thing, dict)
        else thing
        if isinstance(thing, list | tuple)
        else vars(thing).values()
    )
    for part in list(inside):
        yield from tensors_of(part, seen)


@pytest.mark.parametrize("name", NAMES)
def test_new_tokens_are_read_as_they_came_and_rounded_afterwards(name):
    config = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=32)
    cache = QuantizedKVCache(config, name, group=8, residual=0)
    k, v = torch.randn(1, 2, 24, 16), torch.randn(1, 2, 24, 16)
    for seen, x in zip(cache.update(k, v, 0), (k, v), strict=True):
        assert torch.equal(seen, x)
    assert not torch.equal(cache.decoded(0)[0], k) and not torch.equal(cache.decoded(0)[1], v)


# ---- the numbers themselves


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dim", [16, 6, 5])
def test_integers_by_hand(bits, dim):
    """Against the equation in float64, and against the packing that every other format uses."""
    x = torch.randn(2, 3, 24, dim, generator=torch.Generator().manual_seed(bits)) * 3 + 5
    format = KVFormat(f"int{bits}", group=8)
    for axis in ("channel", "token"):
        width = min(8, dim)
        groups = x.unflatten(2, (-1, 8)).transpose(3, 4) if axis == "channel" else x.unflatten(3, (-1, width))
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        scale = ((high - low) / (2**bits - 1)).half().double()
        low = low.half().double()
        q = torch.round((groups.double() - low) / scale).clamp(0, 2**bits - 1)
        want = q * scale + low
        want = want.transpose(3, 4).flatten(2, 3) if axis == "channel" else want.flatten(3)
        got = round_trip(x, format, axis)
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()
        kept = store(format, axis)
        kept.append(x)
        codes = encode(x, format, axis)[0]
        assert torch.equal(packing.unpack(kept.codes, bits, dim), codes)
        assert (got - x).abs().max() <= scale.max() / 2 + 2 * torch.finfo(torch.half).eps * x.abs().max() * 2**bits


def test_every_fp8_code_decodes_as_the_format_says():
    kept = store(KVFormat("fp8", scale=0.5), "token")
    codes = torch.arange(256, dtype=torch.uint8)
    codes = codes[(codes & 127) != 127]  # all but the two NaN
    kept.codes, kept.scale = codes.view(torch.float8_e4m3fn).reshape(1, 1, 1, -1), torch.tensor(0.5)
    assert torch.equal(kept.decode().flatten(), minifloat.decode(codes, "e4m3fn") / 2)


def test_fp8_does_not_calibrate_itself():
    loud = torch.full((1, 1, 4, 8), 1000.0)
    assert round_trip(loud, KVFormat("fp8"), "token").max() == 448  # scale 1.0: clipped, and nobody is told
    assert round_trip(loud, KVFormat("fp8", scale=None), "token").max() == pytest.approx(1000)
    kept = store(KVFormat("fp8", scale=None), "token")
    kept.append(torch.ones(1, 1, 4, 8))
    kept.append(loud)  # the scale stays as the first tokens set it
    assert kept.decode()[:, :, 4:].max() == 1


def test_a_constant_group_and_a_number_too_large():
    assert torch.equal(round_trip(torch.full((1, 1, 8, 8), 0.3), KVFormat("int2", group=8), "channel"),
                       torch.full((1, 1, 8, 8), 0.3).half().float())  # fmt: skip
    for bad in (1e6, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="does not fit float16"):
            round_trip(torch.full((1, 1, 8, 8), bad), KVFormat("int4", group=8), "token")


# ---- KIVI's ordering


def test_keys_per_channel_and_values_per_token_at_two_bits():
    sample = attention.planted(tokens=256)
    error = {
        (k, v): attention.outcome(sample, KVFormat("int2", key_axis=k, value_axis=v, residual=0))
        for k in ("channel", "token") for v in ("channel", "token")
    }  # fmt: skip
    assert error["token", "token"].weight_error > 2.5 * error["channel", "token"].weight_error
    assert error["token", "token"].output_error > 2 * error["channel", "token"].output_error
    quiet = attention.planted(tokens=256, loud=0)  # the control: without loud channels the axis hardly matters
    a, b = (
        attention.outcome(quiet, KVFormat("int2", key_axis=axis, residual=0)).weight_error
        for axis in ("channel", "token")
    )
    assert 0.7 < a / b < 1.4


def test_loud_keys_leave_the_model_as_it_was_and_the_channel_axis_unmoved(model):
    loud = attention.with_loud_keys(model, channels=4, factor=16)
    x = ids(n=33)
    with torch.no_grad():
        assert torch.allclose(model(x).logits, loud(x).logits, atol=2e-4)
    off = {}
    for name, one in (("plain", model), ("loud", loud)):
        for axis in ("channel", "token"):
            cache = QuantizedKVCache(model.config, "int2", key_axis=axis, group=8, residual=0)
            with torch.no_grad():
                one(input_ids=x[:, :32], past_key_values=cache)
                off[name, axis] = (
                    one(input_ids=x[:, 32:], past_key_values=cache).logits - one(x).logits[:, 32:]
                ).norm()
    assert off["loud", "channel"] == pytest.approx(float(off["plain", "channel"]), rel=0.02)
    assert off["loud", "token"] > 1.3 * off["plain", "token"]
    with pytest.raises(ValueError, match="even number"):
        attention.with_loud_keys(model, channels=3)


# ---- in generate


@pytest.mark.parametrize("name", NAMES)
def test_generate_goes_on_with_what_the_cache_holds(model, name):
    x = ids(n=33)
    ours = QuantizedKVCache(model.config, name, **GROUP)
    out = continued(model, ours, x)
    assert out.shape == (2, 45) and ours.get_seq_length() == 44
    again = QuantizedKVCache(model.config, name, **GROUP)
    with torch.no_grad():  # step by step, by hand
        step, got = x, x
        for _ in range(12):
            step = model(input_ids=step, past_key_values=again).logits[:, -1:].argmax(-1)
            got = torch.cat([got, step], 1)
    assert torch.equal(out, got) and ours.nbytes == again.nbytes


def test_beam_search_and_eight_bits_follow_the_plain_cache(model):
    x = ids(n=20)
    plain, ours = (
        continued(model, cache, x, num_beams=3)
        for cache in (DynamicCache(config=model.config), QuantizedKVCache(model.config, "int8", residual=64))
    )
    assert torch.equal(plain, ours)
    packed = continued(model, QuantizedKVCache(model.config, "int4", **GROUP), x, num_beams=3)
    assert packed.shape == plain.shape


def test_assisted_generation_crops_and_still_agrees(model):
    x = ids(batch=1, n=20)
    plain = continued(model, DynamicCache(config=model.config), x, prompt_lookup_num_tokens=3)
    ours = continued(model, QuantizedKVCache(model.config, "int8", residual=64), x, prompt_lookup_num_tokens=3)
    assert torch.equal(plain, ours)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("remove", [1, 7, 9, 20, 45, 49, 50])
def test_crop_keeps_what_was_there(name, remove):
    config = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=32)
    cache = QuantizedKVCache(config, name, group=8, residual=8, sinks=3)
    k, v = torch.randn(2, 2, 50, 16), torch.randn(2, 2, 50, 16)
    cache.update(k, v, 0)
    before = [t.clone() for t in cache.decoded(0)]
    cache.crop(-remove)
    assert cache.get_seq_length() == 50 - remove
    for a, b in zip(before, cache.decoded(0), strict=True):
        assert torch.equal(a[:, :, : 50 - remove], b)
    more = torch.randn(2, 2, 9, 16)
    seen = cache.update(more, more, 0)[0]
    assert torch.equal(seen[:, :, -9:], more) and seen.shape[2] == 59 - remove == cache.decoded(0)[0].shape[2]
    with pytest.raises(ValueError, match="0 or negative"):
        cache.crop(3)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_the_batch_move_together(name):
    config = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=32)
    cache = QuantizedKVCache(config, name, group=8, residual=8, sinks=1)
    cache.update(torch.randn(3, 2, 40, 16), torch.randn(3, 2, 40, 16), 0)
    before = [t.clone() for t in cache.decoded(0)]
    cache.reorder_cache(torch.tensor([2, 0, 0]))
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([0, 3, 5]))
    for a, b in zip(before, cache.decoded(0), strict=True):
        assert torch.equal(a[[2, 0, 0]], b)
    cache.reset()
    assert cache.nbytes == cache.get_seq_length() == 0
    cache.update(torch.randn(1, 2, 5, 16), torch.randn(1, 2, 5, 16), 0)  # another batch after a reset
    assert cache.get_seq_length() == 5


def test_left_padding_is_masked_as_in_the_plain_cache(model):
    x = ids(n=24)
    mask = torch.ones_like(x)
    x[0, :7], mask[0, :7] = 0, 0
    outs = [
        model.generate(x, attention_mask=mask, past_key_values=c, max_new_tokens=6, do_sample=False, pad_token_id=0)
        for c in (DynamicCache(config=model.config), QuantizedKVCache(model.config, "int8", residual=64))
    ]
    assert torch.equal(*outs)


# ---- beside transformers' own


def test_transformers_fp8_cache_is_ours_with_a_measured_scale(model):
    """Its `fp8` backend: one scale a layer from the first tokens, no window; the first answer is unrounded."""
    from transformers import QuantizedCache

    x = ids(n=30)
    theirs = QuantizedCache(backend="fp8", config=model.config)
    ours = QuantizedKVCache(model.config, KVFormat("fp8", scale=None, group=1, residual=0))
    with torch.no_grad():
        for chunk in x.split([20, 1, 1, 8], 1):
            a, b = (model(input_ids=chunk, past_key_values=c) for c in (theirs, ours))
    layer = theirs.layers[0]  # later layers differ: theirs rounds the newest tokens before attention reads them
    assert torch.equal(layer._dequantize(layer._quantized_keys), ours.decoded(0)[0])
    assert torch.equal(layer._dequantize(layer._quantized_values), ours.decoded(0)[1])
    assert a.logits.shape == b.logits.shape


# ---- measured by reading from it


def test_a_plain_cache_changes_nothing_and_replies_as_without_one(model):
    from course_lib import evaluate

    texts = [tiny.WORDS * 2, tiny.WORDS[5:] * 2, tiny.WORDS[9:] * 2]
    reference = evaluate.CacheReference(model, tiny.tokenizer(), texts, prefix=20, steps=8)
    plain = reference.compare(lambda: DynamicCache(config=model.config))
    assert plain.kl == pytest.approx(0, abs=1e-6) and plain.top1 == 1 and plain.tokens == 24
    rough = reference.compare(lambda: QuantizedKVCache(model.config, "int2", group=4, residual=0))
    assert rough.kl > 100 * abs(plain.kl)
    for text in texts:
        cache = DynamicCache(config=model.config)
        reply = evaluate.reply_from_cache(model, tiny.tokenizer(), text, cache, max_new_tokens=12)
        assert reply == evaluate.generate(model, tiny.tokenizer(), text, max_new_tokens=12)
    with pytest.raises(ValueError, match="must hold 300 tokens each"):
        evaluate.CacheReference(model, tiny.tokenizer(), texts, prefix=200, steps=100)


# ---- bad input


def test_models_that_it_cannot_hold(model):
    with pytest.raises(ValueError, match="sliding_window of 8"):
        QuantizedKVCache(dict(num_hidden_layers=1, num_attention_heads=1, hidden_size=32, sliding_window=8))
    with pytest.raises(ValueError, match="MLA"):
        QuantizedKVCache(dict(num_hidden_layers=1, kv_lora_rank=4, qk_rope_head_dim=2))
    with pytest.raises(ValueError, match="no recurrent state"):
        QuantizedKVCache(dict(num_hidden_layers=2, num_attention_heads=1, hidden_size=32, full_attention_interval=2))
    with pytest.raises(ValueError, match="group must divide the head's 48 channels"):
        QuantizedKVCache(dict(num_hidden_layers=1, num_attention_heads=1, hidden_size=48), "int4")
    with pytest.raises(ValueError, match="inside the KVFormat, got group"):
        QuantizedKVCache(model.config, KVFormat("int4"), group=8)


def test_sixteen_bit_models_get_sixteen_bit_keys_back():
    config = LlamaConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
                         intermediate_size=64, vocab_size=64)  # fmt: skip
    half = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    cache = QuantizedKVCache(config, "int2", **GROUP)
    with torch.no_grad():
        half(input_ids=ids(n=40) % 64, past_key_values=cache)
    assert cache.decoded(0)[0].dtype == torch.bfloat16
    assert cache.nbytes == stored_bytes(config, 40, KVFormat("int2", **GROUP), 2)
