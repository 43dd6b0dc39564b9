"""The capacity planner against published sizes, engine logs, transformers' own modules and the course's own writers."""

import json
import math
import random
import re

import pytest
import torch

from course_lib.artifacts import save
from course_lib.calibrate import quantize_model
from course_lib.capacity import DEVICES, device, mixed_bytes
from course_lib.capacity.offload_file import needs_of_config
from course_lib.capacity.plan import plan
from course_lib.capacity.plan.advice import last_resort, max_batch, max_context, native, remedies, verdict
from course_lib.capacity.plan.command import gpus_of, main
from course_lib.capacity.plan.figures import Assumptions, Figure
from course_lib.capacity.plan.formats import FORMATS, of_files, stored, weight_format
from course_lib.capacity.plan.log import read, reconcile
from course_lib.capacity.plan.models import config_of, known
from course_lib.capacity.plan.speed import bound, crossover, figures, first_tokens, read_bytes
from course_lib.capacity.plan.tensors import parts
from course_lib.capacity.shapes import SHAPED, parameter_shapes
from course_lib.kvcache import crossover_tokens, kv_bytes
from course_lib.scheme import Scheme
from course_lib.viz import explorers

GIB = 2**30


def planned(model, gpu="h100", context=8192, batch=1, weights="bf16", kv_bits=16, gpus=1, **assume):
    name, config = config_of(model)
    return plan(config, gpu, context, batch, weights, kv_bits, gpus, Assumptions(**assume), name)


# ------------------------------------------------------------------ weights: what others have published

TOTAL_SIZE = {  # metadata.total_size of the released model.safetensors.index.json
    ("llama-3-8b", "bf16"): 16_060_522_496,
    ("llama-3-70b", "bf16"): 141_107_412_992,
    ("mistral-7b", "bf16"): 14_496_047_104,
    ("qwen2.5-7b", "bf16"): 15_231_233_024,
    ("qwen2.5-72b", "bf16"): 145_412_407_296,
    ("qwen3-8b", "bf16"): 16_381_470_720,
    ("llama-3.2-3b", "bf16"): 6_425_499_648,
    ("mixtral-8x7b", "bf16"): 93_405_585_408,
    ("qwen3-30b-a3b", "bf16"): 61_064_245_248,
    ("llama-3.1-8b", "fp8"): 9_083_953_152,  # RedHatAI's FP8-dynamic: data of its safetensors headers
    ("gpt-oss-120b", "mxfp4"): 65_248_815_744,
    ("gpt-oss-20b", "mxfp4"): 13_761_264_768,
}


@pytest.mark.parametrize("model, weights", TOTAL_SIZE)
def test_weights_are_those_of_the_published_files_to_the_byte(model, weights):
    assert planned(model, weights=weights).weights.value == TOTAL_SIZE[model, weights]


def test_a_mixture_has_more_parameters_than_a_token_meets():
    """gpt-oss model card: 116.83B and 5.13B active, 20.91B and 3.61B; 114.71B of MLP at 4.25 bits, the rest at 16."""
    large, small = planned("gpt-oss-120b", weights="mxfp4"), planned("gpt-oss-20b", weights="mxfp4")
    assert (round(large.params / 1e9, 2), round(large.active / 1e9, 2)) == (116.83, 5.13)
    assert (round(small.params / 1e9, 2), round(small.active / 1e9, 2)) == (20.91, 3.61)
    for p, mlp_billions, rest_billions, gib in ((large, 114.71, 2.12, 60.70), (small, 19.12, 1.80, 12.81)):
        mlp = sum(part.params for part, _ in p.parts if part.name.startswith("mlp"))
        assert round(mlp / 1e9, 2) == mlp_billions and abs((p.params - mlp) / 1e9 - rest_billions) < 0.01
        assert abs(mixed_bytes([(mlp, 4.25), (p.params - mlp, 16)]) / GIB - gib) < 0.01
    assert round(large.weights.value / GIB, 1) == 60.8 and round(small.weights.value / GIB, 1) == 12.8  # the card's
    assert round(planned("deepseek-v3").params / 1e9, 2) == 671.03 and planned("deepseek-v2").params == 235_741_434_880


def tiny(kind, **keys):
    base = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, vocab_size=100,
                num_key_value_heads=2)  # fmt: skip
    return {**base, "model_type": kind, **keys}


MLA = dict(kv_lora_rank=16, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=24, n_routed_experts=8,
           n_shared_experts=2, num_experts_per_tok=2, moe_intermediate_size=32, first_k_dense_replace=1,
           num_key_value_heads=4)  # fmt: skip
FAMILIES = {
    "llama": tiny("llama"),
    "llama with biases, tied": tiny("llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "mistral, own head_dim": tiny("mistral", head_dim=24, sliding_window=None),
    "qwen2": tiny("qwen2", use_sliding_window=False),
    "qwen3": tiny("qwen3", head_dim=24, tie_word_embeddings=True),
    "gemma": tiny("gemma", head_dim=24),
    "phi3": tiny("phi3", pad_token_id=0),
    "phi3, tied": tiny("phi3", pad_token_id=0, tie_word_embeddings=True, num_key_value_heads=4),
    "gemma2": tiny("gemma2", head_dim=24, sliding_window=8),
    "gemma3_text": tiny("gemma3_text", head_dim=24, sliding_window=8),
    "mixtral": tiny("mixtral", num_local_experts=6, num_experts_per_tok=2, sliding_window=None),
    "qwen3_moe": tiny("qwen3_moe", head_dim=24, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=32,
                      decoder_sparse_step=2, mlp_only_layers=[3]),
    "gpt_oss": tiny("gpt_oss", head_dim=24, num_local_experts=6, num_experts_per_tok=2, attention_bias=True,
                    layer_types=["sliding_attention", "full_attention"] * 2, sliding_window=8),
    "deepseek_v2": tiny("deepseek_v2", q_lora_rank=None, **MLA),
    "deepseek_v3": tiny("deepseek_v3", q_lora_rank=20, **MLA),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_those_of_transformers_own_module(name):
    from transformers import AutoConfig, AutoModelForCausalLM

    keys = dict(FAMILIES[name])
    config = AutoConfig.for_model(keys.pop("model_type"), **keys)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    count = sum(p.numel() for p in model.parameters())
    count += sum(b.numel() for name, b in model.named_buffers() if "score_correction" in name)  # stored in the file
    assert sum(part.params for part in parts(FAMILIES[name])) == count
    assert sum(part.params for part in parts(config)) == count
    if config.model_type in SHAPED:  # and every single one
        wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
        for given in (FAMILIES[name], config):
            assert parameter_shapes(given) == wanted
    else:
        with pytest.raises(ValueError, match=f"config must be of one of .* got model_type '{config.model_type}'"):
            parameter_shapes(config)


@pytest.mark.parametrize("layout, weights, bits, group", [
    ("gptq", "gptq", 4, 128), ("awq", "awq", 4, 128), ("compressed-tensors", "w4a16", 4, 128),
    ("gptq", "gptq-g64", 4, 64), ("awq", "AWQ-g32", 4, 32), ("compressed-tensors", "w4a16-g64", 4, 64),
    ("gptq_v2", None, 3, 32), ("gptq", None, 8, None), ("compressed-tensors", None, 8, 64),
])  # fmt: skip
def test_packed_bytes_are_those_that_the_course_writes(tmp_path, layout, weights, bits, group):
    """By the format's name, and by what config.json says of the files."""
    from safetensors import safe_open
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=96, tie_word_embeddings=False)  # fmt: skip
    torch.manual_seed(0)
    symmetric = "full" if layout == "compressed-tensors" else False
    scheme = Scheme.int(bits, group=group, symmetric=symmetric, scale_dtype=torch.float16)
    save(quantize_model(LlamaForCausalLM(config), scheme), tmp_path / "out", layout)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        written = sum(file.get_tensor(key).nbytes for key in file.keys())  # noqa: SIM118
    found = of_files(config_of(tmp_path / "out")[1])
    assert sum(bits for _, bits in stored(config, found)) == 8 * written
    if weights is not None:
        assert sum(bits for _, bits in stored(config, weight_format(weights))) == 8 * written


@pytest.mark.parametrize("said, told", [
    ({"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True}, "GPTQ INT4, groups of 64, on NVIDIA L4"),
    ({"quant_method": "bitsandbytes"}, "weights must be given, since config.json is that of quantized files: quant"),
    ({"bits": 4, "group_size": 64}, "weights must be given, since config.json is that of quantized files (mlx)"),
    (None, "BF16, on NVIDIA L4"),
])  # fmt: skip
def test_files_that_are_quantized_are_not_sized_as_16_bits(tmp_path, capsys, said, told):
    config = config_of("llama-3-8b")[1] | ({"quantization_config": said} if said else {})
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main([str(tmp_path), "--gpu", "l4"]) == (0 if "NVIDIA" in told else 2)
    assert told in "".join(capsys.readouterr())
    if said:
        assert main([str(tmp_path), "--gpu", "l4", "--weights", "nf4"]) == 0


def test_a_gguf_file_is_sent_to_its_own_planner(tmp_path, capsys):
    (tmp_path / "bot.gguf").write_bytes(b"GGUF")
    assert main([str(tmp_path / "bot.gguf"), "--gpu", "l4"]) == 2
    assert "is a GGUF file: `course offload` plans it" in capsys.readouterr().err


def test_packed_files_of_70_billion_weights():
    """RedHatAI's W4A16 (with a g_idx a column, which newer files leave out), NVIDIA's NVFP4, by their headers."""
    p = planned("llama-3-70b", weights="w4a16")
    g_idx = 4 * sum(part.shape[1] * part.count for part, _ in p.parts if part.role in ("attention", "mlp"))
    assert p.weight_bytes + g_idx == 39_525_311_232
    assert abs(planned("llama-3-70b", weights="nvfp4").weight_bytes - 42_709_045_632) < 1000  # some scales are shared


def test_gguf_mixes_agree_with_the_offload_planner_and_with_llama_cpp():
    for mix in ("Q4_K_M", "Q6_K", "Q2_K", "IQ4_XS", "Q8_0"):
        for model in ("llama-3-8b", "llama-3-70b", "mistral-7b"):
            needs = needs_of_config(config_of(model)[1], mix, 8192)
            assert planned(model, weights=mix).weights.value == sum(needs.layers) + needs.output + needs.embedding
    bits = 8 * planned("llama-3-8b", weights="q4_k_m").weights.value / 8_030_261_248
    assert round(bits, 2) == 4.89  # "file size = 4.58 GiB (4.89 BPW)"


@pytest.mark.parametrize(
    "name, bits",
    [("int8", 8 + 16 / 4096), ("fp8-block", 8 + 32 / 128**2), ("mxfp4", 4.25), ("awq", 4 + 20 / 128), ("nvfp4", 4.5)],
)
def test_bits_of_one_matrix(name, bits):
    extra = 64 / 4096**2 if name == "nvfp4" else 0
    assert float(FORMATS[name].matrix_bits((4096, 4096))) / 4096**2 == bits + extra
    assert FORMATS["fp8-block"].matrix_bits((129, 1)) == 129 * 8 + 2 * 32


# ------------------------------------------------------------------ the cache and the speed


def test_the_cache_is_that_of_kvcache_with_whole_blocks():
    for model in ("llama-3-8b", "gemma-3-27b", "gpt-oss-120b", "deepseek-v3"):
        config = config_of(model)[1]
        assert planned(model, context=131072, batch=3, kv_bits=8).kv.value == kv_bytes(config, 131072, 3, 8)
        assert planned(model, context=8191).kv.value == kv_bytes(config, 8192)
    assert planned("gpt-oss-120b", context=131072).kv.value == 4_836_556_800
    assert round(planned("gemma-3-27b", context=131072).kv.value / GIB, 3) == 10.406


def test_the_source_s_seven_billion_weights_and_their_cache():
    p = planned("7b", weights="4", batch=32)
    assert (round(p.weights.value / GIB, 1), p.kv.value / GIB) == (3.3, 32.0)


def test_more_gpus_than_heads_hold_copies():
    assert planned("llama-3-70b", gpus=8).kv_copies == 1
    assert planned("qwen2.5-7b", gpus=8).kv.value == 2 * planned("qwen2.5-7b").kv.value
    assert planned("deepseek-v3", gpus=8).kv.value == 8 * planned("deepseek-v3").kv.value


@pytest.mark.parametrize("weights, tokens", [("bf16", 114_512), ("4.5", 32_207)])
def test_crossover_of_llama_3_8b(weights, tokens):
    p = planned("llama-3-8b", weights=weights)
    assert crossover(p) == tokens == crossover_tokens(p.config, read_bytes(p))
    assert bound(planned("llama-3-8b", "h100", tokens - 16, weights=weights)) == "weights"
    assert bound(planned("llama-3-8b", "h100", tokens, weights=weights)) == "cache"


def test_crossover_with_windows_is_the_first_length():
    p = planned("gpt-oss-120b", weights="mxfp4")
    n = crossover(p)
    assert p.kv_of(n, 1) >= read_bytes(p, 1) > p.kv_of(n - 1, 1)
    assert crossover(plan(tiny("mistral", sliding_window=8), "h100")) == math.inf


def test_a_step_reads_the_head_and_not_the_embedding_table():
    tied, untied = planned("llama-3.2-3b"), planned("llama-3-8b")
    assert read_bytes(untied) == 2 * (untied.active - 266_240)  # 65 norms of 4,096
    assert read_bytes(tied) == tied.weights.value - 2 * 57 * 3072  # the table is the head
    assert tied.active == tied.params


def test_a_batch_reads_more_experts_than_one_token():
    p = planned("gpt-oss-120b", weights="mxfp4")
    one, all_of_them = read_bytes(p, 1), read_bytes(p, 10_000)
    dense = sum(float(b) / 8 for part, b in p.parts if part.role in ("head", "attention", "router"))
    experts = sum(float(b) / 8 for part, b in p.parts if part.role == "experts")
    assert one == pytest.approx(dense + experts * 4 / 128) and all_of_them == pytest.approx(dense + experts)
    assert read_bytes(p, 2) == pytest.approx(dense + experts * (1 - (124 / 128) ** 2))


def test_the_ceiling_is_bandwidth_or_arithmetic():
    p = planned("llama-3-8b", "h100")
    speed = {f.key: f.value for f in figures(p)}
    assert speed["speed"] == pytest.approx(3350e9 / (15_009_316_864 + 2**30))
    assert {f.key: f.value for f in figures(planned("llama-3-8b", gpus=2))}["speed"] == pytest.approx(
        2 * speed["speed"]
    )
    assert bound(planned("llama-3-8b", "h100", 16, 4096)) == "arithmetic"


# ------------------------------------------------------------------ fitting, and what to change


def test_pieces_add_up_and_every_figure_has_formula_and_source():
    for model in known():
        p = planned(model, "b200", weights="bf16", gpus=8)
        assert p.total == sum(f.value for f in p.pieces) and p.free == p.memory - p.total
        for figure in (*p.pieces, *figures(p)):
            assert len(figure.formula) > 10 and len(figure.source) > 10 and "inf" not in figure.shown(), figure


def test_the_longest_context_and_largest_batch_are_the_last_that_fit():
    p = planned("llama-3-8b", "rtx-4090", weights="q4_k_m")
    n, b = max_context(p), max_batch(p)
    assert planned("llama-3-8b", "rtx-4090", n, weights="q4_k_m").fits
    assert not planned("llama-3-8b", "rtx-4090", n + 16, weights="q4_k_m").fits
    assert planned("llama-3-8b", "rtx-4090", 8192, b, "q4_k_m").fits
    assert not planned("llama-3-8b", "rtx-4090", 8192, b + 1, "q4_k_m").fits
    assert max_batch(planned("llama-3-70b", "rtx-4060")) == max_context(planned("llama-3-70b", "rtx-4060")) == 0


def test_an_impossible_plan_says_by_how_much_and_what_is_enough():
    p = planned("llama-3-70b", "h100", 32768, 4)
    assert not p.fits and f"{-p.free / GIB:,.2f} GiB too little" in verdict(p)
    told = list(remedies(p))
    assert [t for t in told if "instead of BF16" in t] and [t for t in told if "3 x NVIDIA H100" in t], told
    assert any(t.startswith("2 x NVIDIA H100") for t in remedies(planned("llama-3-70b")))
    assert planned("llama-3-70b", "h100", 32768, 4, gpus=3).fits
    assert not planned("llama-3-70b", "h100", 32768, 4, gpus=2).fits
    long = planned("llama-3-8b", "h100", 131072, 4, weights="fp8")
    assert any(t.startswith("a cache of 8 bits") for t in list(remedies(long)))
    assert list(remedies(planned("llama-3-8b"))) == []
    hopeless = planned("llama-3.1-405b", "rtx-4060", 131072, 64)
    assert list(remedies(hopeless)) == [] and "would still be missing" in last_resort(hopeless)
    assert "together are" in last_resort(planned("llama-3-8b", "rtx-4060", 8192, 1))


def test_each_remedy_is_true():
    p = planned("llama-3-8b", "rtx-3090", 131072, 4)
    context = next(t for t in list(remedies(p)) if t.startswith("a context of"))
    n = int(context.split()[3].replace(",", ""))
    assert planned("llama-3-8b", "rtx-3090", n, 4).fits and not planned("llama-3-8b", "rtx-3090", n + 16, 4).fits


@pytest.mark.parametrize(
    "model, gpu, weights, word",
    [("llama-3-8b", "h100", "fp8", "natively"), ("llama-3-8b", "a100", "fp8", "no matrix units"),
     ("llama-3-8b", "t4", "bf16", "take FP16"), ("llama-3-8b", "b200", "nvfp4", "natively"),
     ("llama-3-8b", "h200", "nvfp4", "no matrix units"), ("llama-3-8b", "mi300x", "fp8", "FNUZ"),
     ("llama-3-8b", "h100", "gptq", "weight-only"), ("llama-3-8b", "l4", "q4_k_m", "llama.cpp")],
)  # fmt: skip
def test_which_machine_multiplies_which_format(model, gpu, weights, word):
    assert word in native(planned(model, gpu, weights=weights))


def test_devices_name_their_formats():
    assert all(entry.native for entry in DEVICES.values())
    assert device("RTX 4090").name == "rtx-4090" and gpus_of("H100x2") == (DEVICES["h100-sxm"], 2)
    assert gpus_of("mi300x")[1] == 1 and gpus_of("mi355x x 8") == (DEVICES["mi355x"], 8)
    with pytest.raises(ValueError, match="rtx-4060 or rtx-4090|rtx-3090 or"):
        device("rtx")


# ------------------------------------------------------------------ logs

VLLM = """Loading model weights took 14.9888 GB
Memory profiling results: total_gpu_memory=23.58GiB initial_memory_usage=15.34GiB peak_torch_memory={peak}GiB \
memory_usage_post_profile=15.35GiB non_torch_memory=0.35GiB kv_cache_size={room}GiB gpu_memory_utilization=0.90
GPU blocks: {blocks}, # CPU blocks: 2048
"""  # vLLM issue 10517: Llama-3.1-8B on an RTX 3090
LLAMA = """print_info: file size   = 4.58 GiB (4.89 BPW)
load_tensors: offloaded 33/33 layers to GPU
load_tensors:        CUDA0 model buffer size =  4403.49 MiB
load_tensors:   CPU_Mapped model buffer size =   281.81 MiB
llama_init_from_model: n_ctx         = 8192
llama_init_from_model: n_ctx_per_seq = 2048
llama_kv_cache_init:      CUDA0 KV buffer size =  1024.00 MiB
llama_init_from_model:  CUDA_Host  output buffer size =     2.02 MiB
llama_init_from_model:      CUDA0 compute buffer size =   560.00 MiB
llama_init_from_model:  CUDA_Host compute buffer size =    24.01 MiB
"""  # ollama, Llama-3.1-8B as Q4_K_M, without flash attention


@pytest.mark.parametrize("tokens, peak, room, blocks", [(20000, 17.06, 3.81, 1952), (29000, 17.98, 2.89, 1478)])
def test_a_vllm_log_agrees_with_the_plan(tokens, peak, room, blocks):
    p = planned("llama-3.1-8b", "rtx-3090", tokens, chunk=tokens)
    found = {f.what: f for f in reconcile(p, VLLM.format(peak=peak, room=room, blocks=blocks))}
    assert set(found) == {"weights", "activations", "memory left for the cache", "tokens in that memory"}
    assert all(f.agrees for f in found.values()), [f.sentence() for f in found.values()]
    assert abs(found["weights"].difference) < 1e-4 * GIB  # with the rotary table, to the last digit
    assert found["tokens in that memory"].logged == 16 * blocks


def test_a_log_of_another_model_differs_and_says_by_how_much():
    p = planned("qwen2.5-7b", "rtx-3090", 20000, chunk=20000)
    found = {f.what: f for f in reconcile(p, VLLM.format(peak=17.06, room=3.81, blocks=1952))}
    assert not found["weights"].agrees and not found["tokens in that memory"].agrees
    assert "the log has 0.77 GiB (5.4%) more" in found["weights"].sentence()
    assert "GB" in found["weights"].sentence(gb=True)


def test_newer_vllm_lines_are_read():
    said = read("Model loading took 5.3473 GiB and 9.1 seconds\nAvailable KV cache memory: 8.11 GiB\n"
                "GPU KV cache size: 178,880 tokens\nPyTorch activation peak memory takes 1.26GiB;")  # fmt: skip
    assert said["weights"][0] == 5.3473 * GIB and said["tokens"][0] == 178_880
    assert said["kv room"] == (8.11 * GIB, 0.005 * GIB) and said["activations"][0] == 1.26 * GIB


def test_a_llama_cpp_log_agrees_to_the_last_digit_where_bytes_are_exact():
    found = {f.what: f for f in reconcile(planned("llama-3.1-8b", "rtx-4060", 2048, 4, "q4_k_m"), LLAMA)}
    assert abs(found["weights in all buffers"].difference) < 0.01 * 2**20
    assert found["cache of 8,192 tokens"].difference == 0
    assert not found["compute buffer"].agrees and found["compute buffer"].difference > 0  # no flash attention


@pytest.mark.parametrize(
    "model, gpu_mib, cpu_mib", [("qwen2.5-7b", 4168.09, 292.36), ("llama-3.2-3b", 1918.35, 308.23)]
)
def test_llama_cpp_s_buffers_of_other_models(model, gpu_mib, cpu_mib):
    log = f"load_tensors:   CPU_Mapped model buffer size =   {cpu_mib} MiB\nCUDA0 model buffer size =  {gpu_mib} MiB"
    (found,) = reconcile(planned(model, weights="q4_k_m"), log)
    assert abs(found.difference) < 0.02 * 2**20, found.sentence()


@pytest.mark.parametrize(
    "log", ["", "hello", "model buffer size = lots MiB", "Model loading took 1.2.3 GiB", "9" * 10**5]
)
def test_a_log_without_figures_is_refused(log):
    try:
        reconcile(planned("llama-3-8b"), log)
    except ValueError as error:
        assert str(error).startswith("log must hold lines")


# ------------------------------------------------------------------ bad input, the command


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(context=0), "context must be a whole number"),
        (dict(batch=-1), "batch must be a whole number"),
        (dict(gpus=0), "gpus must be a whole number"),
        (dict(kv_bits=0), "dtype_bits must be above 0"),
        (dict(weights="q9"), "weights must be one of"),
        (dict(weights="nan"), "weights must be one of"),
        (dict(gpu="voodoo"), "device must be a Device or one of"),
        (dict(reserve=1), "reserve must be a share"),
        (dict(chunk=0), "chunk must be"),
    ],
)
def test_bad_input_gets_one_sentence(change, said):
    with pytest.raises(ValueError, match=said) as caught:
        planned("llama-3-8b", **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config, said",
    [
        (dict(model_type="mamba"), "config must be of one of llama"),
        (tiny("llama", vocab_size=None), "config needs vocab_size"),
        (tiny("mixtral", num_local_experts=2, num_experts_per_tok=3), "at most 2 experts"),
        (tiny("deepseek_v3", **MLA | dict(v_head_dim=None)), "config needs v_head_dim"),
    ],
)
def test_a_config_that_says_too_little_is_refused(config, said):
    with pytest.raises(ValueError, match=said):
        plan(config, "h100")


def test_what_has_no_gguf_mix_and_no_config_is_said():
    """The files of Mixtral and Qwen3-MoE are known, tests/test_gguf_moe.py."""
    dense_too = tiny("qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, mlp_only_layers=[1])
    for mixture in ("gpt-oss-20b", "deepseek-v2", dense_too):
        with pytest.raises(ValueError, match="known for mixtral and qwen3_moe with experts in every layer, and this"):
            planned(mixture, weights="q4_k_m")
    with pytest.raises(ValueError, match="did you mean llama-3-8b"):
        config_of("llama3-8b")
    assert weight_format("16") is FORMATS["bf16"] and weight_format("4 bits").bits == 4


def test_units_are_said():
    assert Figure("x", "x", 2**30, "bytes", "", "").shown() == "1.00 GiB"
    assert Figure("x", "x", 2**30, "bytes", "", "").shown(gb=True) == "1.07 GB"
    assert first_tokens(lambda n: n >= 77) == 77 and first_tokens(lambda n: False) == math.inf


def test_the_command_prints_a_table_and_its_formulas(capsys):
    assert main(["llama-3-8b", "--gpu", "RTX 3090", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "14.96 GiB" in said and "114,512 tokens" in said and "525,336,576 x 16 bits" in said and "It fits" in said
    assert main(["llama-3-8b", "--gpu", "rtx-3090", "--gb"]) == 0
    said = capsys.readouterr().out
    assert "16.06 GB" in said and "GiB" not in said


def test_the_command_says_what_to_change_and_what_to_offload(capsys):
    assert main(["llama-3-70b", "--gpu", "rtx-4090x2", "--weights", "q4_k_m", "--context", "32768"]) == 1
    said = capsys.readouterr().out
    assert "too much by" in said and "Enough would be:" in said and "-ngl " in said
    assert main(["llama-3-8b", "--gpu", "h100", "--log", "no/such.log"]) == 2
    assert "log must be a file that can be read, got 'no/such.log'" in capsys.readouterr().err
    assert main(["nosuchmodel", "--gpu", "h100"]) == 2
    assert capsys.readouterr().err.startswith("course plan: model must be")


def test_the_command_s_json_and_log(tmp_path, capsys):
    log = tmp_path / "engine.log"
    log.write_text(LLAMA, encoding="utf-8")
    assert main(["llama-3.1-8b", "--gpu", "rtx4060", "--weights", "Q4_K_M", "--json", "--log", str(log)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["figures"][0]["value"] == said["figures"][0]["value"] // 1 and said["fits"] is True
    assert [f["agrees"] for f in said["log"]] == [True, True, False]
    (tmp_path / "config.json").write_text(json.dumps(tiny("llama")), encoding="utf-8")
    assert main([str(tmp_path), "--gpu", "t4", "--log", str(log)]) == 0
    said = capsys.readouterr().out
    assert "differ" in said and tmp_path.name in said


# ------------------------------------------------------------------ the explorer


def test_the_explorer_says_something_true_everywhere():
    explorer = explorers.capacity()
    draw = random.Random(1)
    for _ in range(40):
        state = {control.name: draw.choice(control.values()) for control in explorer.controls}
        sentence, scene = explorer.frame(**state)
        shown = explorer.numbers(**state)
        assert sentence.endswith(".") and 40 < len(sentence) < 330, (state, sentence)
        assert not re.search(r"nan|inf\b|None| -\d|x Laptop", sentence), (state, sentence)
        assert sentence.startswith("It fits" if shown.plan.fits else "It does not fit")
        assert ("GB" in sentence) == state["gb"] or "to spare" not in sentence, sentence
        assert all(mark.kind != "text" or -5 < mark.at[1] < 480 for mark in scene.marks)


def test_every_figure_of_the_explorer_opens_to_its_formula():
    explorer = explorers.capacity(model="llama-3.1-8b", context=8192)
    page = explorer.html()
    assert page.count("<details") == 7 and page.count("<summary>") == 7
    assert "= 1 x (32 layers GQA x 2,048 numbers x 8,192 tokens) x 16 / 8" in page and "114,512 tokens" in page
    assert "NVIDIA Ada GPU Architecture white paper" in page and "multiplies it natively" in page
    assert "there is room for 5 such sequences" in page
    assert "GiB" not in explorer.frame(gb=True)[0]


def test_the_explorer_shows_where_cache_and_weights_meet():
    texts = [mark.at[2] for mark in explorers.capacity(batch=4).frame()[1].marks if mark.kind == "text"]
    assert "equal at 28,628" in texts  # 114,512 tokens of four sequences
    assert "4 × the cache" in texts and "✓ fits" in texts
