"""Gemma 1 to 3 as GGUF: llama.cpp's logits are those of transformers, and each piece that is forgotten moves them far.

llama.cpp's GELU goes through a table of float16 by float16. So transformers' rounds there, too; what is left are the
few activations that lie on the edge between two float16 and go the other way.
"""

import copy

import gguf
import numpy as np
import pytest
import tiny
import torch

from course_lib import artifacts
from course_lib.artifacts.gguf import GGUFError, architectures, attention, imatrix, llama, mixes, read
from course_lib.artifacts.gguf.load import load
from course_lib.calibrate import collect
from course_lib.cli import main
from tests.gguf_models import IDS, SIZES, Files, in_llama_cpp, in_torch, kl, made_of, off, rewritten, with_8_bit_inputs

SMALL = SIZES | dict(hidden_size=128, intermediate_size=256, head_dim=48, sliding_window=40, query_pre_attn_scalar=48)
NARROW = dict(hidden_size=16, intermediate_size=16)
CAPS = dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0)
TWO_BASES = {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50_000.0},
             "sliding_attention": {"rope_type": "default", "rope_theta": 3000.0}}  # fmt: skip
ODD = ["full_attention", "sliding_attention", "full_attention"]
KINDS = {
    "gemma": ("gemma", dict(sliding_window=None)),
    "gemma2": ("gemma2", CAPS | dict(num_hidden_layers=3)),
    "gemma3": ("gemma3_text", dict(num_hidden_layers=7)),
    "gemma3-odd": ("gemma3_text", dict(num_hidden_layers=3, layer_types=ODD, rope_parameters=TWO_BASES,
                                       final_logit_softcapping=3.0)),
    "gemma3-head": ("gemma3_text", dict(layer_types=["full_attention"] * 2, tie_word_embeddings=False)),
    "gemma2-all": ("gemma2", CAPS | dict(layer_types=["full_attention"] * 2)),
}  # fmt: skip
CLOSE = 4 * 2**-11  # an activation on the edge changes by 2^-11 of itself; norms and logits of order 1 follow
FAR = 100 * CLOSE


def made(kind, **more):
    family, own = KINDS[kind]
    return made_of(family, SMALL | own | more)


def as_ggml_computes(model):
    """A copy whose GELU takes and gives float16, but for large arguments, which pass or vanish."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "act_fn"):
            module.register_module("act_fn", _Rounded(module.act_fn))
    return model


class _Rounded(torch.nn.Module):
    def __init__(self, gelu):
        super().__init__()
        self.gelu = gelu

    def forward(self, x):
        return torch.where(x.abs() >= 10, self.gelu(x), self.gelu(x.half().float()).half().float())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("gemma"), made, as_ggml_computes)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers_both_ways(written, kind):
    model, want, path = written(kind)
    got = in_llama_cpp(path, IDS)
    assert np.abs(got - want).max() < CLOSE and np.abs(got - want).mean() < CLOSE / 10
    again, _ = load(path)
    assert type(again) is type(model)
    assert np.abs(in_torch(as_ggml_computes(again), IDS) - want).max() < CLOSE / 10
    back, before = again.state_dict(), model.state_dict()
    for name, p in before.items():  # 1 + w is rounded in the file; what is computed from it is not changed
        assert torch.equal(1 + back[name], 1 + p) if "norm" in name else torch.equal(back[name], p)
    config, old = again.config, model.config
    assert config.rope_parameters == old.rope_parameters and config.head_dim == 48
    if kind not in ("gemma", "gemma2-all"):
        same = ("layer_types", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping")
        assert all(getattr(config, name) == getattr(old, name) for name in same)
    rewritten_again = llama.export(again, tiny.tokenizer(), path.with_suffix(".2"), "F32")
    assert read(rewritten_again).metadata == read(path).metadata
    assert all(np.array_equal(read(rewritten_again).data(n), read(path).data(n)) for n in read(path).tensors)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
@pytest.mark.parametrize("mix", ["Q8_0", "Q4_K_M"])
def test_a_quantized_file_runs_as_its_weights_say(written, tmp_path, kind, mix):
    """What lies between llama.cpp and the file's weights is what rounding inputs to 8 bits explains."""
    path = llama.export(written(kind)[0], tiny.tokenizer(), tmp_path / "x.gguf", mix)
    model, _ = load(path)
    ours, theirs = in_torch(model, IDS), in_llama_cpp(path, IDS)
    assert kl(ours, theirs) < 3 * kl(ours, in_torch(with_8_bit_inputs(model, path), IDS)) < 0.1
    kept, _ = load(path, blocks=True)
    assert np.abs(in_torch(kept, IDS) - ours).max() < 1e-3 and len(kept.qtensors) == 7 * len(model.model.layers)
    types = {name: info.type for name, info in read(path).tensors.items()}
    assert {kind for name, kind in types.items() if "norm" in name} == {"F32"}
    if mix == "Q4_K_M":  # rows of 128 are no whole super-blocks
        assert types["blk.0.attn_q.weight"] == "Q5_0" and types["token_embd.weight"] == "Q8_0"
        assert types["blk.1.ffn_down.weight"] == "Q4_K"


def test_a_smaller_file_has_the_types_of_the_published_gemma_3_270m():
    """gemma-3-270m-q4_k_m.gguf as llama-quantize left it: 18 layers, 4 heads over 1, 640 wide."""
    model, early = mixes.Model(18, 4, True, False, "gemma3"), (0, 1, 4, 7, 10, 13, 15, 16, 17)
    shapes = {"attn_q": (1024, 640), "attn_v": (256, 640), "ffn_down": (640, 2048), "attn_output": (640, 1024)}
    for layer in range(18):
        kinds = [
            mixes.tensor_type(f"blk.{layer}.{role}.weight", shape, "Q4_K_M", model) for role, shape in shapes.items()
        ]
        assert kinds == ["Q5_0", "Q8_0" if layer in early else "Q5_0", "Q6_K" if layer in early else "Q4_K", "Q4_K"]
    assert mixes.tensor_type("token_embd.weight", (262144, 640), "Q4_K_M", model) == "Q8_0"


# ---- each piece broken


@pytest.mark.parametrize("kind, word", [
    ("gemma2", "sliding_window"), ("gemma3", "sliding_window"), ("gemma2", "attn_logit_softcapping"),
    ("gemma2", "final_logit_softcapping"), ("gemma3-odd", "final_logit_softcapping"), ("gemma3-odd", "freq_base_swa"),
    ("gemma3-odd", "sliding_window_pattern"), ("gemma3-odd", "scaling"), ("gemma3", "freq_base"),
])  # fmt: skip
def test_a_key_dropped(written, tmp_path, kind, word):
    _, want, path = written(kind)
    lost = rewritten(path, tmp_path / "x.gguf", lambda k: {key: v for key, v in k.items() if not key.endswith(word)
                                                           and (word != "scaling" or word not in key)})  # fmt: skip
    assert len(read(lost).metadata) < len(read(path).metadata) and off(lost, want) > FAR


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3"])
def test_a_norm_that_is_not_shifted(written, tmp_path, kind, monkeypatch):
    model, want, _ = written(kind)
    other = architectures.ARCHITECTURES[kind]._replace(shift=0.0)
    monkeypatch.setitem(architectures.ARCHITECTURES, kind, other)
    assert off(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "F32"), want) > FAR


@pytest.mark.parametrize("role", ["attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm", "ffn_norm"])
def test_a_norm_forgotten(written, tmp_path, role):
    _, want, path = written("gemma3")

    def spoil(name, data):
        return np.ones(len(data) // 4, np.float32).view(np.uint8) if f".{role}." in name else data

    assert off(rewritten(path, tmp_path / "x.gguf", tensor=spoil), want) > FAR


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3"])
def test_rows_in_the_wrong_order_and_norms_under_each_others_names(written, tmp_path, kind, monkeypatch):
    model, want, _ = written(kind)
    right = architectures.ARCHITECTURES[kind]
    monkeypatch.setitem(architectures.ARCHITECTURES, kind, right._replace(permuted=True))
    assert off(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "F32"), want) > FAR
    if right.names:
        one, *between, last = right.names.values()
        mixed = dict(zip(right.names, (last, *between, one), strict=True))
        monkeypatch.setitem(architectures.ARCHITECTURES, kind, right._replace(names=mixed))
        assert off(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "F32"), want) > FAR


def test_names_are_those_of_the_gguf_package(written):
    for kind in ("gemma", "gemma2", "gemma3"):
        architecture = architectures.ARCHITECTURES[kind]
        number = next(n for n, known in gguf.MODEL_ARCH_NAMES.items() if known == kind)
        theirs = gguf.get_tensor_name_map(number, 7)
        for ours in written(kind)[0].state_dict():
            stem, _, leaf = ours.rpartition(".")
            if stem != "lm_head":
                ggml = llama.gguf_name(ours, architecture)
                assert ggml == f"{theirs.get_name(stem)}.{leaf}" and architecture.holds(ggml)
                assert llama.hf_name(ggml, architecture) == ours
        known = {key.replace("{arch}", kind) for group in vars(gguf.Keys).values() if isinstance(group, type)
                 for key in vars(group).values() if isinstance(key, str)}  # fmt: skip
        found = {key for key in read(written(kind)[2]).metadata if key.startswith(f"{kind}.")}
        assert found and found <= known
    assert "gemma3.rope.freq_base_swa" in found


# ---- refusals, in both directions


@pytest.mark.parametrize(
    "kind, more, words",
    [
        (
            "gemma2",
            dict(query_pre_attn_scalar=32),
            "scores by √48, as llama.cpp does in a gemma2 of 3 layers, got .* 32",
        ),
        ("gemma2", NARROW | dict(num_hidden_layers=46), "scores by √4, as llama.cpp does in a gemma2 of 46 layers"),
        ("gemma3", NARROW | dict(num_hidden_layers=62), "scores by √4, as .* in a gemma3 of 62 layers, got .* 48"),
        ("gemma2", dict(attn_logit_softcapping=None), "a positive number as attn_logit_softcapping, .* got None"),
        ("gemma2", dict(final_logit_softcapping=0.0), "a positive number as final_logit_softcapping, .* got 0.0"),
        (
            "gemma3",
            dict(attn_logit_softcapping=5.0),
            "must have none as attn_logit_softcapping, .* in a gemma3, got 5.0",
        ),
        ("gemma", dict(hidden_act="silu"), "the activation gelu_pytorch_tanh, as llama.cpp computes it, got 'silu'"),
        ("gemma2", dict(hidden_activation="gelu"), "the activation gelu_pytorch_tanh, .* got 'gelu'"),
        ("gemma2", dict(use_bidirectional_attention=True), "earlier tokens only, got use_bidirectional_attention"),
        ("gemma2", dict(tie_word_embeddings=False), "lm_head.weight has no counterpart in a GGUF file .* gemma2"),
        ("gemma", dict(attention_bias=True), "q_proj.bias has no counterpart in a GGUF file of the architecture gemma"),
        ("gemma2", dict(rope_parameters={"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}), "rope_type 'yarn'"),
        ("gemma3", dict(rope_parameters=TWO_BASES | dict(sliding_attention=TWO_BASES["full_attention"])), "unscaled"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, kind, more, words):
    with pytest.raises(ValueError, match=words):
        llama.export(made(kind, **more), tiny.tokenizer(), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("key, value, words", [
    ("attention.sliding_window", -3, "sliding_window must be a whole number of tokens, got -3"),
    ("attention.sliding_window_pattern", [True], "sliding_window_pattern must be 3 flags, one a layer, got"),
    ("attention.sliding_window_pattern", 9, "sliding_window_pattern must be 3 flags, one a layer, got 9"),
    ("attn_logit_softcapping", 0.0, "attn_logit_softcapping must be a positive float, got 0.0"),
    ("final_logit_softcapping", float("nan"), "final_logit_softcapping must be a positive float, got nan"),
])  # fmt: skip
def test_keys_that_lie_are_refused(written, tmp_path, key, value, words):
    path = rewritten(written("gemma2")[2], tmp_path / "x.gguf", lambda k: k | {f"gemma2.{key}": value})
    with pytest.raises(GGUFError, match=words):
        load(path)


def test_what_a_file_leaves_out_is_what_llama_cpp_takes(written, tmp_path):
    """No key but the sizes: caps 50 and 30, a window of 4096 in every other layer; a pattern may be a number."""
    _, _, path = written("gemma2")
    words = ("softcapping", "sliding_window", "freq_base")
    bare = rewritten(path, tmp_path / "x.gguf", lambda k: {n: v for n, v in k.items() if not n.endswith(words)})
    model, _ = load(bare)
    c = model.config
    assert (c.attn_logit_softcapping, c.final_logit_softcapping, c.sliding_window) == (50.0, 30.0, 4096)
    assert np.abs(in_torch(as_ggml_computes(model), IDS) - in_llama_cpp(bare, IDS)).max() < CLOSE
    numbered = rewritten(written("gemma3")[2], tmp_path / "n.gguf", lambda k: k | {
        "gemma3.attention.sliding_window_pattern": 3, "gemma3.rope.freq_base_swa": 500.0})  # fmt: skip
    model, _ = load(numbered)
    assert [k for k, kind in enumerate(model.config.layer_types) if kind == attention.ALL] == [2, 5]
    assert np.abs(in_torch(as_ggml_computes(model), IDS) - in_llama_cpp(numbered, IDS)).max() < CLOSE


# ---- the commands


def test_the_commands_take_a_checkpoint(tmp_path, capsys):
    """course quantize with an importance matrix and without, course gguf, artifacts.load; names of the matrix."""
    folder, path, text = tmp_path / "model", tmp_path / "x.gguf", tmp_path / "text.txt"
    text.write_text(tiny.WORDS * 20, encoding="utf-8")
    model = made("gemma3", vocab_size=len(tiny.tokenizer()) + 4)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    options = ("--calibration", str(text), "--samples", "2", "--length", "64")
    assert main(["quantize", str(folder), str(path), "--gguf", "Q4_K_M", *options]) == 0
    assert "Q4_K_M with importance matrix" in capsys.readouterr().out
    streamed = tmp_path / "streamed.gguf"
    assert main(["quantize", str(folder), str(streamed), "--gguf", "Q8_0"]) == 0
    assert main(["gguf", str(path)]) == 0
    said = capsys.readouterr().out
    assert "blk.1.post_ffw_norm.weight" in said and "gemma3.attention.sliding_window" in said
    ids = tiny.tokenizer()(tiny.WORDS).input_ids
    for file, least in ((path, 0.5), (streamed, 1e-3)):
        assert kl(in_torch(model, ids), in_torch(artifacts.load(file)[0], ids)) < least
    whole = read(llama.export(model, tiny.tokenizer(), tmp_path / "whole.gguf", "Q8_0"))
    assert all(np.array_equal(whole.data(name), read(streamed).data(name)) for name in whole.tensors)
    stats = collect(model, [torch.tensor([ids])], hessian=False, progress=False)
    matrices = {name for name, info in whole.tensors.items() if len(info.shape) > 1}
    assert set(imatrix.of_stats(stats)) == matrices - {"token_embd.weight"}
