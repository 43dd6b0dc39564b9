"""Mixtures as GGUF, quantized: types as llama-quantize chooses them, each expert with its own importance, the plan."""

import json
import struct
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny
import torch

from course_lib.artifacts.gguf import GGUFError, Part, experts, imatrix, llama, mixes, read, write
from course_lib.artifacts.gguf.load import load
from course_lib.calibrate import collect
from course_lib.calibrate.experts import Experts, unfused
from course_lib.capacity.plan import plan
from course_lib.capacity.plan.models import config_of
from course_lib.capacity.shapes import parameter_shapes
from course_lib.formats.ggml import native
from tests.gguf_models import CLOSE, FAR, IDS, in_llama_cpp, in_torch, kl, off, with_8_bit_inputs
from tests.test_gguf_moe import made, routed, same

GOLDEN = json.loads((Path(__file__).parent / "golden/gguf_moe/types.json").read_text(encoding="utf-8"))
WIDE = dict(hidden_size=256, intermediate_size=256, moe_intermediate_size=256, num_key_value_heads=1)


@pytest.fixture(scope="module")
def wide():
    return {"mixtral": made("mixtral", **WIDE), "qwen3moe": made("qwen3moe", num_experts=6, **WIDE)}


def as_linears(model, path):
    """`with_8_bit_inputs` of the model with its experts taken apart."""
    return with_8_bit_inputs(unfused(model), path)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3moe"])
@pytest.mark.parametrize("mix", ["Q8_0", "Q4_K_M"])
def test_a_quantized_file_runs_as_its_weights_say(wide, tmp_path, kind, mix):
    path = llama.export(wide[kind], tiny.tokenizer(), tmp_path / "x.gguf", mix)
    model, _ = load(path)
    ours, theirs = in_torch(model, IDS), in_llama_cpp(path, IDS)
    assert kl(ours, theirs) < 3 * kl(ours, in_torch(as_linears(model, path), IDS)) < 0.1
    kept, _ = load(path, blocks=True)
    count = experts.count(model.config)
    assert len(kept.qtensors) == 2 * (4 + 3 * count) + 1 and isinstance(kept.model.layers[0].mlp.experts, Experts)
    assert np.abs(in_torch(kept, IDS) - ours).max() < 1e-3
    planned = plan(model.config, "h100-sxm", context=64, weights=mix).weights.value
    assert planned == sum(info.nbytes for info in read(path).tensors.values())
    types = {name: info.type for name, info in read(path).tensors.items()}
    assert {kind for name, kind in types.items() if "norm" in name or "gate_inp" in name} == {"F32"}


def test_experts_that_are_no_blocks_are_linears(tmp_path):
    path = llama.export(made("qwen3moe"), tiny.tokenizer(), tmp_path / "x.gguf", "F16")
    kept, plain = load(path, blocks=True)[0], load(path)[0]
    assert not kept.qtensors and isinstance(kept.model.layers[1].mlp.experts, Experts)
    assert np.abs(in_torch(kept, IDS) - in_torch(plain, IDS)).max() < CLOSE


def names_of(layers):
    yield from ("token_embd", "output")
    for role in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps",
                 "ffn_down_exps"):  # fmt: skip
        yield from (f"blk.{k}.{role}" for k in range(layers))


@pytest.mark.parametrize("model, shape", [
    ("mixtral-8x7b", mixes.Model(32, 4, False, False, "llama", 8)),
    ("qwen3-30b-a3b", mixes.Model(48, 8, False, False, "qwen3moe", 128)),
    ("four experts", mixes.Model(16, 2, False, False, "llama", 4)),
])  # fmt: skip
def test_the_types_are_those_of_llama_quantize(model, shape):
    """golden/gguf_moe/make.py asked llama.cpp's own quantizer about every mix."""
    golden = GOLDEN[model]
    assert set(mixes.BASE) <= set(golden)
    for mix in mixes.BASE:
        for with_imatrix in (False, True):
            wanted = golden.get(f"{mix}, imatrix" if with_imatrix else mix, golden[mix])
            of, got = shape._replace(imatrix=with_imatrix), {}
            for name in names_of(shape.layers):
                size = (8, 2, 256) if "exps" in name else (2, 256)
                got.setdefault(name.split(".")[-1], []).append(mixes.tensor_type(f"{name}.weight", size, mix, of))
            assert got == {role: spread(said, len(got[role])) for role, said in wanted.items()}, mix


def test_a_single_expert_is_no_mixture_for_mxfp4():
    """llama-quant.cpp asks whether ne[2] > 1."""
    name, models = "blk.0.ffn_up_exps.weight", [mixes.Model(1, 1, False, experts=n) for n in (1, 2)]
    kinds = [mixes.tensor_type(name, (model.experts, 2, 256), "MXFP4_MOE", model) for model in models]
    assert kinds == ["Q8_0", "MXFP4"]


def spread(said, layers):
    """A type for all, or runs such as "4 Q6_K, 2 Q4_K", by layer."""
    if " " not in said:
        return [said] * layers
    return [kind for run in said.split(", ") for n, kind in [run.split()] for _ in range(int(n))]


@pytest.mark.parametrize("role", ["gate", "up", "down"])
def test_a_scale_of_each_expert_is_multiplied_in(tmp_path, role):
    """As NVFP4 has them, here powers of two beside F32, so that nothing is rounded."""
    model, name = made("qwen3moe"), f"blk.1.ffn_{role}_exps"
    file = read(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "F32"))
    factors, w = np.float32([2.0**k for k in range(-6, 6)]), file.tensor(f"{name}.weight")
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    parts = [p._replace(data=lambda: w / factors[:, None, None]) if p.name == f"{name}.weight" else p for p in parts]
    beside = Part(f"{name}.scale", (12,), 0, lambda: factors)
    path = write(tmp_path / "scaled.gguf", file.fields, [*parts, beside])
    assert off(path, in_torch(model, IDS)) < CLOSE < FAR < off(write(path, file.fields, parts), in_torch(model, IDS))
    back = load(write(path, file.fields, [*parts, beside]))[0].state_dict()
    assert all(torch.equal(p, back[key]) for key, p in model.state_dict().items())
    with pytest.raises(GGUFError, match="exps.scale must be 12 F32, got F32 of the shape"):
        load(write(path, file.fields, [*parts, beside._replace(shape=(1,), data=lambda: factors[:1])]))


def test_each_expert_is_quantized_with_its_own_importance(wide, tmp_path):
    """The bytes are those of ggml's own quantizer, asked expert by expert, as llama-quantize does."""
    model, rng = wide["qwen3moe"], np.random.default_rng(0)
    weights = {f"blk.1.{role}.weight": rng.exponential(size=(6, 256)).astype(np.float32) ** 4
               for role in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")}  # fmt: skip
    file = read(llama.export(model, tiny.tokenizer(), tmp_path / "x.gguf", "Q4_K_M", weights))
    plain = read(llama.export(model, tiny.tokenizer(), tmp_path / "p.gguf", "Q4_K_M"))
    given = dict(llama.tensors(model))
    for name, importance in weights.items():
        kind = file.tensors[name].type
        want = [native.quantize(w, kind, row) for w, row in zip(given[name], importance, strict=True)]
        assert np.array_equal(torch.cat(want).numpy().reshape(-1), file.data(name))
        first = [native.quantize(w, kind, importance[0]) for w in given[name]]
        assert not np.array_equal(torch.cat(first).numpy().reshape(-1), file.data(name))
        want = [native.quantize(w, kind) for w in given[name]]
        assert np.array_equal(torch.cat(want).numpy().reshape(-1), plain.data(name))
    flat = {name: row.reshape(-1) for name, row in weights.items()}  # as a .dat file has it
    assert same(file.path, llama.export(model, tiny.tokenizer(), tmp_path / "f.gguf", "Q4_K_M", flat))
    with pytest.raises(ValueError, match="imatrix must hold 6 x 256 numbers, one an expert and column, got 256"):
        llama.export(model, tiny.tokenizer(), tmp_path / "y.gguf", "Q4_K_M", {name: weights[name][0] for name in flat})


# ---- importance matrices


def test_statistics_are_those_of_the_tokens_that_an_expert_was_sent():
    """Against sums over the tokens that transformers' router sends: x for gate and up, what these give for down."""
    model = made("mixtral")
    before = [layer.mlp.experts for layer in model.model.layers]
    ids = IDS[:5]
    stats = collect(model, [torch.tensor([ids])], progress=False, unheard="empty")
    assert [layer.mlp.experts for layer in model.model.layers] == before
    found = imatrix.of_stats(stats)
    matrices = {name for name, w in llama.tensors(model) if w.dim() > 1}
    assert set(found) == {name for name in matrices if "gate_inp" not in name} - {"token_embd.weight", "output.weight"}
    silent = 0
    for k, (x, chosen, _) in enumerate(routed(model, ids)):
        fused = model.model.layers[k].mlp.experts
        for number in range(8):
            heard = x[(chosen == number).any(-1)]
            gate, up = (heard @ fused.gate_up_proj[number].T).detach().chunk(2, -1)
            inner = torch.nn.functional.silu(gate) * up
            for role, inputs in (("gate", heard), ("up", heard), ("down", inner)):
                entry = found[f"blk.{k}.ffn_{role}_exps.weight"]
                assert entry.count[number] == len(heard)
                np.testing.assert_allclose(entry.sums[number], inputs.square().sum(0), rtol=1e-4, atol=1e-6)
                want = inputs.square().mean(0) if len(heard) else np.ones(inputs.shape[1])
                np.testing.assert_allclose(entry.importance[number], want, rtol=1e-4, atol=1e-6)
            silent += len(heard) == 0
    assert 0 < silent < 16 and f"({silent} of 16 experts heard nothing" in imatrix.unheard(found)
    some = stats["model.layers.0.mlp.experts.0.up_proj"]
    assert some.H.shape == (64, 64) and some.rows.shape[1] == 64
    with pytest.raises(ValueError, match=r"experts\.\d\.gate_proj never ran on the calibration text"):
        collect(model, [torch.tensor([ids])], progress=False)
    with pytest.raises(ValueError, match="unheard must be 'error' or 'empty', got 'zero'"):
        collect(model, [torch.tensor([ids])], progress=False, unheard="zero")
    del stats["model.layers.0.mlp.experts.2.up_proj"]
    with pytest.raises(ValueError, match="every expert of blk.0.ffn_up_exps.weight, got none of expert 2"):
        imatrix.of_stats(stats)


ENTRIES = {
    "blk.0.ffn_up_exps.weight": imatrix.Entry(np.array([[512.0, 1024], [0, 0], [3000, 600]]), np.array([512, 0, 600])),
    "blk.0.attn_q.weight": imatrix.Entry(np.array([1024.0, 0]), 1024),
}
HEARD = [[1, 2], [1, 1], [5, 1]]


@pytest.mark.parametrize("name", ["x.gguf", "x.dat"])
def test_both_forms_say_what_each_expert_heard(tmp_path, name):
    """A .dat file holds means times calls, of all experts one after the other, and 1 times calls for a silent one."""
    path = imatrix.save(tmp_path / name, ENTRIES, "text")
    back = imatrix.importance(imatrix.load(path))
    assert back["blk.0.ffn_up_exps.weight"].reshape(3, 2).tolist() == HEARD
    assert back["blk.0.attn_q.weight"].tolist() == [1, 0]
    if name == "x.dat":
        title = b"blk.0.ffn_up_exps.weight"
        head = struct.pack("<ii", 2, len(title)) + title + struct.pack("<ii", 2, 6)
        want = head + struct.pack("<6f", *(2.0 * x for row in HEARD for x in row))
        assert path.read_bytes().startswith(want)
    else:
        tensors = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
        assert tensors["blk.0.ffn_up_exps.weight.in_sum2"].tolist() == [[512, 1024], [0, 0], [3000, 600]]
        assert tensors["blk.0.ffn_up_exps.weight.counts"].tolist() == [[512], [0], [600]]
        assert imatrix.load(path)["blk.0.ffn_up_exps.weight"].count.tolist() == [512, 0, 600]


@pytest.mark.parametrize("counts", [[[512.0], [1.0]], [[512.0, 0, 600]], [[-1.0], [2], [3]], [[0.0]] * 3,
                                    [[np.nan], [1], [1]], [[np.inf], [1], [1]], [[0.5], [1], [1]]])  # fmt: skip
def test_counts_that_are_none_are_refused(tmp_path, counts):
    shape = np.float32(counts).shape
    parts = [Part("w.in_sum2", (3, 2), 0, lambda: np.ones((3, 2), np.float32)),
             Part("w.counts", shape, 0, lambda: np.float32(counts))]  # fmt: skip
    with pytest.raises(GGUFError, match="^w"):
        imatrix.load(write(tmp_path / "x.gguf", {"general.type": "imatrix"}, parts))


# ---- what a machine needs


def test_the_plan_knows_a_published_mixture():
    """Qwen3-30B-A3B as llama.cpp loads Q4_K_M: 241 tensors F32, 289 Q4_K, 49 Q6_K; 17.28 GiB, 4.86 bits a weight.

    From the log in github.com/ggml-org/llama.cpp/issues/14235.
    """
    config = config_of("qwen3-30b-a3b")[1]
    planned = plan(config, "h100-sxm", weights="q4_k_m")
    assert round(planned.weights.value / 2**30, 2) == 17.28
    assert round(8 * float(planned.weights.value) / planned.params, 2) == 4.86
    shapes = experts.parted({name: (shape, None) for name, shape in parameter_shapes(config).items()})
    types = [mixes.tensor_type(llama.gguf_name(name), shape, "Q4_K_M", mixes.Model(48, 8, False, experts=128))
             for name, (shape, _) in shapes.items()]  # fmt: skip
    assert Counter(types) == {"F32": 241, "Q4_K": 289, "Q6_K": 49}
