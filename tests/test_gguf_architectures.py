"""Llama with scaled positions, with biases, Qwen2 and Qwen3 as GGUF: llama.cpp's logits are those of transformers.

Every model is made so that each piece of it matters: biases of one, norms far from one, 200 tokens where the original
context was 64. What is forgotten then moves logits by more than a hundred times the tolerance.
"""

import gguf
import numpy as np
import pytest
import tiny
import torch
from transformers import AutoConfig

from course_lib import artifacts, models
from course_lib.artifacts import origin
from course_lib.artifacts.gguf import GGUFError, Part, architectures, imatrix, llama, mixes, read, rope, write
from course_lib.artifacts.gguf.load import load
from course_lib.calibrate import collect
from course_lib.cli import main
from tests.gguf_models import (
    CLOSE,
    FAR,
    IDS,
    SIZES,
    Files,
    in_llama_cpp,
    in_torch,
    kl,
    made_of,
    off,
    rewritten,
    with_8_bit_inputs,
)

PLAIN = {"rope_theta": 10_000.0, "rope_type": "default"}
LLAMA3 = PLAIN | dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                      original_max_position_embeddings=64)  # fmt: skip
LINEAR = PLAIN | dict(rope_type="linear", factor=4.0)
YARN = PLAIN | dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=64)
KINDS = {
    "llama3": ("llama", dict(rope_parameters=LLAMA3, tie_word_embeddings=True)),
    "llama-biases": ("llama", dict(attention_bias=True, mlp_bias=True)),
    "llama-linear": ("llama", dict(rope_parameters=LINEAR)),
    "llama-yarn": ("llama", dict(rope_parameters=YARN | dict(attention_factor=0.7))),
    "mistral": ("mistral", dict(head_dim=64, sliding_window=None)),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True)),
    "qwen2-yarn": ("qwen2", dict(rope_parameters=YARN)),
    "qwen3": ("qwen3", dict(head_dim=128, tie_word_embeddings=True)),
    "qwen3-yarn": ("qwen3", dict(head_dim=128, rope_parameters=YARN)),
}


def made(kind, **more):
    """A random model of this kind, in which nothing is trivial."""
    family, own = KINDS[kind]
    return made_of(family, SIZES | own | more)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("architectures"), made)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers_both_ways(written, kind):
    model, want, path = written(kind)
    got = in_llama_cpp(path, IDS)
    assert np.abs(got - want).max() < CLOSE and (got.argmax(1) == want.argmax(1)).all()
    again, _ = load(path)
    assert np.abs(in_torch(again, IDS) - want).max() < CLOSE / 10  # the same float32 weights: yarn's factor is rounded
    family = "llama" if kind == "mistral" else KINDS[kind][0]
    assert again.config.model_type == family and again.config.head_dim == getattr(model.config, "head_dim", 64)
    back = {name: p for name, p in again.state_dict().items() if name != "lm_head.weight"}
    assert back and all(torch.equal(p, model.state_dict()[name]) for name, p in back.items())


@pytest.mark.parametrize("kind", ["llama3", "qwen2", "qwen3"])
@pytest.mark.parametrize("mix", ["F16", "Q8_0", "Q4_K_M"])
def test_a_quantized_file_runs_as_its_weights_say(written, tmp_path, kind, mix):
    """F16 within float16's rounding of a weight and of an input; else what rounding inputs to 8 bits explains."""
    path = llama.export(written(kind)[0], tiny.tokenizer(), tmp_path / "x.gguf", mix)
    model, _ = load(path)
    ours, theirs = in_torch(model, IDS), in_llama_cpp(path, IDS)
    if mix == "F16":
        assert np.abs(ours - theirs).max() < 64 * 2**-11  # a hundred roundings of 2^-12, hardly ever all of one sign
        return
    assert kl(ours, theirs) < 3 * kl(ours, in_torch(with_8_bit_inputs(model, path), IDS)) < 0.1
    types = {name: info.type for name, info in read(path).tensors.items()}
    assert {types[name] for name in types if name.endswith((".bias", "norm.weight", "freqs.weight"))} == {"F32"}


# ---- each piece broken


def test_the_divisors_of_llama_3_dropped(written, tmp_path):
    _, want, path = written("llama3")
    file = read(path)
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    assert parts[0].name == "rope_freqs.weight"
    gone = in_llama_cpp(write(tmp_path / "x.gguf", file.fields, parts[1:]), IDS)
    assert np.abs(gone - want).max() > FAR and np.abs(gone - want)[0].max() < CLOSE  # the first token is not turned


@pytest.mark.parametrize("kind, word", [("llama-linear", "scaling"), ("qwen2-yarn", "scaling.type"),
                                        ("llama-yarn", "attn_factor"), ("qwen3", "key_length")])  # fmt: skip
def test_a_key_dropped(written, tmp_path, kind, word):
    _, want, path = written(kind)
    lost = rewritten(path, tmp_path / "x.gguf", lambda k: {key: v for key, v in k.items() if word not in key})
    if word == "key_length":  # heads are then as wide as the model shared out, and tensors have the wrong shape
        with pytest.raises(ValueError, match="does not load"):
            in_llama_cpp(lost, IDS)
    else:
        assert off(lost, want) > FAR


@pytest.mark.parametrize(
    "kind, role, value",
    [(k, f"attn_{r}.bias", 0) for k in ("qwen2", "llama-biases") for r in "qv"]
    + [("llama-biases", "ffn_down.bias", 0), ("qwen3", "attn_q_norm.weight", 1), ("qwen3", "attn_k_norm.weight", 1)],
)
def test_a_bias_or_a_norm_forgotten(written, tmp_path, kind, role, value):
    _, want, path = written(kind)

    def spoil(name, data):
        return np.full(len(data) // 4, value, np.float32).view(np.uint8) if name.endswith(role) else data

    assert off(rewritten(path, tmp_path / "x.gguf", tensor=spoil), want) > FAR


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama-biases"])
def test_rows_in_the_wrong_order(written, tmp_path, kind, monkeypatch):
    """Qwen's rows permuted as Llama's, and a Llama whose rows, biases among them, stay as they are."""
    model, want, _ = written(kind)
    name = KINDS[kind][0]
    other = architectures.ARCHITECTURES[name]._replace(permuted=name != "llama")
    monkeypatch.setitem(architectures.ARCHITECTURES, name, other)
    assert off(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "F32"), want) > FAR


def test_a_permuted_bias_left_as_it_was(written, tmp_path, monkeypatch):
    model, want, _ = written("llama-biases")
    right = llama.permute
    monkeypatch.setattr(llama, "permute", lambda w, heads: w if w.dim() == 1 else right(w, heads))
    assert off(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "F32"), want) > FAR


# ---- names, keys and divisors, against the gguf package and transformers


def test_names_are_those_of_the_gguf_package():
    for name in ("llama", "qwen2", "qwen3"):
        architecture = architectures.ARCHITECTURES[name]
        number = next(n for n, known in gguf.MODEL_ARCH_NAMES.items() if known == name)
        theirs = gguf.get_tensor_name_map(number, 2)
        kind = {"llama": "llama-biases"}.get(name, name)
        for ours in made(kind).state_dict():
            stem, _, leaf = ours.rpartition(".")
            ggml = llama.gguf_name(ours)
            assert (
                ggml == f"{theirs.get_name(stem)}.{leaf}" and architecture.holds(ggml) and llama.hf_name(ggml) == ours
            )
    assert gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.ROPE_FREQS] + ".weight" == architectures.ROPE_FREQS
    keys = gguf.Keys.Rope
    known = {key.format(arch="qwen2") for key in vars(keys).values() if isinstance(key, str)}
    assert {k for k in llama.keys(made("llama-yarn").config, "F16", 9) if "rope" in k} <= {
        key.replace("qwen2", "llama") for key in known
    }


@pytest.mark.parametrize("base, dim, context", [(500_000.0, 64, 8192), (500_000.0, 128, 8192), (10_000.0, 64, 64)])
@pytest.mark.parametrize("factor, low, high", [(32.0, 1.0, 4.0), (8.0, 1.0, 4.0), (4.0, 2.0, 5.0)])
def test_divisors_are_transformers_and_come_back(base, dim, context, factor, low, high):
    """Llama 3.2's 32, 3.1's 8, and other ramps: what is read gives the same divisors again."""
    given = LLAMA3 | dict(rope_theta=base, factor=factor, low_freq_factor=low, high_freq_factor=high,
                          original_max_position_embeddings=context)  # fmt: skip
    config = AutoConfig.for_model("llama", head_dim=dim, rope_parameters=given, max_position_embeddings=131072)
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    plain = AutoConfig.for_model("llama", head_dim=dim, rope_parameters=PLAIN | {"rope_theta": base})
    want = LlamaRotaryEmbedding(plain).inv_freq / LlamaRotaryEmbedding(config).inv_freq
    divisors = rope.divisors(given, dim)
    torch.testing.assert_close(divisors, want, rtol=2e-6, atol=0)
    read_back = rope.parameters({}, architectures.ARCHITECTURES["llama"], base, divisors, dim)
    torch.testing.assert_close(rope.divisors(read_back, dim), divisors, rtol=1e-5, atol=0)
    if (low, high) == (1.0, 4.0):
        assert read_back == given


def test_divisors_without_a_ramp_and_divisors_of_no_rule():
    arch, steep = architectures.ARCHITECTURES["llama"], LLAMA3 | dict(rope_theta=1e12)
    divisors = rope.divisors(steep, 16)
    assert set(divisors.tolist()) == {1.0, 8.0}
    again = rope.parameters({}, arch, 1e12, divisors, 16)
    assert torch.equal(rope.divisors(again, 16), divisors)
    for odd in ([1.0, 8, 1, 8], [1.0, 3, 2, 8], [1.0] * 3, [1, 2, np.nan, 8], [1, -1.0, 2, 8]):
        with pytest.raises(GGUFError, match="rope_freqs.weight"):
            rope.parameters({}, arch, 1e4, torch.tensor(odd), 8)
    with pytest.raises(GGUFError, match="belongs to llama files"):
        rope.parameters({}, architectures.ARCHITECTURES["qwen2"], 1e4, torch.ones(4), 8)


def test_betas_in_a_file_change_nothing(written, tmp_path):
    """llama.cpp's converter writes yarn's betas, llama.cpp reads them for other architectures only; so do we."""
    _, want, path = written("qwen2-yarn")
    more = {f"qwen2.rope.scaling.yarn_beta_{name}": value for name, value in (("fast", 16.0), ("slow", 2.0))}
    other = rewritten(path, tmp_path / "x.gguf", lambda k: k | more)
    assert off(other, want) < CLOSE and np.abs(in_torch(load(other)[0], IDS) - want).max() < CLOSE


# ---- refusals


@pytest.mark.parametrize(
    "kind, more, words",
    [
        (
            "qwen2",
            dict(rope_parameters=LLAMA3),
            r"llama.cpp computes for qwen2 \(default, linear, yarn\), got .*'llama3'",
        ),
        ("llama3", dict(rope_parameters=PLAIN | dict(rope_type="dynamic", factor=2.0)), "got rope_type 'dynamic'"),
        ("qwen3", dict(rope_parameters=YARN | dict(beta_fast=16.0)), "without a beta_fast of its own.*got 16.0"),
        ("llama3", dict(rope_parameters=YARN | dict(truncate=False)), "without a truncate of its own.*got False"),
        ("llama3", dict(rope_parameters=PLAIN | dict(partial_rotary_factor=0.5)), "without a partial_rotary_factor"),
        ("qwen2", dict(hidden_act="gelu"), "activation silu"),
        ("qwen2", dict(use_sliding_window=True, sliding_window=32, max_window_layers=1), "layers of sliding_attention"),
        ("mistral", dict(sliding_window=32), "a sliding_window of 32 in a context of 512"),
        (
            "qwen3",
            dict(attention_bias=True),
            "model.layers.0.self_attn.q_proj.bias has no counterpart in a GGUF file of",
        ),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, kind, more, words):
    with pytest.raises(ValueError, match=words):
        llama.export(made(kind, **more), tiny.tokenizer(), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_a_window_that_no_text_outgrows_is_no_window(tmp_path):
    """Mistral's forward pass masks by sliding_window, which llama.cpp's "llama" does not read."""
    made_so = {window: made("mistral", sliding_window=window) for window in (None, 32, 512)}
    for model in made_so.values():
        model.load_state_dict(made_so[None].state_dict())
    with torch.no_grad():
        plain, narrow, wide = (model(torch.arange(40)[None]).logits for model in made_so.values())
    assert torch.equal(plain, wide) and not torch.allclose(plain, narrow, atol=1e-3)
    llama.export(made_so[512], tiny.tokenizer(), tmp_path / "x.gguf")


def test_a_factor_that_is_no_number_is_named():
    config = made("llama3").config
    del config.rope_parameters["factor"]
    with pytest.raises(ValueError, match="a positive number as factor of its llama3 positions, got None"):
        llama.keys(config, "F16", 300)


# ---- mixes, the commands, and checkpoints


def test_the_70b_rule_of_qwen():
    """llama-model.cpp: LLM_TYPE_70B is any qwen2 of 80 layers, and no qwen3."""
    kinds = [mixes.tensor_type("blk.40.attn_v.weight", (8192, 8192), "Q4_K_S", mixes.Model(80, 1, False, False, name))
             for name in ("llama", "qwen2", "qwen3")]  # fmt: skip
    assert kinds == ["Q4_K", "Q5_K", "Q4_K"]


@pytest.mark.parametrize("kind", ["llama3", "qwen2", "qwen3"])
def test_the_commands_take_a_checkpoint(written, tmp_path, capsys, kind):
    """course quantize with an importance matrix made from text, course gguf, course origin, and artifacts.load."""
    folder, path = tmp_path / "model", tmp_path / "x.gguf"
    text = tmp_path / "text.txt"
    text.write_text(tiny.WORDS * 40, encoding="utf-8")
    model = made(kind, vocab_size=len(tiny.tokenizer()) + 4)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    options = ("--calibration", str(text), "--samples", "2", "--length", "64")
    assert main(["quantize", str(folder), str(path), "--gguf", "Q4_K_M", *options]) == 0
    assert "Q4_K_M with importance matrix" in capsys.readouterr().out
    assert main(["quantize", str(folder), str(tmp_path / "plain.gguf"), "--gguf", "Q8_0"]) == 0
    assert main(["gguf", str(path)]) == 0
    said = capsys.readouterr().out
    typical = {"llama3": "rope_freqs.weight", "qwen2": "blk.1.attn_q.bias", "qwen3": "blk.1.attn_q_norm.weight"}
    assert typical[kind] in said and f"{KINDS[kind][0]}.block_count" in said
    loaded, tokenizer = artifacts.load(path)
    base, _ = models.load(str(folder))
    ids = tokenizer(tiny.WORDS).input_ids
    assert kl(in_torch(base, ids), in_torch(loaded, ids)) < kl(in_torch(base, ids), np.zeros((len(ids), 304))) / 4
    kept, _ = load(path, blocks=True)
    assert np.abs(in_torch(kept, ids) - in_torch(loaded, ids)).max() < 1e-3 and len(kept.qtensors) == 14
    options = ("--method", "gptq", "--bits", "8", "--group", "32", "--layout", "gptq", *options)
    assert main(["quantize", str(folder), str(tmp_path / "gptq"), *options]) == 0
    eight, _ = artifacts.load(tmp_path / "gptq")
    assert kl(in_torch(base, ids), in_torch(eight, ids)) < 0.01
    assert eight.config.rope_parameters == base.config.rope_parameters == loaded.config.rope_parameters
    made_by = origin.origins(tmp_path / "plain.gguf", str(folder))
    assert {one.name for one in made_by.values()} == {"ggml's quantizer, with an importance matrix or without"}


def test_an_importance_matrix_has_llama_cpps_names(written):
    model, _, path = written("qwen3")
    stats = collect(model, [torch.tensor([IDS])], hessian=False, progress=False)
    names = set(imatrix.of_stats(stats))
    assert names == {name for name, info in read(path).tensors.items() if len(info.shape) > 1} - {"token_embd.weight"}


def test_a_checkpoint_without_its_biases_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    made("qwen2").save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({n: t for n, t in state.items() if n != "model.layers.1.self_attn.k_proj.bias"},
              tmp_path / "model.safetensors")  # fmt: skip
    with pytest.raises(ValueError, match="a checkpoint of 26 weights in safetensors files, got 25"):
        llama.export(tmp_path, tiny.tokenizer(), tmp_path / "x.gguf")
