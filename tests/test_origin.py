"""Who made a quantized layer: files of others' tools, our own methods, and what must stay untold."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file

from course_lib import QTensor, Scheme, artifacts, models, quantize
from course_lib.artifacts import maker as makers
from course_lib.artifacts.fingerprints import fingerprints, row_and_column_factors, same_blocks
from course_lib.artifacts.maker import maker
from course_lib.artifacts.origin import main, origin_of, origins
from course_lib.calibrate import calibration_batches, gptq, quantize_model
from course_lib.calibrate.rotation import hadamard
from course_lib.calibrate.stats import collect, hessian
from course_lib.checks.ch15 import layers
from course_lib.checks.ch15.who_made import EXERCISE, who_made
from course_lib.formats import ggml, microscaling
from course_lib.formats.ggml import native
from course_lib.formats.ggml.weight import Blocks

GOLDEN = Path(__file__).parent / "golden" / "gptq"
W, X = layers.layer(1, 48, 128)
H = hessian(X)
FULL = Scheme.int(4, "full", 64, scale_dtype=torch.float16)
SCHEMES = [FULL, Scheme.int(4, group=32), Scheme.int(3, False, 64), Scheme.int(8), Scheme.int(4, False, "tensor"),
           Scheme("nf4", (1, 64)), microscaling.scheme("mxfp4"), microscaling.scheme("nvfp4")]  # fmt: skip


def told(q, w=W, H=H):
    return maker(fingerprints(w, q, H)).name


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
def test_rounding_and_gptq_are_told_in_every_format(scheme):
    f = fingerprints(W, quantize(W, scheme))
    assert (f.nearest, f.whole, f.wider) == (1, 1, 0)
    assert told(quantize(W, scheme)) == makers.NEAREST
    assert told(gptq(W, H, scheme)) == told(gptq(W, H, scheme), H=None) == makers.GPTQ


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_torchs_own_rounding_is_told():
    scale = W.abs().amax(1).double() / 7.5
    theirs = torch.quantize_per_channel(W, scale, torch.full((len(W),), 8), 0, torch.quint8).int_repr().clamp(0, 15)
    zero = torch.full((len(W), 1), 8, dtype=torch.uint8)
    q = QTensor(theirs, scale.float()[:, None], zero, Scheme.int(4, "full"), tuple(W.shape))
    assert told(q) == makers.NEAREST


def test_division_in_bfloat16_is_still_rounding():
    q = quantize(W, Scheme.int(4, "full", 64, scale_dtype=torch.bfloat16))
    codes = (W.bfloat16() / q.scale.repeat_interleave(64, 1)).round().add(8).clamp(0, 15).to(torch.uint8)
    assert not torch.equal(codes, q.codes)
    theirs = QTensor(codes, q.scale, q.zero_point, q.scheme, q.shape)
    assert told(theirs, W.bfloat16().float()) == makers.NEAREST


@pytest.mark.parametrize("observer", ["mse", "percentile"])
def test_narrowed_ranges_are_told(observer):
    f = fingerprints(W, quantize(W, Scheme.int(3, group=64), observer))
    assert f.nearest == 1 and f.range < 1 and f.wider == 0 and maker(f).name == makers.NARROWED


def test_act_order_needs_inputs_or_g_idx():
    static = gptq(W, H, FULL, act_order=True, static_groups=True)
    assert told(static) == makers.ACT_ORDER and told(static, H=None) == makers.UNKNOWN
    assert told(gptq(W, H, FULL, act_order=True), H=None) == makers.ACT_ORDER


def test_groups_of_columns_out_of_order_are_put_together():
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    grid, back = quantize(W[:, order], FULL), order.argsort()
    q = QTensor(grid.codes[:, back], grid.scale, grid.zero_point, FULL, grid.shape, (back // 64).to(torch.int32))
    f = fingerprints(W, q)
    assert f.reordered and (f.nearest, f.whole) == (1, 1) and maker(f).name == makers.NEAREST


@pytest.fixture(scope="module")
def peers():
    """Four rows that GPTQModel and llm-compressor rounded on grids found beforehand, as QTensors; and H."""
    spec = importlib.util.spec_from_file_location("golden_gptq", GOLDEN / "make.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    w, x, _ = made.layer()
    rows = load_file(GOLDEN / "rows.safetensors")

    def q(key):
        bits, full = int(key[-1]), "full" if "asymmetric" not in key else False
        grid = quantize(w[:4], Scheme.int(bits, full, made.GROUP))
        step, zero = (t.repeat_interleave(made.GROUP, 1) for t in (grid.step, grid.zero_point.float()))
        codes = grid.scheme.codec.encode(rows[key].float(), step, zero)
        theirs = QTensor(codes, grid.scale, grid.zero_point, grid.scheme, grid.shape)
        assert torch.allclose(theirs.dequantize(), rows[key].float(), rtol=2e-3, atol=1e-6)
        return theirs

    return w[:4], hessian(x), q


@pytest.mark.parametrize("bits", [4, 3])
@pytest.mark.parametrize(
    "key",
    [
        "gptqmodel | static",
        "llmcompressor | static",
        "gptqmodel | act-order static",
        "llmcompressor | act-order static",
        "gptqmodel | asymmetric act-order static",
    ],
)
def test_what_gptqmodel_and_llm_compressor_made_is_told(peers, key, bits):
    w, H, q = peers
    assert told(q(f"{key} | {bits}"), w, H) == (makers.ACT_ORDER if "act-order" in key else makers.GPTQ)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K", "Q6_K", "MXFP4"])
def test_what_llama_cpp_writes_is_told(kind):
    w = torch.cat([W, W], 1)
    assert same_blocks(w, Blocks(native.quantize(w, kind), kind)) == 1
    assert same_blocks(2 * w, Blocks(native.quantize(w, kind), kind)) < 0.1
    if kind == "Q4_K":
        importance = torch.cat([X, X], 1).square().mean(0)
        weighed = Blocks(native.quantize(w, kind, importance.numpy()), kind)
        assert same_blocks(w, weighed) < 0.5 and same_blocks(w, weighed, importance) == 1
        assert makers.ggml_maker(same_blocks(w, weighed)).name == makers.GGML_OTHER


@pytest.mark.parametrize("kind", ["Q8_0", "TQ2_0", "MXFP4", "Q4_0", "Q4_K"])
def test_where_llama_cpp_ignores_an_importance_matrix_nobody_says_that_there_was_none(kind):
    w, importance = torch.cat([W, W], 1), torch.cat([X, X], 1).square().mean(0)
    plain, weighed = (Blocks(native.quantize(w, kind, given), kind) for given in (None, importance.numpy()))
    ignored = torch.equal(plain.blocks, weighed.blocks)  # llama.cpp's own answer
    said = [origin_of(w, blocks).name for blocks in (plain, weighed)]
    assert said == ([makers.GGML_EITHER] * 2 if ignored else [makers.GGML, makers.GGML_OTHER])
    assert origin_of(2 * w, plain).name == (makers.GGML_NEITHER if ignored else makers.GGML_OTHER)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_scaled_channels_are_told_and_found(bits):
    c = X.abs().mean(0) ** 0.5
    f = fingerprints(W, quantize(W * c, Scheme.int(bits, False, 64)), H)
    assert maker(f).name == makers.SCALED and f.nearest < 0.9 < f.scaled and f.loudness > 0.8
    r = torch.rand(len(W), 1) + 0.5
    found = row_and_column_factors(W, r * W * c)
    assert torch.allclose(found[0] * found[1], r * c, rtol=1e-4)


def test_what_cannot_be_told_is_not_said():
    noise = torch.randn(W.shape, generator=torch.Generator().manual_seed(0))
    for other in (W @ hadamard(128, 0), noise):
        said = maker(fingerprints(W, quantize(other, FULL), H))
        assert said.name == makers.UNKNOWN and said.why.startswith("the cosine with the original is only")
    grid = quantize(W, FULL)
    moved = (grid.codes.int() + (noise > 1.5).int()).clamp(0, 15).to(torch.uint8)  # by chance, not by inputs
    q = QTensor(moved, grid.scale, grid.zero_point, FULL, grid.shape)
    assert told(q) == told(q, H=None) == makers.UNKNOWN
    flat = hessian(torch.eye(128))
    assert told(gptq(W, flat, FULL), H=flat) == makers.NEAREST  # nothing to pass on: it *is* rounding


@pytest.mark.parametrize("nearest, loudness", [(0.977, 0.49), (0.985, 0.33), (0.944, 0.47)])
def test_awq_that_scales_by_little_is_not_taken_for_act_order(nearest, loudness):
    """Figures of layers of the bundled model that AWQ made at two bits; act-order's differ in these two."""
    f = fingerprints(W, gptq(W, H, FULL, act_order=True, static_groups=True), H)
    assert maker(f).name == makers.ACT_ORDER
    f = dataclasses.replace(f, nearest=nearest, scaled=0.97, loudness=loudness, output=1.0)
    assert maker(f).name == makers.UNKNOWN


@pytest.mark.parametrize("w, q, H, said", [
    (W, W, None, "q must be a QTensor, got Tensor"),
    (W[:4], quantize(W, FULL), None, r"w must be a matrix of the shape of q, \(48, 128\), got shape \(4, 128\)"),
    (W, quantize(W, FULL), H[:4], r"H must have shape \(128, 128\), w's columns, got shape \(4, 128\)"),
])  # fmt: skip
def test_bad_input_is_said(w, q, H, said):
    with pytest.raises((TypeError, ValueError), match=said):
        fingerprints(w, q, H)
    with pytest.raises(ValueError, match="w must have the shape of the blocks"):
        same_blocks(W[:, :32], Blocks(ggml.quantize(W, "Q4_0"), "Q4_0"))


def test_every_layer_of_the_exercise_is_what_it_is_labelled():
    assert {case.maker for case in EXERCISE.cases} == set(layers.MAKERS)
    assert all(who_made(*case.args) == case.maker for case in EXERCISE.cases)


def test_other_signs_of_a_maker_hold_on_every_layer_of_the_exercise():
    """No layer is so small that another sound way fails on it by chance: ggml's code -8, its signed scales."""
    for case in EXERCISE.cases:
        w, q, s, _ = case.args
        blocks = w.reshape(len(w), s.shape[1], -1)
        lead = q.reshape(blocks.shape).gather(2, blocks.abs().argmax(2, keepdim=True))
        assert bool((lead == -8).all()) == (case.maker == "q4_0"), case.name
        assert bool((s < 0).any()) == (case.maker == "q4_0"), case.name


def test_the_six_files_of_the_folder_are_told():
    model, tokenizer = models.load("bundled")
    name, batches = "model.layers.0.mlp.up_proj", calibration_batches(tokenizer, "prose", 8, 128)
    w, rows = model.get_submodule(name).weight.detach().float(), collect(model, batches, [name])[name].rows
    files = layers.folder(w, rows, seed=15)
    found = [who_made(w, *layers.parts(q), rows) for q in files.values()]
    assert list(files) == list("ABCDEF") and sorted(found) == sorted(layers.MAKERS) != found


def test_q4_0_as_a_qtensor_is_ggmls():
    blocks = native.quantize(W, "Q4_0")
    assert torch.equal(layers.of_blocks(blocks).dequantize(), ggml.dequantize(blocks, "Q4_0"))
    q, s = layers.parts(Blocks(blocks, "Q4_0"))
    assert q.min() == -8 and (s < 0).any()
    assert torch.equal(q * s.repeat_interleave(32, 1), ggml.dequantize(blocks, "Q4_0"))
    with pytest.raises(ValueError, match="16 codes"):
        layers.parts(quantize(W, Scheme.int(4)))


def test_the_recorded_table_names_nobody_wrongly():
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "origin.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert len(rows) == 18 and all(asked["wrong"] == 0 for row in rows.values() for asked in row.values())
    right = {name: row["no inputs"]["right"] for name, row in rows.items()}
    assert all(right[name] == 28 for name in rows if "static" not in name and not name.startswith(("awq", "qat")))


def test_course_origin(tmp_path, capsys):
    model = tiny.llama(head_dim=16)
    model.save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    (tmp_path / "text.txt").write_text("the mug is broken, please send money back to my card. " * 200)
    batches = calibration_batches(tiny.tokenizer(), str(tmp_path / "text.txt"), 8, 32)
    small = Scheme.int(4, "full", 16, scale_dtype=torch.float16)
    for name, options in (("rtn", ()), ("gptq", ("gptq", batches))):
        artifacts.save(quantize_model(model, small, *options, progress=False), tmp_path / name)
    found = origins(tmp_path / "rtn", str(tmp_path / "base"))
    assert {one.name for one in found.values()} == {makers.NEAREST} and len(found) == 14
    assert main([str(tmp_path / "rtn"), str(tmp_path / "base"), "--layers"]) == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'rtn'}: {makers.NEAREST} (14 of 14)\n")
    updated = origins(tmp_path / "gptq", str(tmp_path / "base"), str(tmp_path / "text.txt"), progress=False)
    assert makers.NEAREST not in {one.name for one in updated.values()}
    assert main([str(tmp_path / "base"), str(tmp_path / "base")]) == 1
    assert "no quantized linears" in capsys.readouterr().err


def test_blocks_that_nobody_writes_without_an_importance_matrix_are_not_judged_without_one():
    w, importance = torch.randn(2, 256, generator=torch.Generator().manual_seed(1)), torch.ones(256)
    for kind in ("IQ2_XS", "IQ2_XXS"):
        blocks = Blocks(native.quantize(w, kind, importance.numpy()), kind)
        assert same_blocks(w, blocks) is None and same_blocks(w, blocks, importance) == 1
    assert makers.ggml_maker(None).name == makers.UNKNOWN
