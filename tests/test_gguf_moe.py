"""Mixtral and Qwen3-MoE as GGUF: llama.cpp's logits are those of transformers; each expert has its importance.

No token stands on the edge between two experts, where float32 would decide: `gap`. What is put in the wrong order then
moves logits by more than a hundred times the tolerance.
"""

import copy
import re

import gguf
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from course_lib import artifacts
from course_lib.artifacts import origin
from course_lib.artifacts.gguf import GGUFError, architectures, experts, llama, read
from course_lib.artifacts.gguf.load import load
from course_lib.calibrate import quantize_model
from course_lib.calibrate.experts import unfused
from course_lib.cli import main
from course_lib.scheme import Scheme
from tests.gguf_models import (
    CLOSE,
    FAR,
    IDS,
    SIZES,
    Files,
    in_torch,
    kl,
    made_of,
    off,
    rewritten,
)

SMALL = SIZES | dict(hidden_size=64, intermediate_size=96)
MIXTRAL = dict(num_local_experts=8, num_experts_per_tok=2, sliding_window=None)
QWEN = dict(num_experts=12, num_experts_per_tok=3, moe_intermediate_size=32, head_dim=48, norm_topk_prob=True)
YARN = dict(rope_theta=1e4, rope_type="yarn", factor=8.0, original_max_position_embeddings=64)
KINDS = {
    "mixtral": ("mixtral", MIXTRAL),
    "mixtral-one": ("mixtral", MIXTRAL | dict(num_experts_per_tok=1, tie_word_embeddings=True)),
    "qwen3moe": ("qwen3_moe", QWEN),
    "qwen3moe-yarn": ("qwen3_moe", QWEN | dict(rope_parameters=YARN, num_experts=6, num_experts_per_tok=6)),
}


def made(kind, **more):
    family, own = KINDS[kind]
    return made_of(family, SMALL | own | more)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("moe"), made)


def routed(model, ids=IDS):
    """Of each layer what its experts read, whom each token was sent to, and all shares."""
    found = []
    hooks = [layer.mlp.experts.register_forward_pre_hook(lambda _, args: found.append(args[:2]))
             for layer in model.model.layers]  # fmt: skip
    with torch.no_grad():
        shares = model(torch.tensor([ids]), output_router_logits=True).router_logits
    for hook in hooks:
        hook.remove()
    return [(x, chosen, s.softmax(-1)) for (x, chosen), s in zip(found, shares, strict=True)]


def gap(model):
    """The least distance between the share of the last expert that is taken and the first that is not."""
    used, found = model.config.num_experts_per_tok, []
    for _, _, shares in routed(model):
        if used < shares.shape[-1]:
            best = shares.topk(used + 1).values
            found.append((best[:, -2] - best[:, -1]).min().item())
    return min(found, default=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers_both_ways(written, kind):
    model, want, path = written(kind)
    assert gap(model) > 1e-5 and off(path, want) < CLOSE
    again, _ = load(path)
    assert type(again) is type(model) and np.abs(in_torch(again, IDS) - want).max() < CLOSE / 10
    assert all(torch.equal(p, model.state_dict()[name]) for name, p in again.state_dict().items())
    second = read(llama.export(again, tiny.tokenizer(), path.with_suffix(".2"), "F32"))
    assert second.metadata == read(path).metadata and list(second.tensors) == list(read(path).tensors)
    assert all(np.array_equal(second.data(name), read(path).data(name)) for name in second.tensors)


def same(one, other):
    one, other = read(one), read(other)
    assert set(one.tensors) == set(other.tensors)
    return all(np.array_equal(one.data(name), other.data(name)) for name in one.tensors)


@pytest.mark.parametrize("kind, one", [("mixtral", "block_sparse_moe.experts.3.w2.weight"),
                                       ("qwen3moe", "mlp.experts.3.down_proj.weight")])  # fmt: skip
def test_experts_are_read_however_they_are_held(written, tmp_path, kind, one):
    """One by one as on the hub, fused as transformers has them, taken apart; a missing one is named."""
    model, _, path = written(kind)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    apart = load_file(file)
    assert f"model.layers.1.{one}" in apart
    out = tmp_path / "x.gguf"
    assert same(path, llama.export(tmp_path, tiny.tokenizer(), out, "F32"))
    assert same(path, llama.export(unfused(model), tiny.tokenizer(), out, "F32"))
    save_file({name: w.contiguous() for name, w in model.state_dict().items()}, file)
    assert same(path, llama.export(tmp_path, tiny.tokenizer(), out, "F32"))
    save_file({name: w for name, w in apart.items() if name != f"model.layers.1.{one}"}, file)
    with pytest.raises(ValueError, match=r"layers.1.mlp.experts.down_proj.weight must have experts .* all but 3 up to"):
        llama.export(tmp_path, tiny.tokenizer(), tmp_path / "y.gguf")
    last = f"model.layers.1.{one}".replace("3", str(experts.count(model.config) - 1))
    save_file({name: w for name, w in apart.items() if name != last}, file)
    with pytest.raises(ValueError, match=r"must be a checkpoint of \d+ weights in safetensors files, got \d+"):
        llama.export(tmp_path, tiny.tokenizer(), tmp_path / "y.gguf")
    assert not (tmp_path / "y.gguf").exists()


# ---- each piece broken


def turned(file, part, change):
    """The file with `change` made to that tensor of layer 1, (experts, rows, in) or (experts, in)."""
    name = f"blk.1.{part}.weight"

    def spoil(tensor, data):
        if tensor != name:
            return data
        return np.ascontiguousarray(change(data.view(np.float32).reshape(file.tensors[name].shape))).view(np.uint8)

    return spoil


@pytest.mark.parametrize("kind", ["mixtral", "qwen3moe"])
@pytest.mark.parametrize("part", ["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"])
def test_experts_in_another_order(written, tmp_path, kind, part):
    _, want, path = written(kind)
    spoil = turned(read(path), part, lambda w: np.roll(w, 1, 0))
    assert off(rewritten(path, tmp_path / "x.gguf", tensor=spoil), want) > FAR


@pytest.mark.parametrize("kind", ["mixtral", "qwen3moe"])
def test_gate_and_up_under_each_others_names(written, tmp_path, kind):
    _, want, path = written(kind)
    file, other = read(path), {"ffn_gate_exps": "ffn_up_exps", "ffn_up_exps": "ffn_gate_exps"}

    def spoil(name, data):
        role = name.split(".")[-2]
        return file.data(name.replace(role, other.get(role, role)))

    assert off(rewritten(path, tmp_path / "x.gguf", tensor=spoil), want) > FAR


def test_fewer_experts_and_shares_that_are_not_divided(written, tmp_path):
    model, want, path = written("qwen3moe")
    fewer = rewritten(path, tmp_path / "x.gguf", lambda k: k | {"qwen3moe.expert_used_count": 2})
    assert off(fewer, want) > FAR
    whole = copy.deepcopy(model)
    for layer in whole.model.layers:
        layer.mlp.gate.norm_topk_prob = False
    assert np.abs(in_torch(whole, IDS) - want).max() > FAR  # what the refusal below is for


# ---- names and keys


@pytest.mark.parametrize("kind, name", [("mixtral", "llama"), ("qwen3moe", "qwen3moe")])
def test_names_are_those_of_the_gguf_package(written, kind, name):
    number = next(n for n, known in gguf.MODEL_ARCH_NAMES.items() if known == name)
    theirs, architecture = gguf.get_tensor_name_map(number, 2), architectures.ARCHITECTURES[name]
    names = set()
    for ours in experts.parted({n: (tuple(p.shape), None) for n, p in written(kind)[0].state_dict().items()}):
        stem, _, leaf = ours.rpartition(".")
        ggml = llama.gguf_name(ours, architecture)
        assert ggml == f"{theirs.get_name(stem)}.{leaf}" and architecture.holds(ggml)
        assert llama.hf_name(ggml, architecture) == ours
        names.add(ggml)
    assert names == set(read(written(kind)[2]).tensors)
    known = {key.replace("{arch}", name) for group in vars(gguf.Keys).values() if isinstance(group, type)
             for key in vars(group).values() if isinstance(key, str)}  # fmt: skip
    found = {key for key in read(written(kind)[2]).metadata if key.startswith(f"{name}.")}
    assert f"{name}.expert_used_count" in found and found <= known


# ---- refusals, in both directions


@pytest.mark.parametrize("kind, more, words", [
    ("qwen3moe", dict(norm_topk_prob=False), "the shares of the chosen experts by their sum, .* norm_topk_prob False"),
    ("qwen3moe", dict(mlp_only_layers=[1]), "experts in every layer, as llama.cpp's qwen3moe has, got layer 1 without"),
    ("qwen3moe", dict(decoder_sparse_step=2), "experts in every layer, .* got layer 0 without"),
    ("qwen3moe", dict(num_experts_per_tok=13), "to 1 or more of at most 512 experts, got 13 of 12"),
    ("qwen3moe", dict(attention_bias=True), "q_proj.bias has no counterpart in a GGUF file of the architecture qwen3"),
    ("qwen3moe", dict(use_sliding_window=True, sliding_window=32), "a sliding_window of 32 in a context of 512"),
    ("mixtral", dict(sliding_window=32), "a sliding_window of 32 in a context of 512"),
    ("mixtral", dict(hidden_act="gelu"), "activation silu"),
])  # fmt: skip
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, kind, more, words):
    with pytest.raises(ValueError, match=words):
        llama.export(made(kind, **more), tiny.tokenizer(), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_other_mixtures_are_refused():
    from transformers import AutoConfig

    for kind in ("qwen2_moe", "gpt_oss", "deepseek_v3"):
        with pytest.raises(ValueError, match=f"model must be one of llama, .*, mixtral, got model_type '{kind}'"):
            architectures.of_config(AutoConfig.for_model(kind))


@pytest.mark.parametrize("kind, key, value, words", [
    ("qwen3moe", "expert_count", 0, "expert_count must be a whole number from 1 to 512, got 0"),
    ("qwen3moe", "expert_count", 5, "which the keys do not describe"),
    ("qwen3moe", "expert_count", 513, "expert_count must be a whole number from 1 to 512, got 513"),
    ("qwen3moe", "expert_used_count", 13, "expert_used_count must be a whole number from 1 to 12, got 13"),
    ("qwen3moe", "expert_group_count", 2, "expert_group_count must be 1, got 2"),
    ("qwen3moe", "expert_feed_forward_length", 2**17, "a model that is far larger than the file"),
    ("mixtral", "expert_count", 0, "blk.0.ffn_gate_inp.weight has the shape .* which the keys do not describe"),
    ("mixtral", "expert_used_count", True, "expert_used_count must be a whole number from 1 to 8, got True"),
])  # fmt: skip
def test_keys_that_lie_are_refused(written, tmp_path, kind, key, value, words):
    arch = "llama" if kind == "mixtral" else kind
    lied = rewritten(written(kind)[2], tmp_path / "x.gguf", lambda k: k | {f"{arch}.{key}": value})
    with pytest.raises(GGUFError, match=words):
        load(lied)


# ---- the commands


@pytest.mark.parametrize("kind", ["mixtral", "qwen3moe"])
def test_the_commands_take_a_mixture(tmp_path, capsys, kind):
    folder, path, text = tmp_path / "model", tmp_path / "x.gguf", tmp_path / "text.txt"
    text.write_text(tiny.WORDS * 20, encoding="utf-8")
    model = made(kind, vocab_size=len(tiny.tokenizer()) + 4)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    options = ("--calibration", str(text), "--samples", "1", "--length", "4")  # so that some experts hear nothing
    assert main(["quantize", str(folder), str(path), "--gguf", "Q4_K_M", *options]) == 0
    said, all_of_them = capsys.readouterr().out, 2 * experts.count(model.config)
    assert re.search(rf"Q4_K_M with importance matrix \([1-9]\d* of {all_of_them} experts heard nothing", said)
    assert main(["quantize", str(folder), str(tmp_path / "s.gguf"), "--gguf", "Q8_0"]) == 0
    assert main(["gguf", str(path)]) == 0
    said = capsys.readouterr().out
    assert "blk.1.ffn_down_exps.weight" in said and "expert_used_count" in said
    ids = tiny.tokenizer()(tiny.WORDS).input_ids
    for file, least in ((path, 0.5), (tmp_path / "s.gguf", 1e-2)):
        assert kl(in_torch(model, ids), in_torch(artifacts.load(file)[0], ids)) < least
    made_by = origin.origins(tmp_path / "s.gguf", str(folder))
    assert len(made_by) == 2 * (4 + 3 * experts.count(model.config)) + 1
    assert {one.name for one in made_by.values()} == {"ggml's quantizer, with an importance matrix or without"}
    assert main(["quantize", str(folder), str(tmp_path / "out"), "--layout", "mlx", "--method", "rtn"]) == 1
    assert "layout 'mlx' has all experts of a layer in one tensor, which is not written" in capsys.readouterr().err


def test_what_another_quantizer_rounded_can_be_written(written, tmp_path):
    """quantize_model takes experts apart; its weights, decoded, go into a file."""
    rounded = quantize_model(written("qwen3moe")[0], Scheme.int(4, group=32))
    path = llama.export(rounded, tiny.tokenizer(), tmp_path / "x.gguf", "F32")
    assert off(path, in_torch(rounded, IDS)) < CLOSE < FAR < off(path, written("qwen3moe")[1])
