"""Models as they come from the hub, in their shapes and with random weights: every path of the course takes them.

A checkpoint directory is what a hub id becomes on disk. Widths are the families' ratios in small: SmolLM2-135M's nine
query heads on three, Qwen2's biases and missing BOS, Qwen3's norms of q and k in heads wider than the model, Mistral's
untied head, Gemma's one KV head, wide heads and gains of 1 + w.
"""

import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from course_lib import Scheme, artifacts, calibrate, evaluate, models
from course_lib.artifacts.gguf import llama
from course_lib.calibrate import ran
from course_lib.cli import main
from course_lib.kernels import dispatch
from course_lib.kvcache import QuantizedKVCache, kv_bytes

COMMON = dict(num_hidden_layers=2, max_position_embeddings=256, initializer_range=0.1, bos_token_id=0, eos_token_id=0,
              pad_token_id=0)  # fmt: skip
SHAPES = {
    "llama": dict(hidden_size=144, intermediate_size=384, num_attention_heads=9, num_key_value_heads=3, head_dim=16,
                  tie_word_embeddings=True),
    "qwen2": dict(hidden_size=112, intermediate_size=608, num_attention_heads=14, num_key_value_heads=2,
                  tie_word_embeddings=True),
    "qwen3": dict(hidden_size=128, intermediate_size=384, num_attention_heads=8, num_key_value_heads=4, head_dim=32,
                  tie_word_embeddings=True),
    "mistral": dict(hidden_size=128, intermediate_size=448, num_attention_heads=8, num_key_value_heads=2, head_dim=16,
                    sliding_window=None, tie_word_embeddings=False),
    "gemma": dict(hidden_size=128, intermediate_size=1024, num_attention_heads=4, num_key_value_heads=1, head_dim=64,
                  tie_word_embeddings=True),
}  # fmt: skip
TEXTS = ["the mug is broken, please send money back to my card.\n" * 3, "send the card back, please.\n" * 5]
INT4 = Scheme.int(4, group=16)
FOLDING = ["llama", "qwen2", "qwen3", "mistral"]


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request, tmp_path_factory):
    """(family, directory) of a checkpoint with its tokenizer; Qwen's has no BOS."""
    torch.manual_seed(0)
    rows = len(tiny.tokenizer()) + 4  # rows to spare; transformers adds <|endoftext|> to a Qwen tokenizer
    config = AutoConfig.for_model(request.param, vocab_size=rows, **SHAPES[request.param] | COMMON)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or "bias" in name:
                p.add_(torch.randn_like(p) * 0.2)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    if request.param.startswith("qwen"):
        inner = tokenizer._tokenizer
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.save_pretrained(folder)
    return request.param, folder


@pytest.fixture(scope="module")
def loaded(checkpoint):
    family, folder = checkpoint
    return family, *models.load(str(folder))


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits


def ids_of(tokenizer):
    return tokenizer(TEXTS[1][:60], return_tensors="pt").input_ids


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
def test_quantized_saved_and_read_again(loaded, method, tmp_path):
    family, model, tokenizer = loaded
    batches = None if method == "rtn" else calibrate.calibration_batches(tokenizer, TEXTS, 4, 32)
    result = calibrate.quantize_model(model, INT4, method, batches, progress=False)
    assert len(result.qtensors) == 14
    ids = ids_of(tokenizer)
    wanted = logits(result, ids)
    moved = (wanted - logits(model, ids)).abs().max()
    assert 0 < moved < logits(model, ids).abs().max()
    scheme = Scheme.int(4, symmetric="full", group=16, scale_dtype=torch.float16)
    stored = calibrate.quantize_model(model, scheme, "rtn")
    artifacts.save(stored, tmp_path / "q", "gptq", tokenizer)
    again, _ = artifacts.load(tmp_path / "q")
    torch.testing.assert_close(logits(again, ids), logits(stored, ids), atol=0.02, rtol=0.02)  # the rest in 16 bits


def test_smoothquant_leaves_the_answers_alone(loaded):
    family, model, tokenizer = loaded
    stats = calibrate.collect(model, calibrate.calibration_batches(tokenizer, TEXTS, 2, 32), progress=False)
    if family not in FOLDING:
        with pytest.raises(TypeError, match="does not multiply by its weight"):
            calibrate.smoothquant(model, stats)
        return
    ids = ids_of(tokenizer)
    smooth = calibrate.smoothquant(model, stats)
    torch.testing.assert_close(logits(smooth, ids), logits(model, ids), atol=1e-3, rtol=1e-3)
    w8a8 = calibrate.quantize_model(smooth, Scheme.int(8), activations=Scheme.int(8))
    assert logits(w8a8, ids).isfinite().all()


def test_gguf_refuses_other_families_by_name():
    with pytest.raises(ValueError, match="model must be one of llama, .*, mistral, mixtral, got model_type 'gpt_neox'"):
        llama.keys(AutoConfig.for_model("gpt_neox"), "F16", 300)


def test_gguf_takes_these_families(loaded, checkpoint, tmp_path):
    _, model, tokenizer = loaded
    path = tmp_path / "model.gguf"
    llama.export(checkpoint[1], tokenizer, path, "F32")
    again, words = artifacts.load(path)
    ids = ids_of(tokenizer)
    assert words(TEXTS[1][:60], return_tensors="pt").input_ids.tolist() == ids.tolist()
    torch.testing.assert_close(logits(again, ids), logits(model, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", ["gptq", "awq", "compressed-tensors"])
def test_the_command_reads_a_checkpoint_block_by_block(loaded, checkpoint, layout, tmp_path, capsys):
    """Biases, norms of heads and wide heads go through as they are, whatever the layout."""
    _, model, tokenizer = loaded
    options = ("--method", "rtn", "--group", "16", "--layout", layout)
    assert main(["quantize", str(checkpoint[1]), str(tmp_path / "q"), *options]) == 0, capsys.readouterr().err
    again, _ = artifacts.load(tmp_path / "q")
    symmetric = False if layout == "awq" else "full"
    scheme = Scheme.int(4, symmetric=symmetric, group=16, scale_dtype=torch.float16)
    ids = ids_of(tokenizer)
    wanted = logits(calibrate.quantize_model(model, scheme, "rtn"), ids)
    torch.testing.assert_close(logits(again, ids), wanted, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("format", ["fp8", "int4"])
def test_a_quantized_cache_is_sized_and_used(loaded, format):
    family, model, tokenizer = loaded
    ids = ids_of(tokenizer)
    shape = SHAPES[family]
    dim = shape.get("head_dim", shape["hidden_size"] // shape["num_attention_heads"])
    assert kv_bytes(model.config, 10) == 2 * 2 * 10 * shape["num_key_value_heads"] * dim * 2
    fields = {"group": 16} | ({} if format == "fp8" else {"sinks": 1})
    cache = QuantizedKVCache(model.config, format, residual=4, **fields)
    out = model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False, past_key_values=cache)
    assert out.shape == (1, ids.shape[1] + 6) and cache.get_seq_length() == ids.shape[1] + 5
    keys, _ = cache.decoded(0)
    full = model(input_ids=out[:, :-1], use_cache=True).past_key_values.layers[0].keys
    assert (keys - full).norm() < 0.25 * full.norm()


def test_evaluate_reads_and_compares(loaded):
    _, model, tokenizer = loaded
    other = calibrate.quantize_model(model, Scheme.int(3, group=16))
    score = evaluate.score(model, tokenizer, TEXTS, progress=False)
    assert score.tokens > 10 and 0 < score.bits_per_byte < 100
    found = evaluate.compare(model, other, tokenizer, TEXTS, progress=False)
    assert found.kl > 0 and found.base_perplexity == pytest.approx(score.perplexity, rel=1e-4)


def test_kernels_take_every_linear_whose_groups_fit(loaded):
    """Shapes like 144 × 384 end within a tile: masks, not luck."""
    _, model, tokenizer = loaded
    result = calibrate.quantize_model(model, Scheme.int(4))
    ids = ids_of(tokenizer)[:, :3]
    wanted = logits(result, ids)
    with dispatch.prefer("kernels"):
        got = logits(result, ids)
    assert set(ran(result).values()) == {"w4a16"}
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
