"""Bytes of a KV cache: published and logged figures, transformers' own caches, and configs that say too little."""

import json

import pytest
import torch
import transformers

from course_lib import kvcache
from course_lib.kvcache import MODELS, KVFormat, bytes_per_token, kv_bytes, layers
from course_lib.kvcache.layers import EVERY, MHA_WHEN_SILENT, OWN_HEAD_DIM

GIB = 2**30
LLAMA = MODELS["llama-3-8b"].config


# ---- figures that others published or logged


@pytest.mark.parametrize(
    "name, bytes_",
    [
        ("llama-2-7b", 524288), ("llama-3-8b", 131072), ("mistral-7b", 131072), ("llama-3-70b", 327680),
        ("qwen2.5-72b", 327680), ("llama-3.1-405b", 516096), ("qwen2.5-7b", 57344), ("qwen3-8b", 147456),
        ("deepseek-v2", 69120), ("deepseek-v3", 70272), ("gpt-oss-120b", 73728), ("falcon-7b", 8192),
    ],
)  # fmt: skip
def test_bytes_per_token(name, bytes_):
    assert kv_bytes(MODELS[name].config, 1) == bytes_per_token(MODELS[name].config) == bytes_


def test_long_contexts():
    assert kv_bytes(MODELS["gpt-oss-120b"].config, 131072) == 4_836_556_800
    assert kv_bytes(MODELS["gemma-3-27b"].config, 131072) / GIB == pytest.approx(10.406, abs=5e-4)
    assert bytes_per_token(MODELS["gemma-3-27b"].config, after=1024) == 81920
    assert kv_bytes(MODELS["deepseek-v3"].config, 163840) / GIB == pytest.approx(10.72, abs=5e-3)
    source = dict(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, head_dim=128)
    assert kv_bytes(source, 8192, batch=32) == 32 * GIB


def test_vllm_prints_the_blocks_that_the_config_gives():
    assert kvcache.block_bytes(LLAMA) == 2**21
    for gib, blocks in ((3.81, 1952), (2.89, 1478)):
        assert round(blocks * kvcache.block_bytes(LLAMA) / GIB, 2) == gib


def test_deepseek_v2s_share_is_against_another_model_and_at_six_bits():
    v2, older = MODELS["deepseek-v2"], MODELS["deepseek-67b"]
    ours = 1 - bytes_per_token(v2.config, dtype_bits=6) / bytes_per_token(older.config)
    assert round(ours, 3) == v2.stated["saved against DeepSeek 67B"][0] == 0.933
    same_shape = dict(num_hidden_layers=60, num_attention_heads=128, num_key_value_heads=128, head_dim=128)
    assert round(1 - bytes_per_token(v2.config) / bytes_per_token(same_shape), 3) == 0.982
    assert round(1 - bytes_per_token(v2.config) / bytes_per_token(older.config), 3) == 0.822


def test_crossover():
    read = 7_504_658_432  # matrices of Llama-3-8B that every token is multiplied with
    assert kvcache.crossover_tokens(LLAMA, 2 * read) == 114_512
    assert kvcache.crossover_tokens(LLAMA, read * 4.5 / 8) == 32_207
    with pytest.raises(ValueError, match="with windows there is no one length"):
        kvcache.crossover_tokens(MODELS["gpt-oss-20b"].config, 1e9)


def test_kivi_costs_three_bits():
    kivi = KVFormat("int2", group=32, residual=0)
    assert kivi.bits_per_element == 3.0
    assert kvcache.stored_bytes(LLAMA, 8192, kivi, 32) == kv_bytes(LLAMA, 8192, 32, dtype_bits=3.0) == 6 * GIB


# ---- transformers' caches, filled by real (tiny, random) models

TINY = dict(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4)
SMALL = [
    ("llama", dict(num_key_value_heads=4)),
    ("llama", dict(num_key_value_heads=2, head_dim=32)),
    ("mistral", dict(num_key_value_heads=1, sliding_window=None)),
    ("mistral", dict(num_key_value_heads=2, sliding_window=8)),
    ("qwen2", dict(num_key_value_heads=2, use_sliding_window=True, sliding_window=8, max_window_layers=1)),
    ("qwen3", dict(num_key_value_heads=2, head_dim=24)),
    ("gemma2", dict(num_key_value_heads=2, head_dim=16, sliding_window=8)),
    ("gemma3_text", dict(num_key_value_heads=2, head_dim=16, sliding_window=8, num_hidden_layers=7)),
    ("gpt_oss", dict(num_key_value_heads=2, head_dim=16, sliding_window=8, num_local_experts=2, num_experts_per_tok=1)),
    ("gpt2", dict(n_embd=64, n_layer=3, n_head=4, vocab_size=64)),
    ("falcon", dict(multi_query=True, new_decoder_architecture=False, vocab_size=64)),
    ("gpt_neox", {}),
    ("qwen3_next", dict(num_key_value_heads=2, head_dim=16, linear_num_value_heads=4, linear_num_key_heads=2,
                        linear_key_head_dim=8, linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1,
                        moe_intermediate_size=16, shared_expert_intermediate_size=16)),
    ("lfm2", dict(num_key_value_heads=2, layer_types=["conv", "full_attention", "conv", "conv"])),
    ("bamba", dict(num_key_value_heads=2, attn_layer_indices=[1], mamba_n_heads=8, mamba_d_state=8, mamba_n_groups=1)),
]  # fmt: skip


def built(kind, fields):
    """A random model of this family, and its config."""
    fields = fields if kind == "gpt2" else TINY | fields
    config = transformers.AutoConfig.for_model(kind, **fields, pad_token_id=0, bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval(), config


@pytest.mark.parametrize("kind, fields", SMALL, ids=[kind for kind, _ in SMALL])
def test_the_bytes_are_those_of_transformers_own_cache(kind, fields):
    model, config = built(kind, fields)
    batch, tokens = 2, 21
    with torch.no_grad():
        cache = model(torch.ones(batch, tokens, dtype=torch.long), use_cache=True).past_key_values
    found = layers(config)
    assert len(found) == config.num_hidden_layers
    for layer, held in zip(found, cache.layers, strict=True):
        have = getattr(held, "keys", None)
        have = 0 if have is None else 4 * (held.keys.numel() + held.values.numel())
        # its windows keep one token less than they reach: the newest one is added before attention reads
        kept = layer.tokens(tokens) - (layer.cap is not None and layer.cap <= tokens)
        assert have == batch * kept * layer.bytes_per_token(32), layer
    state = [t for held in cache.layers for name in ("conv_states", "recurrent_states")
             for t in (getattr(held, name, None) or {}).values() if t is not None]  # fmt: skip
    assert kvcache.state_bytes(config, batch, dtype_bits=32) == sum(4 * t.numel() for t in state)


@pytest.mark.parametrize("kind", ["deepseek_v2", "deepseek_v3"])
def test_mla_keeps_one_compressed_vector_for_all_heads(kind):
    model, config = built(kind, dict(
        num_key_value_heads=4, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16, q_lora_rank=16,
        n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=1, moe_intermediate_size=16,
    ))  # fmt: skip
    with torch.no_grad():
        held = model(torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values.layers[0]
    numbers = held.keys.numel() + held.values.numel()
    assert layers(config)[0].attention == "MLA" and numbers == 5 * layers(config)[0].elements == 5 * (16 + 8)


@pytest.mark.parametrize("kind", sorted(k for k in MHA_WHEN_SILENT if k in transformers.CONFIG_MAPPING))
def test_families_in_which_silence_means_one_key_per_head(kind):
    config = transformers.AutoConfig.for_model(kind)
    assert (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) == config.num_attention_heads


@pytest.mark.parametrize("kind", sorted(OWN_HEAD_DIM))
def test_families_that_choose_their_head_dim(kind):
    config = transformers.AutoConfig.for_model(kind, hidden_size=960, num_attention_heads=3)
    assert config.head_dim not in (None, 960 // 3)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text"])
def test_which_layers_see_everything(kind):
    types = transformers.AutoConfig.for_model(kind, num_hidden_layers=12).layer_types
    assert [t == "full_attention" for t in types] == [(i + 1) % EVERY[kind] == 0 for i in range(12)]


# ---- the three ways to name a config


def test_a_path_a_dict_and_a_transformers_config_say_the_same(tmp_path):
    fields = dict(num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2, hidden_size=64)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **fields}))
    want = 3 * 2 * 2 * 8 * 2 * 100
    for config in (fields, tmp_path, str(tmp_path / "config.json"), transformers.LlamaConfig(**fields)):
        assert kv_bytes(config, 100) == want
    with pytest.raises(ValueError, match="config.json that exists"):
        kv_bytes(tmp_path / "no.json", 1)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="must be a JSON file"):
        kv_bytes(tmp_path / "bad.json", 1)
    with pytest.raises(TypeError, match="dict, a transformers config or a path, got int"):
        kv_bytes(7, 1)


def test_layer_types_come_before_the_pattern():
    both = dict(num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1, head_dim=4, sliding_window=10,
                sliding_window_pattern=2)  # fmt: skip
    assert kv_bytes(both, 100) == 16 * (10 + 100)
    assert kv_bytes(both | {"layer_types": ["full_attention", "full_attention"]}, 100) == 16 * 200
    assert kv_bytes(both | {"sliding_window_pattern": "LG"}, 100) == 16 * 110


def test_falcons_two_architectures():
    old = MODELS["falcon-7b"].config
    assert layers(old)[0].attention == "MQA" and layers(old | {"multi_query": False})[0].attention == "MHA"
    new = old | {"num_attention_heads": 128, "hidden_size": 8192, "num_kv_heads": 8, "new_decoder_architecture": True}
    assert layers(new)[0].elements == 8 * 2 * 64  # of Falcon-40B; transformers itself repeats the keys before storing
    with pytest.raises(ValueError, match="needs multi_query"):
        kv_bytes(old | {"multi_query": None}, 1)


def test_sixteen_bits_are_only_a_default():
    assert kv_bytes(LLAMA, 10, dtype_bits=8) * 2 == kv_bytes(LLAMA, 10)
    assert kv_bytes(dict(num_hidden_layers=1, num_attention_heads=1, hidden_size=1), 3, dtype_bits=3) == 3  # 18 bits
    assert kv_bytes(LLAMA, 0) == 0


# ---- configs that say too little, or two things at once


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_hidden_layers": None}, "needs num_hidden_layers"),
        ({"num_attention_heads": None}, "needs num_attention_heads"),
        ({"model_type": "mistral", "num_key_value_heads": None}, "needs num_key_value_heads"),
        ({"model_type": "qwen3"}, "needs head_dim"),
        ({"hidden_size": None}, "needs hidden_size"),
        ({"hidden_size": 4097}, "needs head_dim: hidden_size 4097 is no multiple of 32 heads"),
        ({"num_key_value_heads": 5}, "32 heads cannot share 5 key-value heads"),
        ({"num_key_value_heads": 0}, "must be a whole number from 1 up, got 0"),
        ({"num_key_value_heads": "8"}, "must be a whole number"),
        ({"num_kv_heads": 4}, "contradicts itself: num_key_value_heads=8, num_kv_heads=4"),
        ({"kv_lora_rank": 512}, "needs qk_rope_head_dim"),
        ({"qk_rope_head_dim": 64}, "needs kv_lora_rank"),
        ({"layer_types": ["full_attention"] * 3}, "num_hidden_layers=32, but 3 layer types"),
        ({"layer_types": "full_attention"}, "must be a list"),
        ({"layer_types": ["sliding_attention"] * 32}, "needs sliding_window, since layer 0 is sliding"),
        ({"layer_types": ["banana"] * 32}, "got 'banana'"),
        ({"model_type": "qwen2", "sliding_window": 64}, "needs use_sliding_window"),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True}, "needs max_window_layers"),
        ({"model_type": "gpt_oss", "sliding_window": 64}, "needs layer_types"),
        ({"attention_chunk_size": 64}, "needs layer_types"),
        ({"global_head_dim": 512}, "a layout that is not known here"),
        ({"is_encoder_decoder": True}, "must be of a decoder"),
        ({"text_config": {"num_hidden_layers": 12}}, "says num_hidden_layers=32 outside and 12 in text_config"),
    ],
)
def test_a_config_that_says_too_little_or_two_things_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        kv_bytes(LLAMA | change, 16)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(tokens=-1), "tokens must be a whole number from 0"),
        (dict(tokens=1.5), "tokens must be a whole number"),
        (dict(tokens=1, batch=0), "batch must be a whole number from 1"),
        (dict(tokens=1, dtype_bits=0), "dtype_bits must be above 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kv_bytes(LLAMA, **arguments)


# ---- pages


@pytest.mark.parametrize("name", ["llama-3-8b", "gpt-oss-20b"])
def test_pages_counted_one_by_one(name):
    config, block = MODELS[name].config, 16
    for lengths, shared in (([100], 0), ([16, 17, 500], 0), ([100, 300, 141], 70), ([64, 64], 64), ([1000, 130], 129)):
        want = 0
        for layer in layers(config):
            pages = set()
            for sequence, n in enumerate(lengths):
                for token in range(n - layer.tokens(n), n):
                    common = token // block < shared // block
                    pages.add((None if common else sequence, token // block))
            want += len(pages) * block * layer.bytes_per_token()
        assert kvcache.paged_bytes(config, lengths, block, shared=shared) == want


def test_a_shared_prefix_and_room_for_more():
    free, tokens = 16 * GIB, 8192
    assert kvcache.sequences_in(LLAMA, free, tokens) == free // kv_bytes(LLAMA, tokens) == 16
    n = kvcache.sequences_in(LLAMA, free, tokens, shared=6144)
    used = kvcache.paged_bytes(LLAMA, [tokens] * n, shared=6144)
    assert used <= free < used + kv_bytes(LLAMA, tokens - 6144)
    assert kvcache.sequences_in(LLAMA, 2**29, tokens) == 0
    with pytest.raises(ValueError, match="lengths must be a whole number from 64"):
        kvcache.paged_bytes(LLAMA, [32], shared=64)


# ---- what quantized caches store


@pytest.mark.parametrize("residual, sinks, group", [(0, 0, 32), (32, 0, 32), (128, 4, 32), (10, 3, 16)])
def test_every_token_is_somewhere(residual, sinks, group):
    format = KVFormat("int4", group=group, residual=residual, sinks=sinks)
    for n in range(300):
        first, packed, recent = format.split(n)
        assert first + packed + recent == n and packed % group == 0 and first == min(n, sinks)
        assert recent >= min(n - first, residual) and (recent < residual + group)


def test_what_cannot_be_quantized_here():
    with pytest.raises(ValueError, match="MLA keeps no keys and values"):
        kvcache.stored_bytes(MODELS["deepseek-v3"].config, 8, "int4")
    with pytest.raises(ValueError, match="sliding_window of 128"):
        kvcache.stored_bytes(MODELS["gpt-oss-20b"].config, 8, "int4")
    for fields, message in (({"name": "int3"}, "name must be"), ({"name": "int4", "group": 0}, "group must be"),
                            ({"name": "int4", "key_axis": "row"}, "key_axis must be"),
                            ({"name": "fp8", "scale": 0.0}, "scale must be")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            KVFormat(**fields)
