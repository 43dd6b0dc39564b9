"""The bundled model as GGUF, in llama.cpp itself: the same tokens, the same logits, the same bytes; silent traps."""

import copy

import numpy as np
import pytest
import torch
from tokenizers import processors

from course_lib import models
from course_lib.artifacts.gguf import GGUFError, Part, llama, mixes, read, write
from course_lib.artifacts.gguf.load import load
from tests.gguf_models import in_llama_cpp, in_torch, kl, rewritten, with_8_bit_inputs
from tests.llama_oracle import Llama

TEXT = "Hello, order olive-5426. 1 red jacket (70 euros), missing. def f(x):\n    return x  # café"
MIXES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_L", "Q2_K", "Q4_0", "IQ4_NL", "IQ4_XS")


@pytest.fixture(scope="module")
def bundled():
    return models.load("bundled")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("llama")


@pytest.fixture(scope="module")
def ids(bundled):
    return bundled[1](TEXT).input_ids


def test_an_f32_file_has_the_logits_of_transformers(bundled, folder, ids):
    path = llama.export(*bundled, folder / "f32.gguf", "F32")
    assert np.abs(in_llama_cpp(path, ids) - in_torch(bundled[0], ids)).max() < 1e-4


@pytest.mark.parametrize("text", [TEXT, "", " ", "a\n\n  b", "1234567 x", "naïve – ☕ 東京", "<|endoftext|>x"])
def test_llama_cpp_cuts_text_into_the_same_tokens(bundled, folder, text):
    path = folder / "f32.gguf"
    llama_cpp = Llama(path if path.exists() else llama.export(*bundled, path, "F32"))
    try:
        plain = bundled[1](text, split_special_tokens=True).input_ids
        assert llama_cpp.tokenize(text) == plain
    finally:
        llama_cpp.close()


def test_greedy_text_is_that_of_transformers(bundled, folder):
    model, tokenizer = bundled
    llama_cpp = Llama(llama.export(model, tokenizer, folder / "greedy.gguf", "F32"))
    try:
        ids = tokenizer(models.task.generate(1, "greedy")[0].prompt).input_ids
        with torch.no_grad():
            want = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0].tolist()
        while len(ids) < len(want):
            ids = [*ids, int(llama_cpp.logits(ids)[-1].argmax())]
        assert ids == want
    finally:
        llama_cpp.close()


@pytest.mark.parametrize("mix", MIXES)
def test_a_quantized_file_runs_as_its_weights_say(bundled, folder, ids, mix):
    """llama.cpp rounds activations too; that explains what lies between its logits and those of our weights."""
    path = llama.export(*bundled, folder / f"{mix}.gguf", mix)
    model, tokenizer = load(path)
    ours, theirs = in_torch(model, ids), in_llama_cpp(path, ids)
    explained = kl(ours, in_torch(with_8_bit_inputs(model, path), ids))
    assert kl(ours, theirs) < 2 * explained < 8e-3
    assert tokenizer(TEXT).input_ids == ids


def test_the_file_holds_what_the_mix_says(bundled, folder):
    file = read(llama.export(*bundled, folder / "mix.gguf", "Q4_K_M"))
    types = {name: info.type for name, info in file.tensors.items()}
    assert types["token_embd.weight"] == "Q6_K" and "output.weight" not in types
    assert types["blk.0.ffn_up.weight"] == "Q4_K" and types["output_norm.weight"] == "F32"
    assert [types[f"blk.{k}.attn_v.weight"] for k in range(4)] == ["Q4_K", "Q4_K", "Q6_K", "Q6_K"]
    assert file.metadata["general.file_type"] == 15


def test_an_importance_matrix_changes_the_bytes(bundled, folder):
    weights = {f"blk.{k}.attn_q.weight": np.arange(1, 257, dtype=np.float32) for k in range(4)}
    plain = read(llama.export(*bundled, folder / "plain.gguf", "Q4_K_S"))
    weighed = read(llama.export(*bundled, folder / "weighed.gguf", "Q4_K_S", weights))
    changed = [name for name in plain.tensors if not np.array_equal(plain.data(name), weighed.data(name))]
    assert changed == sorted(weights)
    with pytest.raises(ValueError, match="imatrix must name tensors of the file, such as "):
        llama.export(*bundled, folder / "other.gguf", "Q4_K_S", {"model.layers.0.self_attn.q_proj": weights})


# ---- silent traps: llama.cpp loads the file and says nothing


def test_the_permutation_forgotten(bundled, folder, ids, monkeypatch):
    monkeypatch.setattr(llama, "permute", lambda w, heads: w)
    path = llama.export(*bundled, folder / "straight.gguf", "F32")
    assert np.abs(in_llama_cpp(path, ids) - in_torch(bundled[0], ids)).max() > 1


def test_the_rope_base_missing(bundled, folder, ids):
    model = copy.deepcopy(bundled[0])
    model.config.rope_parameters["rope_theta"] = 500_000.0
    model = type(model)(model.config).eval()
    model.load_state_dict(bundled[0].state_dict())
    path = llama.export(model, bundled[1], folder / "rope.gguf", "F32")
    assert np.abs(in_llama_cpp(path, ids) - in_torch(model, ids)).max() < 1e-4
    gone = rewritten(path, folder / "gone.gguf", lambda k: {key: v for key, v in k.items() if "freq_base" not in key})
    assert np.abs(in_llama_cpp(gone, ids) - in_torch(model, ids)).max() > 0.1


def test_a_nan_scale_is_loaded(bundled, folder, ids):
    """One block's scale overwritten: llama.cpp does not look, and the answer is NaN or only wrong."""

    def spoil(name, data):
        data = np.array(data)
        if name == "blk.0.ffn_up.weight":
            data[:2] = np.float16(np.nan).view(np.uint16).reshape(1).view(np.uint8)
        return data

    path = llama.export(*bundled, folder / "whole.gguf", "Q8_0")
    spoilt = in_llama_cpp(rewritten(path, folder / "nan.gguf", tensor=spoil), ids)
    whole = in_llama_cpp(path, ids)
    assert not np.allclose(spoilt, whole, equal_nan=True)


def test_a_tied_head_is_not_written_and_an_own_one_is(bundled, folder, ids):
    model = copy.deepcopy(bundled[0])
    model.config.tie_word_embeddings = False
    model = type(model)(model.config).eval()
    state = dict(bundled[0].state_dict())
    state["lm_head.weight"] = 1.5 * state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    path = llama.export(model, bundled[1], folder / "untied.gguf", "F32")
    assert np.abs(in_llama_cpp(path, ids) - in_torch(model, ids)).max() < 1e-4
    assert not load(path)[0].config.tie_word_embeddings
    file = read(path)
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    lost = write(folder / "lost.gguf", file.fields, [part for part in parts if part.name != "output.weight"])
    want = in_torch(model, ids)  # llama.cpp takes the embedding for the head that is missing: all logits by 1 / 1.5
    assert (
        np.abs(1.5 * in_llama_cpp(lost, ids) - want).max() < 1e-3 and np.abs(in_llama_cpp(lost, ids) - want).max() > 1
    )


def test_a_checkpoint_directory_gives_the_same_file_as_the_model(bundled, folder, tmp_path):
    """Read one tensor at a time; a directory that lacks one is refused, not written short."""
    want, got = (read(llama.export(source, bundled[1], folder / f"{k}.gguf", "Q4_K_M"))
                 for k, source in enumerate((bundled[0], models.BUNDLED)))  # fmt: skip
    assert {name: info._replace(offset=0) for name, info in got.tensors.items()} == {
        name: info._replace(offset=0) for name, info in want.tensors.items()
    }
    assert all(np.array_equal(got.data(name), want.data(name)) for name in want.tensors)
    name = "general.name"
    assert {**got.metadata, name: 0} == {**want.metadata, name: 0}
    (tmp_path / "config.json").write_bytes((models.BUNDLED / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError, match="must hold safetensors files, got none"):
        llama.export(tmp_path, bundled[1], tmp_path / "x.gguf")


def test_added_tokens_a_first_one_and_an_embedding_with_rows_to_spare(bundled, folder):
    """Tokens that are cut out before the split, one put before every text, and rows that no token uses."""
    model, tokenizer = copy.deepcopy(bundled[0]), copy.deepcopy(bundled[1])
    tokenizer.add_tokens(["<tool>"])
    bos = tokenizer.eos_token
    tokenizer.bos_token = bos
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.eos_token_id)]
    )
    model.resize_token_embeddings(len(tokenizer) + 5, mean_resizing=False)
    path = llama.export(model, tokenizer, folder / "added.gguf", "F32")
    keys = read(path).metadata
    assert keys["tokenizer.ggml.token_type"][-6:] == [4, 5, 5, 5, 5, 5] and keys["tokenizer.ggml.add_bos_token"] is True
    text = "send <tool> now"
    want = tokenizer(text).input_ids
    assert want[0] == tokenizer.bos_token_id and len(tokenizer) - 1 in want
    again, theirs = load(path)
    assert theirs(text).input_ids == want and theirs("a", "b").input_ids.count(want[0]) == 2
    llama_cpp = Llama(path)
    try:
        assert llama_cpp.tokenize(text) == want[1:]  # this call asks for no first token
        assert np.abs(llama_cpp.logits(want) - in_torch(model, want)).max() < 1e-4
    finally:
        llama_cpp.close()
    with pytest.raises(ValueError, match="tokenizer must have at most"):
        llama.tokenizer_keys(tokenizer, 10)


# ---- mixes


def llama_31_8b():
    shapes = {"token_embd.weight": (128256, 4096), "output_norm.weight": (4096,), "output.weight": (128256, 4096),
              "rope_freqs.weight": (64,)}  # fmt: skip
    layer = {"attn_norm": (4096,), "ffn_norm": (4096,), "attn_q": (4096, 4096), "attn_k": (1024, 4096),
             "attn_v": (1024, 4096), "attn_output": (4096, 4096), "ffn_gate": (14336, 4096), "ffn_up": (14336, 4096),
             "ffn_down": (4096, 14336)}  # fmt: skip
    return shapes | {f"blk.{k}.{role}.weight": shape for k in range(32) for role, shape in layer.items()}


PUBLISHED = {  # bits per weight of Llama-3.1-8B in llama.cpp's tools/quantize/README.md
    "IQ3_S": 3.6606, "IQ3_M": 3.7628, "IQ4_XS": 4.4597, "IQ4_NL": 4.6818, "Q2_K": 3.1593, "Q3_K_S": 3.6429,
    "Q3_K_L": 4.2979, "Q4_K_S": 4.6672, "Q4_K_M": 4.8944, "Q5_K_S": 5.5704, "Q5_K_M": 5.7036, "Q6_K": 6.5633,
    "Q8_0": 8.5008, "F16": 16.0005, "IQ1_S": 2.0042, "IQ1_M": 2.1460, "IQ2_XXS": 2.3824, "IQ2_XS": 2.5882,
    "IQ2_S": 2.7403, "IQ2_M": 2.9294, "IQ3_XXS": 3.2548, "IQ3_XS": 3.4977, "Q2_K_S": 2.9697,
}  # fmt: skip


@pytest.mark.parametrize("mix", PUBLISHED)
def test_bits_per_weight_are_the_published_ones(mix):
    model = mixes.Model(32, 4, False, imatrix=mix == "IQ3_XXS")
    assert round(mixes.bits_per_weight(llama_31_8b(), mix, model), 4) == PUBLISHED[mix]


def test_the_70b_rule_of_shared_values():
    """llama-quant.cpp gives attn_v of LLM_TYPE_70B (80 layers, n_head != n_head_kv) Q5_K in place of Q3_K and Q4_K."""
    name, shape, models = "blk.40.attn_v.weight", (1024, 8192), ((80, 8), (80, 1), (32, 8))
    kinds = {mix: [mixes.tensor_type(name, shape, mix, mixes.Model(*model, False)) for model in models]
             for mix in ("Q4_K_S", "Q3_K_M", "Q2_K", "Q6_K")}  # fmt: skip
    assert kinds == {"Q4_K_S": ["Q5_K", "Q4_K", "Q4_K"], "Q3_K_M": ["Q5_K", "Q4_K", "Q4_K"],
                     "Q2_K": ["Q5_K", "Q3_K", "Q4_K"], "Q6_K": ["Q6_K"] * 3}  # fmt: skip


def test_rows_that_are_not_whole_blocks_fall_back():
    kinds = [mixes.tensor_type("blk.1.ffn_up.weight", (8, cols), "Q4_K_S", mixes.Model(4, 1, True))
             for cols in (256, 96, 40)]  # fmt: skip
    assert kinds == ["Q4_K", "Q5_0", "F16"]
    with pytest.raises(ValueError, match="mix must be one of F32"):
        mixes.tensor_type("output.weight", (8, 256), "Q4_K_XL", mixes.Model(4, 1, True))


# ---- bad input


def test_what_a_file_lacks_is_named(bundled, folder):
    path = llama.export(*bundled, folder / "good.gguf", "Q8_0")

    def without(word):
        return rewritten(path, folder / "bad.gguf", lambda k: {key: v for key, v in k.items() if word not in key})

    with pytest.raises(GGUFError, match="llama.block_count must be a positive int, got None"):
        load(without("block_count"))
    with pytest.raises(GGUFError, match="general.architecture must be one of llama, qwen2, .*, got None"):
        load(without("architecture"))
    file = read(path)
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    with pytest.raises(GGUFError, match="1 tensors are missing, model.norm.weight among them"):
        load(write(folder / "bad.gguf", file.fields, [p for p in parts if p.name != "output_norm.weight"]))
    extra = Part("blk.9.attn_q.weight", (2,), 0, lambda: np.float32([1, 2]))
    with pytest.raises(GGUFError, match=r"blk.9.attn_q.weight has the shape \(2,\), which the keys do not describe"):
        load(write(folder / "bad.gguf", file.fields, [*parts, extra]))


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="model.layers.0.mlp.experts.0.w1.weight has no counterpart"):
        llama.gguf_name("model.layers.0.mlp.experts.0.w1.weight")
    for name in ("model.layers.3.self_attn.q_proj.weight", "lm_head.weight", "model.norm.weight"):
        assert llama.hf_name(llama.gguf_name(name)) == name
    w = torch.randn(12, 5)
    assert torch.equal(llama.unpermute(llama.permute(w, 3), 3), w)
