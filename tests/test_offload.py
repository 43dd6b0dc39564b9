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
from course_lib.capacity.plan.log import reconcile

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


def reported(path, context, sequences=1, text_too=False):
    """What llama.cpp says that it has set aside, in bytes: weights, caches, compute buffer."""
    from tests import llama_oracle as oracle

    lines = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    listen = kind(lambda level, text, data: lines.append(text.decode(errors="replace")))
    oracle.LIB.llama_log_set(ctypes.cast(listen, ctypes.c_void_p), None)
    model = oracle.Llama(path)
    try:
        params = oracle.LIB.llama_context_default_params()
        np.frombuffer(params.data, np.int32)[:4] = context, 2048, 512, sequences
        flags = bytes(params.data).index(bytes([0, 1, 1, 1, 1, 0]))  # embeddings, three more, swa_full, kv_unified
        params.data[flags + 4] = 0  # as llama-server and llama-cli have it, unless told --swa-full
        oracle.LIB.llama_free(oracle.LIB.llama_init_from_model(model.model, params))
    finally:
        model.close()
        oracle.LIB.llama_log_set(ctypes.cast(oracle._QUIET, ctypes.c_void_p), None)
    text = "".join(lines)
    found = [re.findall(rf"{what} buffer size = +([\d.]+) MiB", text) for what in ("model", "KV", "CPU compute")]
    assert all(found), f"a size is missing in llama.cpp's log: {text}"
    return text if text_too else [sum(map(float, sizes)) * 2**20 for sizes in found]


@pytest.fixture(scope="module")
def alone():
    """`reported` in a process of its own: the log has one listener a process, and other tests have theirs."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda *args: pool.submit(reported, *args).result()


@pytest.mark.parametrize("context", [300, 512, 4096])
def test_the_cache_is_as_large_as_llama_cpp_s(alone, file, context):
    needs = needs_of_file(read(file), context)
    weights, cache, compute = alone(file, context)
    assert sum(needs.kv) == pytest.approx(cache, abs=0.01 * 2**20)
    assert sum(needs.layers) + needs.output == pytest.approx(weights, rel=0.01)
    assert compute <= 1.02 * needs.compute <= 1.6 * compute


def zeros(tokenizer, folder, kind, vocabulary, hidden, ffn, **more):
    """The config of such a model, and its file full of zeros."""
    from transformers import AutoConfig

    c = AutoConfig.for_model(kind, vocab_size=vocabulary, hidden_size=hidden, intermediate_size=ffn,
                             num_attention_heads=4, num_key_value_heads=2, head_dim=hidden // 4, **more)  # fmt: skip
    keys = llama.keys(c, "F16", vocabulary) | llama.tokenizer_keys(tokenizer)
    added = vocabulary - len(keys["tokenizer.ggml.tokens"])
    keys["tokenizer.ggml.tokens"] = keys["tokenizer.ggml.tokens"] + [f"<{n}>" for n in range(added)]
    keys["tokenizer.ggml.token_type"] = np.array([3] + [1] * (vocabulary - 1), np.int32)
    found = experts.parted({name: (shape, None) for name, shape in capacity.parameter_shapes(c).items()})
    kept = llama.architectures.of_config(c)
    parts = [Part(llama.gguf_name(n, kept), s, 0, lambda s=s: np.zeros(s, np.float32)) for n, (s, _) in found.items()]
    return c, write(folder / "zeros.gguf", keys, parts)


@pytest.mark.parametrize("vocabulary, hidden, ffn, used", [
    (8192, 256, 512, 0), (1024, 256, 4096, 0), (4096, 512, 1024, 0), (1024, 256, 2048, 2), (1024, 1024, 512, 4),
    (1024, 512, 96, 8), (8192, 256, 128, 4),
])  # fmt: skip
def test_the_compute_buffer_is_at_most_what_the_formula_says(alone, bundled, tmp_path, vocabulary, hidden, ffn, used):
    mixture = dict(num_local_experts=8, num_experts_per_tok=used, sliding_window=None) if used else {}
    kind = "mixtral" if used else "llama"
    _, path = zeros(bundled[1], tmp_path, kind, vocabulary, hidden, ffn, num_hidden_layers=2, **mixture)
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


GEMMAS = {"gemma2": dict(num_hidden_layers=4, sliding_window=300, query_pre_attn_scalar=64),
          "gemma3_text": dict(num_hidden_layers=7, sliding_window=64, query_pre_attn_scalar=64)}  # fmt: skip


@pytest.fixture(scope="module", params=GEMMAS)
def windowed(request, bundled, tmp_path_factory):
    """Config and file of a model some of whose layers have a window."""
    return zeros(bundled[1], tmp_path_factory.mktemp(request.param), request.param, 8192, 256, 512,
                 **GEMMAS[request.param])  # fmt: skip


@pytest.mark.parametrize("context", [300, 700, 2048, 8192])
def test_layers_with_a_window_keep_it_and_a_batch_as_in_llama_cpp(alone, windowed, context):
    config, path = windowed
    needs = needs_of_file(read(path), context)
    _, cache, compute = alone(path, context)
    assert sum(needs.kv) == pytest.approx(cache, abs=0.02 * 2**20)
    assert compute <= 1.002 * needs.compute <= 1.6 * compute
    assert needs_of_config(config.to_dict(), "F32", context) == needs
    assert (len(set(needs.kv)) > 1) == (context > 900)


@pytest.mark.parametrize("sequences", [1, 3])
def test_a_log_of_windows_or_experts_is_held_against_what_llama_cpp_sets_aside(alone, bundled, windowed, tmp_path,
                                                                               sequences):  # fmt: skip
    eight = OF_EXPERTS | dict(num_experts_per_tok=8)  # wider than the vocabulary, and than the experts' inner numbers
    mixture = zeros(bundled[1], tmp_path, "mixtral", 1024, 512, 96, num_hidden_layers=2, **eight)
    for config, path in (windowed, mixture):
        text = alone(path, 6144, sequences, True).replace("CPU compute", "CUDA0 compute")
        found = {f.what: f for f in reconcile(capacity.plan.plan(config.to_dict(), "l4", 6144, weights="fp32"), text)}
        cache, compute = found["cache of 6,144 tokens"], found["compute buffer"]
        assert abs(cache.difference) <= 0.02 * 2**20, cache.sentence()
        assert compute.logged <= 1.002 * compute.planned
        assert sequences > 1 or compute.planned <= 1.6 * compute.logged


def test_windows_of_several_sequences_need_more():
    c = dict(model_type="gemma2", num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=256,
             head_dim=64, intermediate_size=512, vocab_size=1024, sliding_window=1024)  # fmt: skip
    kv = [needs_of_config(c, "F16", 16384, sequences=n).kv for n in (1, 4)]
    assert [k[0] // (2 * 2 * 2 * 64) for k in kv] == [1536, 4608] and kv[0][1] == kv[1][1] == kv[0][0] / 1536 * 16384


def test_a_shorter_context_frees_no_window(windowed, capsys):
    """Of the layers in RAM most keep a window, which does not shrink: the proposed context is tried, not guessed."""
    path, context = windowed[1], 32768
    full = needs_of_file(read(path), context)
    growing = sum(n for n, cap in zip(full.kv, full.caps, strict=True) if cap > context)
    memory = (sum(full.slots) + full.compute - 0.8 * growing) / GIB
    assert main([str(path), "--gpu", str(memory), "--margin", "0", "--context", str(context)]) == 0
    said = capsys.readouterr().out
    assert " -np 1" in said
    proposed = int(re.search(r"a context of ([\d,]+)", said)[1].replace(",", ""))
    for tokens, fits in ((proposed, True), (proposed + 256, False)):
        needs = needs_of_file(read(path), tokens)
        needs = Needs(needs.layers, needs.kv, needs.output, needs.embedding, full.compute)
        assert plan(needs, [memory * GIB], margin=0).whole is fits


def test_only_known_windows_are_counted(tmp_path, file):
    """llama.cpp puts a phi3's window aside; which layers of a gpt-oss have one, this planner does not know."""
    from tests.gguf_models import rewritten

    def with_window(arch):
        def changed(keys):
            found = {k.replace("llama.", f"{arch}.", 1): v for k, v in keys.items()}
            return found | {"general.architecture": arch, f"{arch}.attention.sliding_window": 128}

        return read(rewritten(file, tmp_path / f"{arch}.gguf", changed))

    assert needs_of_file(with_window("phi3"), 4096) == needs_of_file(read(file), 4096)
    with pytest.raises(ValueError, match="which layers have a window, and this file has gpt-oss.attention.sliding_win"):
        needs_of_file(with_window("gpt-oss"), 4096)


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
        ({"llama.attention.sliding_window": 128}, "which layers have a window, and this file has llama.att"),
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
