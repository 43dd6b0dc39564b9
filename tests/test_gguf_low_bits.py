"""The bundled model in each block type of llama.cpp alone, and in those of one and two bits: read here as there."""

import numpy as np
import pytest
import torch

from course_lib import artifacts, calibrate
from course_lib.artifacts.gguf import GGUFError, Part, llama, mixes, read, write
from course_lib.artifacts.gguf.load import load
from course_lib.formats import ggml
from course_lib.formats.ggml import native
from tests.gguf_models import in_llama_cpp, in_torch, kl, with_8_bit_inputs
from tests.test_gguf_llama import bundled, folder, ids  # noqa: F401  fixtures

KINDS = ("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "TQ2_0", "TQ1_0", "Q2_0", "Q1_0", "NVFP4")


@pytest.fixture(scope="module")
def importance(bundled):  # noqa: F811
    """Mean square of each matrix's columns, by the file's names."""
    texts = calibrate.calibration_batches(bundled[1], "prose", samples=2)
    stats = calibrate.collect(bundled[0], texts, hessian=False, progress=False)
    return {llama.gguf_name(f"{name}.weight"): s.mean_square.cpu() for name, s in stats.items()}


def file_of(model, tokenizer, path, kind, importance, factor=None):
    """A GGUF file whose matrices inside the layers are of this type, in ggml's own bytes; token_embd is Q8_0."""
    parts = []
    for name, w in llama.tensors(model):
        scale = factor if factor and ".ffn_" in name and w.dim() == 2 else None
        stored = kind if name.startswith("blk.") and w.dim() == 2 else "Q8_0" if w.dim() == 2 else None
        w = w.detach().float()
        data = native.quantize(w / (scale or 1), stored, importance.get(name)).numpy() if stored else w.numpy()
        number = ggml.block_type(stored).type_id if stored else 0
        parts.append(Part(name, tuple(w.shape), number, lambda data=data: data))
        if scale:
            at = name.removesuffix("weight")
            parts.append(Part(f"{at}scale", (1,), 0, lambda scale=scale: np.float32([scale])))
            parts.append(Part(f"{at}input_scale", (1,), 0, lambda: np.float32([0.25])))
    keys = llama.keys(model.config, "Q8_0", model.config.vocab_size)
    return write(path, keys | llama.tokenizer_keys(tokenizer, model.config.vocab_size), parts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_this_type_says_here_what_it_says_in_llama_cpp(bundled, folder, ids, importance, kind):  # noqa: F811
    """llama.cpp rounds activations to 8 bits as well; that explains what lies between its logits and ours."""
    path = file_of(*bundled, folder / f"{kind}.gguf", kind, importance)
    assert {info.type for name, info in read(path).tensors.items() if ".ffn_" in name} == {kind, "F32"}
    model, tokenizer = artifacts.load(path)
    ours, theirs = in_torch(model, ids), in_llama_cpp(path, ids)
    explained = kl(ours, in_torch(with_8_bit_inputs(model, path), ids))
    assert kl(ours, theirs) < 2 * explained < kl(in_torch(bundled[0], ids), ours) / 5
    assert tokenizer("Hello, a café").input_ids == bundled[1]("Hello, a café").input_ids


def test_linears_keep_the_blocks_of_any_type(bundled, folder, ids, importance):  # noqa: F811
    path = file_of(*bundled, folder / "kept.gguf", "IQ2_XXS", importance)
    model = load(path, blocks=True)[0]
    assert {q.kind for q in model.qtensors.values()} == {"IQ2_XXS"}
    q = model.qtensors["model.layers.1.mlp.up_proj"]
    assert q.nbytes * 8 == 2.0625 * q.shape[0] * q.shape[1]
    assert torch.equal(torch.from_numpy(in_torch(model.cpu(), ids)), torch.from_numpy(in_torch(load(path)[0], ids)))


def test_a_scale_beside_a_weight_is_multiplied_in(bundled, folder, ids, importance):  # noqa: F811
    """NVFP4 as converted from a checkpoint: the weights over a number of their own, which lies beside them."""
    path = file_of(*bundled, folder / "scaled.gguf", "NVFP4", importance, factor=2.0**-9)
    model = load(path)[0]
    ours, theirs = in_torch(model, ids), in_llama_cpp(path, ids)
    explained = kl(ours, in_torch(with_8_bit_inputs(model, path), ids))
    assert kl(ours, theirs) < 2 * explained < 8e-3
    kept = load(path, blocks=True)[0]
    assert not any(".mlp." in name for name in kept.qtensors) and any(".self_attn." in name for name in kept.qtensors)


@pytest.mark.parametrize(("shape", "values"), [((2,), [1.0, 2.0]), ((1, 1), [1.0])])
def test_a_scale_of_another_shape_is_refused(bundled, folder, shape, values):  # noqa: F811
    path = llama.export(*bundled, folder / "plain.gguf", "Q8_0")
    file = read(path)
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    beside = Part("blk.0.ffn_up.scale", shape, 0, lambda: np.float32(values).reshape(shape))
    with pytest.raises(GGUFError, match="blk.0.ffn_up.scale must be one F32, got F32 of the shape"):
        load(write(folder / "bad.gguf", file.fields, [*parts, beside]))
    alone = Part("blk.0.ffn_xyz.scale", (1,), 0, lambda: np.float32([1]))
    with pytest.raises(GGUFError, match="blk.0.ffn_xyz.scale is no tensor of a llama model"):
        load(write(folder / "bad.gguf", file.fields, [*parts, alone]))


def test_an_integer_scale_is_refused(bundled, folder):  # noqa: F811
    file = read(llama.export(*bundled, folder / "plain8.gguf", "Q8_0"))
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    beside = Part("blk.0.ffn_up.scale", (1,), 26, lambda: np.int32([1]))
    with pytest.raises(GGUFError, match="must be one F32, got I32"):
        load(write(folder / "bad8.gguf", file.fields, [*parts, beside]))


@pytest.mark.parametrize("mix", ["TQ1_0", "TQ2_0"])
def test_the_course_writes_ternary_mixes(bundled, folder, mix):  # noqa: F811
    file = read(llama.export(*bundled, folder / f"own-{mix}.gguf", mix))
    types = {name: info.type for name, info in file.tensors.items()}
    assert types["blk.2.ffn_up.weight"] == mix and types["token_embd.weight"] == "Q6_K"
    shapes = {name: info.shape for name, info in file.tensors.items()}
    assert mixes.bits_per_weight(shapes, mix, mixes.Model(4, 2, True)) == pytest.approx(
        8 * sum(info.nbytes for info in file.tensors.values()) / sum(np.prod(s) for s in shapes.values())
    )
    with pytest.raises(ValueError, match="imatrix must be given for IQ2_XS"):
        llama.export(*bundled, folder / "x.gguf", "IQ2_XS")


def test_the_course_writes_iq2_xxs_as_llama_cpp_does(bundled, folder, importance):  # noqa: F811
    """The mix needs an imatrix; its other tensors are Q2_K and Q5_K, so that the course has a writer for each."""
    model = dict(llama.tensors(bundled[0]))
    types = [mixes.tensor_type(name, tuple(w.shape), "IQ2_XXS", mixes.Model(4, 2, True)) for name, w in model.items()]
    assert set(types) == {"F32", "IQ2_XXS", "Q2_K", "Q5_K"} and "IQ2_XXS" in mixes.WRITTEN
    for name in ("blk.0.attn_k.weight", "blk.3.attn_v.weight"):
        ours = llama.stored(model[name], 16, importance[name])
        assert np.array_equal(ours, native.quantize(model[name], "IQ2_XXS", importance[name]).numpy())
    with pytest.raises(ValueError, match="imatrix must be given for IQ2_XXS"):
        llama.export(*bundled, folder / "x.gguf", "IQ2_XXS")


TYPES_OF = {  # of attn_q and attn_k, attn_v, attn_output, ffn_gate and ffn_up of layers 0 and 3, ffn_down, token_embd
    "IQ1_S": ("IQ1_S", "Q2_K", "IQ2_XXS", "IQ1_S", "IQ1_S", "IQ1_S", "Q5_K"),
    "IQ1_M": ("IQ1_M", "Q2_K", "IQ2_XXS", "IQ1_M", "IQ1_M", "IQ1_M", "Q5_K"),
    "IQ2_XS": ("IQ2_XS", "Q2_K", "IQ2_XS", "IQ2_XS", "IQ2_XS", "IQ2_XS", "Q5_K"),
    "IQ2_S": ("IQ2_XS", "IQ3_S", "IQ3_S", "IQ2_XS", "IQ2_XS", "IQ2_XS", "Q5_K"),
    "IQ2_M": ("IQ2_S", "IQ3_S", "IQ3_S", "IQ2_S", "IQ2_S", "IQ2_S", "Q5_K"),
    "IQ3_XXS": ("IQ2_S", "IQ3_XXS", "IQ3_S", "IQ3_XXS", "IQ3_XXS", "IQ3_XXS", "Q5_K"),
    "IQ3_XS": ("IQ3_XXS", "IQ3_S", "IQ3_S", "IQ3_XXS", "IQ3_S", "IQ3_S", "Q6_K"),
    "IQ3_S": ("IQ3_S", "IQ3_S", "IQ3_S", "IQ3_S", "IQ3_S", "IQ3_S", "Q6_K"),
    "IQ3_M": ("IQ3_S", "Q4_K", "Q4_K", "IQ3_S", "IQ3_S", "IQ3_S", "Q6_K"),
}


@pytest.mark.parametrize("mix", TYPES_OF)
def test_a_mix_below_four_bits_is_written_and_runs_in_llama_cpp(bundled, folder, ids, importance, mix):  # noqa: F811
    """Types as read off llama-quant.cpp's llama_tensor_get_type_impl for 4 layers, 2 heads a key, tied embeddings."""
    path = llama.export(*bundled, folder / f"mix-{mix}.gguf", mix, importance)
    kinds = {name.removesuffix(".weight"): info.type for name, info in read(path).tensors.items()}
    q, v, o, first, last, down, embedding = TYPES_OF[mix]
    for layer, gate in enumerate((first, first, first, last)):
        at = {role: kinds[f"blk.{layer}.{role}"] for role in ("attn_q", "attn_k", "attn_v", "attn_output")}
        assert at == {"attn_q": q, "attn_k": q, "attn_v": v, "attn_output": o}
        assert [kinds[f"blk.{layer}.ffn_{role}"] for role in ("gate", "up", "down")] == [gate, gate, down]
    assert kinds["token_embd"] == embedding
    model, _ = artifacts.load(path)
    ours, theirs = in_torch(model, ids), in_llama_cpp(path, ids)
    explained = kl(ours, in_torch(with_8_bit_inputs(model, path), ids))
    assert kl(ours, theirs) < 2 * explained < kl(in_torch(bundled[0], ids), ours) / 5
