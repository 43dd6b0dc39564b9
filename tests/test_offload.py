"""The offload planner: the source's budget, llama.cpp's own sizes and rule, plans that no other plan beats."""

import ctypes
import itertools
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import capacity, models
from course_lib.artifacts.gguf import Part, experts, llama, read, write
from course_lib.capacity.bytes import GIB
from course_lib.capacity.offload import Needs, advice, plan
from course_lib.capacity.offload_command import main
from course_lib.capacity.offload_file import compute_bytes, kv_layer_bytes, needs_of_config, needs_of_file

LLAMA_3_8B = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                  num_key_value_heads=8, vocab_size=128256)  # fmt: skip


# ---- the source's numbers


def test_the_source_s_budget():
    """5.0 GiB in 32 layers, 4.0 GiB usable, 0.5 reserved: 3.5 GiB for layers, 22 of 32 fit."""
    even = Needs(layers=[5.0 * GIB / 32] * 32, compute=0.5 * GIB)
    found = plan(even, [4.0 * GIB], margin=0)
    assert (4.0 * GIB - even.compute) / GIB == 3.5
    assert (found.layers_on_gpu, len(even.layers), found.ngl) == (22, 32, 23)


def test_what_the_budget_left_out():
    """The same card, the same file size: a cache of 8,192 tokens and an output layer take places of layers."""
    bare = Needs(layers=[5.0 * GIB / 32] * 32, compute=0.5 * GIB)
    whole = Needs(bare.layers, [GIB / 32] * 32, output=0.4 * GIB, compute=bare.compute)
    assert plan(whole, [4.0 * GIB], margin=0).layers_on_gpu == 16


# ---- against llama.cpp


@pytest.fixture(scope="module")
def bundled():
    return models.load("bundled")


@pytest.fixture(scope="module")
def file(bundled, tmp_path_factory):
    return llama.export(*bundled, tmp_path_factory.mktemp("offload") / "bot.gguf", "Q8_0")


def reported(path, context):
    """What llama.cpp says that it has set aside, in bytes: weights, cache, compute buffer."""
    from tests import llama_oracle as oracle

    lines = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    listen = kind(lambda level, text, data: lines.append(text.decode(errors="replace")))
    oracle.LIB.llama_log_set(ctypes.cast(listen, ctypes.c_void_p), None)
    model = oracle.Llama(path)
    try:
        params = oracle.LIB.llama_context_default_params()
        np.frombuffer(params.data, np.int32)[:3] = context, 2048, 512
        oracle.LIB.llama_free(oracle.LIB.llama_init_from_model(model.model, params))
    finally:
        model.close()
        oracle.LIB.llama_log_set(ctypes.cast(oracle._QUIET, ctypes.c_void_p), None)
    text = "".join(lines)
    found = [re.search(rf"{what} buffer size = +([\d.]+) MiB", text) for what in ("model", "KV", "CPU compute")]
    assert all(found), f"a size is missing in llama.cpp's log: {text}"
    return [float(match.group(1)) * 2**20 for match in found]


@pytest.fixture(scope="module")
def alone():
    """`reported` in a process of its own: the log has one listener a process, and other tests have theirs."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda path, context: pool.submit(reported, path, context).result()


@pytest.mark.parametrize("context", [300, 512, 4096])
def test_the_cache_is_as_large_as_llama_cpp_s(alone, file, context):
    needs = needs_of_file(read(file), context)
    weights, cache, compute = alone(file, context)
    assert sum(needs.kv) == pytest.approx(cache, abs=0.01 * 2**20)
    assert sum(needs.layers) + needs.output == pytest.approx(weights, rel=0.01)
    assert compute <= 1.02 * needs.compute <= 1.6 * compute


@pytest.mark.parametrize("vocabulary, hidden, ffn, used", [
    (8192, 256, 512, 0), (1024, 256, 4096, 0), (4096, 512, 1024, 0), (1024, 256, 2048, 2), (1024, 1024, 512, 4),
    (1024, 512, 96, 8), (8192, 256, 128, 4),
])  # fmt: skip
def test_the_compute_buffer_is_at_most_what_the_formula_says(alone, bundled, tmp_path, vocabulary, hidden, ffn, used):
    from transformers import AutoConfig

    mixture = dict(num_local_experts=8, num_experts_per_tok=used, sliding_window=None) if used else {}
    c = AutoConfig.for_model("mixtral" if used else "llama", vocab_size=vocabulary, hidden_size=hidden,
                             intermediate_size=ffn, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                             head_dim=hidden // 4, **mixture)  # fmt: skip
    keys = llama.keys(c, "F16", vocabulary) | llama.tokenizer_keys(bundled[1])
    more = vocabulary - len(keys["tokenizer.ggml.tokens"])
    keys["tokenizer.ggml.tokens"] = keys["tokenizer.ggml.tokens"] + [f"<{n}>" for n in range(more)]
    keys["tokenizer.ggml.token_type"] = np.array([3] + [1] * (vocabulary - 1), np.int32)
    found = experts.parted({name: (shape, None) for name, shape in capacity.parameter_shapes(c).items()})
    parts = [Part(llama.gguf_name(n), s, 0, lambda s=s: np.zeros(s, np.float32)) for n, (s, _) in found.items()]
    path = write(tmp_path / "zeros.gguf", keys, parts)
    _, _, compute = alone(path, 1024)
    assert compute <= 1.002 * compute_bytes(vocabulary, hidden, ffn, 1024, used) <= 1.6 * compute
    assert needs_of_file(read(path), 1024).compute == compute_bytes(vocabulary, hidden, ffn, 1024, used)


OF_EXPERTS = dict(num_local_experts=8, num_experts_per_tok=2, sliding_window=None, norm_topk_prob=True)


@pytest.mark.parametrize("kind", ["qwen3", "gemma", "phi3", "mixtral", "qwen3_moe"])
def test_other_configs_need_what_their_files_need(tmp_path, kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=1024,
                 num_key_value_heads=2, head_dim=16, max_position_embeddings=64, pad_token_id=0)  # fmt: skip
    own = {"mixtral": OF_EXPERTS, "qwen3_moe": OF_EXPERTS | dict(moe_intermediate_size=32)}.get(kind, {})
    config = AutoConfig.for_model(kind, **sizes | own)
    model = AutoModelForCausalLM.from_config(config)
    made = read(llama.export(model, models.load("bundled")[1], tmp_path / "x.gguf", "Q4_K_M"))
    assert needs_of_config(config.to_dict(), "Q4_K_M", 512) == needs_of_file(made, 512)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text"])
def test_a_model_with_windows_is_not_planned_as_one_without(kind):
    with pytest.raises(ValueError, match=f"counts plain attention only, and a {kind[:6]} has windows"):
        needs_of_config(LLAMA_3_8B | {"model_type": kind}, "Q4_K_M", 8192)


def test_a_config_needs_what_its_file_needs(bundled, file):
    config = bundled[0].config.to_dict()
    assert needs_of_config(config, "Q8_0", 512) == needs_of_file(read(file), 512)
    for mix, bits in (("IQ3_M", 3.7628), ("Q4_K_M", 4.8944)):  # as llama.cpp's README has them
        found = needs_of_config(LLAMA_3_8B, mix, 8192)
        assert sum(found.layers) + found.output + found.embedding == pytest.approx(bits / 8 * 8030261248, rel=1e-4)
    assert sum(found.kv) == GIB and found.compute == pytest.approx(306 * 2**20, rel=0.01)


# ---- the rule


def devices_of(layers, ngl, split):
    """llama.cpp's own placement: for each of layers + 1 slots the number of its GPU, None for RAM.

    i_gpu_start = layers + 1 - ngl; then upper_bound over cumulated shares of (il - start) / ngl, in float32.
    """
    on_gpu = min(max(0, ngl), layers + 1)
    edges = np.cumsum(np.asarray(split, np.float32), dtype=np.float32)
    at = np.arange(on_gpu, dtype=np.float32) / np.float32(max(on_gpu, 1))
    return [None] * (layers + 1 - on_gpu) + np.searchsorted(edges / edges[-1], at, side="right").tolist()


def test_llama_cpp_s_rule_by_hand():
    assert devices_of(4, 0, [1]) == [None] * 5
    assert devices_of(4, 1, [1]) == [None] * 4 + [0]  # the output layer first
    assert devices_of(4, 99, [1]) == [0] * 5
    assert devices_of(4, 5, [3, 2]) == [0, 0, 0, 1, 1]
    assert devices_of(4, 5, [0, 1]) == [1] * 5


SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(SIZES, st.integers(0, 9), st.integers(0, 3), st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_no_plan_puts_more_on_the_gpus_and_llama_cpp_does_what_it_says(layers, output, compute, gpus):
    needs = Needs(layers, output=output, compute=compute)
    found = plan(needs, gpus, margin=0)
    for share, memory in zip(found.shares, gpus, strict=True):
        if share.end > share.first:
            assert share.weights + compute <= memory and share.free >= 0
    assert sum(share.weights for share in found.shares) + found.ram_bytes == sum(needs.slots)
    if found.ngl:
        on = devices_of(len(layers), found.ngl, found.tensor_split)
        assert [on.count(k) for k in range(len(gpus))] == list(found.tensor_split)
    more = needs.slots[len(layers) - found.ngl :] if found.ngl <= len(layers) else ()
    for cuts in itertools.combinations_with_replacement(range(len(more) + 1), len(gpus) - 1) if more else ():
        edges = (0, *cuts, len(more))
        parts = [sum(more[a:b]) for a, b in itertools.pairwise(edges)]
        fits = all(
            b == a or p + compute <= m for (a, b), p, m in zip(itertools.pairwise(edges), parts, gpus, strict=True)
        )
        assert not fits, f"one slot more fits, cut at {cuts}"


# ---- words


def test_advice_is_enough():
    needs = needs_of_config(LLAMA_3_8B, "Q4_K_M", 131072)
    found = plan(needs, ["rtx-4060"])
    told = advice(found, 131072)
    assert told.startswith(f"{found.layers_on_gpu} of 32 layers and the output layer are on the GPUs; for all of them ")
    tokens = int(re.search(r"a context of ([\d,]+)", told).group(1).replace(",", ""))
    assert plan(needs_of_config(LLAMA_3_8B, "Q4_K_M", tokens), ["rtx-4060"]).whole
    longer = needs_of_config(LLAMA_3_8B, "Q4_K_M", tokens + 256)
    assert not plan(Needs(longer.layers, longer.kv, longer.output, compute=needs.compute), ["rtx-4060"]).whole


def test_a_smaller_cache_or_smaller_weights_are_proposed_where_they_do():
    needs = needs_of_config(LLAMA_3_8B, "Q4_K_M", 32768)
    told = advice(plan(needs, ["rtx-4060"]), 32768)
    assert "a cache of 8.5 bits" in told
    assert plan(needs_of_config(LLAMA_3_8B, "Q4_K_M", 32768, 8.5), ["rtx-4060"]).whole
    big = advice(plan(needs_of_config(LLAMA_3_8B, "F16", 8192), [12 * GIB]), 8192)
    percent = int(re.search(r"weights (\d+) % smaller", big).group(1))
    assert 25 < percent < 45


def test_nothing_fits():
    found = plan(needs_of_config(LLAMA_3_8B, "F16", 8192), [2 * GIB])
    assert found.ngl == 0 and not found.whole
    assert advice(found, 8192).startswith("Nothing fits: the output layer needs 0.98 GiB, and no GPU has more than 0.")
    assert plan(Needs([1], output=1), [GIB]).ngl == 0  # the margin alone takes all


# ---- the command


def test_the_command(file, capsys):
    assert main([str(file), "--gpu", "rtx-4060", "--context", "512"]) == 0
    out = capsys.readouterr().out
    assert "layers 0–3 + output" in out and "llama.cpp: -c 512 -ngl 5\n" in out
    size = needs_of_file(read(file), 512)
    small = (size.slots[-1] + size.slots[-2] + size.slots[-3] + size.compute + 1000) / GIB
    assert main([str(file), "--gpu", f"{small},{small}", "--context", "512", "--margin", "0", "--kv-bits", "8"]) == 0
    out = capsys.readouterr().out
    assert "-fa on -ctk q8_0 -ctv q8_0" in out and "--tensor-split" in out
    assert main([str(file), "--gpu", "0.001", "--margin", "0"]) == 1
    assert "Nothing fits" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, told", [
    (["--gpu", "gtx-1"], "device must be a Device or one of"),
    (["--gpu", "-3"], "gpus must be names, Devices or bytes"),
    (["--gpu", "nan"], "gpus must be names, Devices or bytes"),
    (["--gpu", "t4", "--context", "0"], "context must be a whole number from 1 up, got 0"),
    (["--gpu", "t4", "--margin", "-1"], "margin must be bytes from 0 up"),
    (["--gpu", "t4", "--compute", "nan"], "compute must be bytes from 0 up, got nan"),
])  # fmt: skip
def test_bad_input_is_one_sentence(file, capsys, arguments, told):
    assert main([str(file), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(told) and said.count("\n") == 1


def test_files_that_cannot_be_planned(bundled, file, tmp_path, capsys):
    whole = read(file)
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: whole.data(n)) for i in whole.tensors.values()]
    for change, told in (
        ({"llama.block_count": 2**30}, "the file has no tensors of layer 4"),
        ({"llama.block_count": "four"}, "the file needs llama.block_count as a positive whole number, got 'four'"),
        ({"llama.attention.sliding_window": 128}, "plain attention only, and this file has llama.attention.sliding_w"),
        ({"llama.attention.head_count_kv": [2, 2]}, "head_count_kv must be a number, or one a layer"),
    ):
        path = write(tmp_path / "odd.gguf", dict(whole.fields) | change, parts)
        assert main([str(path), "--gpu", "t4"]) == 2
        assert told in capsys.readouterr().err
    some = [p for p in parts if p.name != "token_embd.weight"]
    with pytest.raises(ValueError, match="no tensors of the embedding"):
        needs_of_file(read(write(tmp_path / "odd.gguf", whole.fields, some)), 512)
    assert main([str(tmp_path / "none.gguf"), "--gpu", "t4"]) == 2


def test_bad_needs():
    with pytest.raises(ValueError, match="layers must be one or more sizes, and kv as many; got 2 and 1"):
        Needs([1, 2], [1])
    with pytest.raises(ValueError, match="kv must be bytes from 0 up, got -1"):
        Needs([1, 2], [1, -1])
    with pytest.raises(ValueError, match="gpus must name at least one GPU"):
        plan(Needs([1]), [])
    with pytest.raises(ValueError, match="kv_heads must be a whole number from 1 up, got 0"):
        kv_layer_bytes(512, 0, 64, 64)
