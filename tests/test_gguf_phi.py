"""Phi-3 and Phi-4-mini as GGUF: fused matrices, two sets of rotary divisors, heads that are turned in part."""

import gguf
import numpy as np
import pytest
import tiny
import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from course_lib import artifacts
from course_lib.artifacts.gguf import GGUFError, architectures, imatrix, llama, longrope, mixes, read, tokenizer
from course_lib.artifacts.gguf.load import load, tokenizer_of
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
    rewritten,
    with_8_bit_inputs,
)
from tests.llama_oracle import Llama
from tests.test_gguf_tokenizers import pieces

SMALL = SIZES | dict(hidden_size=128, intermediate_size=256, original_max_position_embeddings=64)


def long(dim, **more):
    factors = dict(long_factor=np.linspace(1, 5, dim // 2).tolist(), short_factor=np.linspace(1, 2, dim // 2).tolist())
    return dict(rope_parameters=dict(rope_type="longrope", rope_theta=1e4) | factors | more)


PART = dict(rope_theta=1e4, rope_type="default", partial_rotary_factor=0.41)
KINDS = {
    "phi3": {},
    "phi3-long": long(32),
    "phi3-short": long(32) | dict(original_max_position_embeddings=256),
    "phi4-mini": long(24, partial_rotary_factor=0.75, attention_factor=1.3) | dict(tie_word_embeddings=True),
}


def made(kind, **more):
    return made_of("phi3", SMALL | KINDS[kind] | more)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("phi"), made)


def run(kind, path):
    """llama.cpp chooses the divisors by the context that it is started with: 256, or the usual 512."""
    oracle = Llama(path, 256 if kind == "phi3-short" else 512)
    try:
        return oracle.logits(IDS)
    finally:
        oracle.close()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers_both_ways(written, kind):
    model, want, path = written(kind)
    assert np.abs(run(kind, path) - want).max() < CLOSE
    again, _ = load(path)
    assert type(again) is type(model) and np.abs(in_torch(again, IDS) - want).max() < CLOSE / 10
    assert all(torch.equal(p, model.state_dict()[name]) for name, p in again.state_dict().items())
    second = read(llama.export(again, tiny.tokenizer(), path.with_suffix(".2"), "F32"))
    assert second.metadata == read(path).metadata and list(second.tensors) == list(read(path).tensors)
    assert all(np.array_equal(second.data(name), read(path).data(name)) for name in second.tensors)


@pytest.mark.parametrize("mix", ["Q8_0", "Q4_K_M"])
def test_a_quantized_file_runs_as_its_weights_say(written, tmp_path, mix):
    path = llama.export(written("phi4-mini")[0], tiny.tokenizer(), tmp_path / "x.gguf", mix)
    model, _ = load(path)
    ours, theirs = in_torch(model, IDS), in_llama_cpp(path, IDS)
    assert kl(ours, theirs) < 3 * kl(ours, in_torch(with_8_bit_inputs(model, path), IDS)) < 0.1
    kept, _ = load(path, blocks=True)
    assert np.abs(in_torch(kept, IDS) - ours).max() < 1e-3 and len(kept.qtensors) == 8
    assert {info.type for name, info in read(path).tensors.items() if "factors" in name} == {"F32"}


def test_the_types_are_those_of_llama_quantize():
    """llama-quant.cpp counts attn_qkv among the values; run on a phi3 of 10 layers, 256 wide, 4 heads over 2 or 1."""

    def kinds(mix, gqa=2, role="attn_qkv"):
        model = mixes.Model(10, gqa, False, False, "phi3")
        return [mixes.tensor_type(f"blk.{k}.{role}.weight", (512, 256), mix, model) for k in range(10)]

    assert kinds("Q4_K_M") == ["Q6_K" if k in (0, 3, 6, 8, 9) else "Q4_K" for k in range(10)]
    assert kinds("Q3_K_M") == ["Q5_K"] * 2 + ["Q4_K"] * 8 and set(kinds("Q5_K_S")) == {"Q5_K"}
    assert kinds("Q4_K_S") == ["Q5_K"] * 4 + ["Q4_K"] * 6 and set(kinds("Q2_K")) == {"Q3_K"}
    assert set(kinds("Q2_K", 4)) == {"Q4_K"} and set(kinds("IQ4_XS", 4)) == {"Q5_K"}
    assert kinds("IQ3_XS", role="ffn_up") == ["IQ3_S"] + ["IQ3_XXS"] * 7 + ["IQ3_S"] * 2


# ---- each piece broken


@pytest.mark.parametrize("word", ["dimension_count", "attn_factor", "original_context_length"])
def test_a_key_dropped(written, tmp_path, word):
    _, want, path = written("phi4-mini")
    lost = rewritten(path, tmp_path / "x.gguf", lambda k: {key: v for key, v in k.items() if not key.endswith(word)})
    if word == "dimension_count":  # all numbers are then turned, and the divisors too few
        with pytest.raises(ValueError, match="does not load"):
            in_llama_cpp(lost, IDS)
    else:
        assert np.abs(in_llama_cpp(lost, IDS) - want).max() > FAR


@pytest.mark.parametrize("name", [*longrope.TENSORS, "attn_qkv.weight", "ffn_up.weight"])
def test_a_tensor_turned_round(written, tmp_path, name):
    """Divisors exchanged, values where the keys should be, up where gate should be."""
    kind = "phi3-short" if name == longrope.SHORT else "phi3-long"
    _, want, path = written(kind)

    def spoil(tensor, data):
        if tensor in longrope.TENSORS and name in longrope.TENSORS:
            return read(path).data(next(other for other in longrope.TENSORS if other != tensor))
        if not tensor.endswith(name):
            return data
        rows = data.reshape(-1, 128 * 4)
        return np.concatenate([rows[:128], rows[192:], rows[128:192]]) if "qkv" in name else np.roll(rows, 256, 0)

    lost = rewritten(path, tmp_path / "x.gguf", tensor=spoil)
    assert np.abs(run(kind, lost) - want).max() > FAR


def test_names_are_those_of_the_gguf_package(written):
    theirs, phi = gguf.get_tensor_name_map(gguf.MODEL_ARCH.PHI3, 2), architectures.ARCHITECTURES["phi3"]
    for ours in written("phi3")[0].state_dict():
        stem, _, leaf = ours.rpartition(".")
        ggml = llama.gguf_name(ours, phi)
        assert ggml == f"{theirs.get_name(stem)}.{leaf}" and phi.holds(ggml) and llama.hf_name(ggml, phi) == ours
    names = (gguf.MODEL_TENSOR.ROPE_FACTORS_LONG, gguf.MODEL_TENSOR.ROPE_FACTORS_SHORT)
    assert tuple(f"{gguf.TENSOR_NAMES[name]}.weight" for name in names) == longrope.TENSORS


# ---- refusals, in both directions


@pytest.mark.parametrize("more, words", [
    (dict(sliding_window=100), "a sliding_window of 100 in a context of 512: with max_position_embeddings of 100 in"),
    (dict(head_dim=64), "heads of width / heads, as llama.cpp reads a phi3, got head_dim 64 of 4 heads over .* 128"),
    (dict(hidden_act="gelu"), "activation silu"),
    (dict(rope_parameters=PART), "must turn an even part of a head of 32, got 13"),
])  # fmt: skip
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, more, words):
    with pytest.raises(ValueError, match=words):
        llama.export(made("phi3", **more), tiny.tokenizer(), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_divisors_that_are_none_are_refused():
    rope = long(32)["rope_parameters"]
    for odd in (None, [1.0] * 15, [0.0] * 16, ["x"] * 16):
        with pytest.raises(ValueError, match="model must have 16 positive numbers as short_factor of its longrope"):
            longrope.tensors(rope | dict(short_factor=odd), 32)


@pytest.mark.parametrize("key, value, words", [
    ("rope.dimension_count", 23, "dimension_count must be an even number up to 32, got 23"),
    ("rope.dimension_count", 16, "rope_factors_long.weight must hold 8 positive numbers"),
    ("rope.scaling.factor", 2.0, "scaling.factor must be 1, since a phi3 has divisors, got 2.0"),
    ("rope.scaling.attn_factor", -1.0, "scaling.attn_factor must be a positive float, got -1.0"),
    ("rope.scaling.original_context_length", 0, "original_context_length must be a positive int, got 0"),
])  # fmt: skip
def test_keys_that_lie_are_refused(written, tmp_path, key, value, words):
    lied = rewritten(written("phi4-mini")[2], tmp_path / "x.gguf", lambda k: k | {f"phi3.{key}": value})
    with pytest.raises(GGUFError, match=words):
        load(lied)


# ---- a tokenizer that swallows what follows its special tokens


def test_white_space_behind_special_tokens(tmp_path):
    """llama.cpp does as Phi-3's tokenizer.json where the model's name says phi-3, and only there."""
    made_so = pieces()
    inner = made_so.backend_tokenizer
    inner.add_tokens([AddedToken("</s>", rstrip=True, normalized=False)])
    inner.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    inner.add_special_tokens([AddedToken("<|end|>", rstrip=True, normalized=False)])
    tok = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="<|endoftext|>")
    model = tiny.llama()
    model.resize_token_embeddings(len(tok), mean_resizing=False)
    path = llama.export(model, tok, tmp_path / "x.gguf", "F32")
    assert read(path).metadata["general.name"] == "Phi-3 llama"
    text, back = "mug</s> \n x<|end|>  y<|endoftext|> z", load(path)[1]
    assert back(text).input_ids == tok(text).input_ids
    parsed = _with_special_tokens(path, text)
    assert parsed == tok(text, add_special_tokens=False).input_ids
    plain = rewritten(path, tmp_path / "y.gguf", lambda k: k | {"general.name": "else"})
    assert (
        _with_special_tokens(plain, text)
        != parsed
        != tokenizer_of(read(plain))(text, add_special_tokens=False).input_ids
    )
    assert tokenizer.named("My-Phi-3", tiny.tokenizer()) == "My-Phi 3" and tokenizer.named("phi3", tok) == "phi3"


def _with_special_tokens(path, text):
    import ctypes

    oracle = Llama(path)
    try:
        data, room = text.encode(), (ctypes.c_int32 * 64)()
        n = oracle._lib.llama_tokenize(oracle._vocab, data, len(data), room, 64, False, True)
        return list(room[:n])
    finally:
        oracle.close()


# ---- the commands


def test_the_commands_take_a_checkpoint(tmp_path, capsys):
    folder, path, text = tmp_path / "model", tmp_path / "x.gguf", tmp_path / "text.txt"
    text.write_text(tiny.WORDS * 20, encoding="utf-8")
    model = made("phi4-mini", vocab_size=len(tiny.tokenizer()) + 4)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    options = ("--calibration", str(text), "--samples", "2", "--length", "64")
    assert main(["quantize", str(folder), str(path), "--gguf", "Q4_K_M", *options]) == 0
    assert main(["quantize", str(folder), str(tmp_path / "s.gguf"), "--gguf", "Q8_0"]) == 0
    assert main(["gguf", str(path)]) == 0
    said = capsys.readouterr().out
    assert "Q4_K_M with importance matrix" in said and "blk.1.attn_qkv.weight" in said and longrope.LONG in said
    ids = tiny.tokenizer()(tiny.WORDS).input_ids
    for file, least in ((path, 0.5), (tmp_path / "s.gguf", 1e-2)):
        assert kl(in_torch(model, ids), in_torch(artifacts.load(file)[0], ids)) < least
    stats = collect(model, [torch.tensor([ids])], hessian=False, progress=False)
    matrices = {name for name, info in read(path).tensors.items() if len(info.shape) > 1}
    assert set(imatrix.of_stats(stats)) == matrices - {"token_embd.weight"}
