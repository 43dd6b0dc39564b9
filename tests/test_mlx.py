"""MLX's grids and files beside what MLX 0.32.4 and mlx-lm 0.32.2 made of the same weights, and broken ones."""

import dataclasses
import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_artifacts_broken import Broken

from course_lib import QTensor, Scheme, artifacts, models, quantize
from course_lib.artifacts import LAYOUTS
from course_lib.artifacts import maker as makers
from course_lib.artifacts.layout import Facts
from course_lib.artifacts.mlx import FLOATS
from course_lib.artifacts.origin import origin_of
from course_lib.calibrate import QuantLinear, hqq, quantize_model
from course_lib.formats import affine, microscaling
from course_lib.formats.packing import pack

GOLDEN = Path(__file__).parent / "golden" / "mlx"
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
SMALL = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "initializer_range": 0.1}
MLX = LAYOUTS["mlx"]
CASES = sorted({name.rpartition(".")[0] for name in load_file(GOLDEN / "affine.safetensors")} - {""})


def integers(bits=4, symmetric=False, group=32, dtype=HALF, **more):
    return Scheme.int(bits, symmetric, group, scale_dtype=dtype, **more)


def golden(case):
    """Weights in the case's dtype, its bits and group, and what MLX made of them."""
    stored = load_file(GOLDEN / "affine.safetensors")
    dtype, bits, group = case.split(".")
    parts = {name.removeprefix(f"{case}."): t for name, t in stored.items() if name.startswith(f"{case}.")}
    return stored["w"].to(getattr(torch, dtype)), int(bits), int(group), stored["x"], parts


# ---- the grid and the bytes


@pytest.mark.parametrize("case", CASES)
def test_codes_scales_and_biases_are_mlxs(case):
    w, bits, group, _, theirs = golden(case)
    q = affine.as_mlx(w, affine.scheme(bits, group, w.dtype))
    assert torch.equal(pack(q.codes, bits, axis=1, word=torch.int32), theirs["weight"])
    assert q.scale.dtype == w.dtype and torch.equal(q.scale, theirs["scales"])
    assert torch.equal(q.zero_point, theirs["biases"])
    assert torch.equal(MLX.unpack("a", MLX.pack("a", q), w.shape, Facts(bits, group, False)).codes, q.codes)


@pytest.mark.parametrize("bits, group", [(8, 32), (4, 64), (8, 64), (2, 128), (4, 128)])
def test_on_a_gpu_halves_go_away_from_zero_and_a_group_below_zero_ends_at_zero(bits, group):
    """golden/mlx/gpu.py ran the text of MLX's kernel for Apple's GPUs."""
    stored = load_file(GOLDEN / "gpu.safetensors")
    w, theirs = stored["w"], {name: stored[f"{bits}.{group}.{name}"] for name in ("weight", "scales", "biases")}
    q, on_cpu = (affine.as_mlx(w, affine.scheme(bits, group, BRAIN), gpu) for gpu in (True, False))
    assert torch.equal(pack(q.codes, bits, axis=1, word=torch.int32), theirs["weight"])
    assert torch.equal(q.scale, theirs["scales"]) and torch.equal(q.zero_point, theirs["biases"])
    below = w.reshape(len(w), -1, group).amax(-1) < 0
    assert below.any() and (q.scale != on_cpu.scale)[below].any() and torch.equal(q.scale[~below], on_cpu.scale[~below])
    assert not torch.equal(q.codes[:7], on_cpu.codes[:7])  # midpoints
    assert origin_of(w.float(), q).name == origin_of(w.float(), on_cpu).name == makers.MLX
    moved = dataclasses.replace(q, scale=torch.where(torch.arange(len(w))[:, None] == 0, 1.5 * q.scale, q.scale))
    assert origin_of(w.float(), moved).name != makers.MLX


@pytest.mark.parametrize("case", CASES)
def test_what_is_read_decodes_to_mlxs_numbers(case):
    w, bits, group, x, theirs = golden(case)
    parts = {name: theirs[name] for name in ("scales", "biases")} | {"weight": theirs["weight"].view(torch.uint32)}
    q = MLX.unpack("a", parts, w.shape, Facts(bits, group, False))
    if "dequantized" in theirs:
        assert torch.equal(affine.stepwise(q), theirs["dequantized"])
        once = q.dequantize().to(w.dtype)
        assert torch.equal(once, theirs["dequantized"]) == (w.dtype == FULL)
    values = q.dequantize().double()
    error = (theirs["product"].double() - x.double() @ values.t()).abs()
    gamma = (x.shape[1] + 2) * 2.0**-24  # n additions in any order, a product and s*q + b, each rounded once
    assert (error <= 1.01 * gamma * (x.double().abs() @ values.abs().t())).all()


def test_a_group_whose_ends_are_nearly_as_far_is_cut_at_one_of_them_as_in_q4_0():
    for bits in (2, 4):
        scale, bias = affine.exact_edge(torch.tensor(-0.98), torch.tensor(1.0), bits)
        half = 2 ** (bits - 1)
        assert (scale, bias, scale * (2**bits - 1) + bias) == (-1 / half, 1.0, -(half - 1) / half)


def test_float32_decides_where_the_ends_are_equally_far():
    steps = {bits: -1 / affine.exact_edge(torch.tensor(-1.0), torch.tensor(1.0), bits)[0].item() for bits in (2, 3, 4)}
    assert [round(k, 4) for k in steps.values()] == [
        2,
        3,
        7,
    ]  # 1.5, 3.5, 7.5, and 2/7 and 2/15 in float32 are too large


def test_the_far_end_and_zero_are_hit_exactly_and_the_near_end_within_a_step():
    lo, hi = torch.randn(2, 4000, generator=torch.Generator().manual_seed(2)).sort(0).values
    lo, hi = lo.clamp(max=0), hi.clamp(min=0)
    for bits in affine.BITS:
        scale, bias = affine.exact_edge(lo, hi, bits)
        far, near = torch.where(lo.abs() > hi, lo, hi), torch.where(lo.abs() > hi, hi, lo)
        assert torch.equal(bias, far)
        steps = -bias / scale
        assert (steps - steps.round()).abs().max() <= 2**-15
        moved = (scale * (2**bits - 1) + bias - near).abs() / ((hi - lo) / (2**bits - 1))
        assert (moved <= (2**bits - 1) / 2 / steps + 1e-3).all() and (moved < 1).all() and moved.max() > 0.7


def test_the_scheme_composes_with_everything_that_takes_a_grid():
    w = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    q = quantize(w, affine.scheme(4, 32, FULL))
    assert torch.equal(q.codes, affine.as_mlx(w, affine.scheme(4, 32, FULL)).codes)  # only 16 bits tell them apart
    assert q.nbytes == 16 * 64 // 2 + 2 * 4 * 32
    for bits in (1, 7, 9, "4"):
        with pytest.raises(ValueError, match="bits must be one of 2, 3, 4, 5, 6, 8"):
            affine.scheme(bits)
    with pytest.raises(ValueError, match="has a bias like its scale"):
        Scheme("affine4", (1, 32), False, HALF)
    with pytest.raises(ValueError, match="scheme must be one that affine.scheme"):
        affine.as_mlx(w, integers())
    with pytest.raises(ValueError, match="does not fit torch.float16|must be finite"):
        affine.as_mlx(w * 1e5, affine.scheme(4, 32))


# ---- zero points and biases


@pytest.mark.parametrize("dtype, ulps", [(HALF, 2.0**-11), (BRAIN, 2.0**-8)])
@pytest.mark.parametrize("bits", affine.BITS)
def test_a_zero_point_becomes_a_bias_within_half_a_unit_of_its_last_place(bits, dtype, ulps):
    w = torch.randn(64, 128, generator=torch.Generator().manual_seed(bits)) + 0.5
    q = quantize(w, integers(bits, False, 32, dtype))
    biased = affine.of_integers(q)
    assert torch.equal(biased.codes, q.codes) and torch.equal(biased.scale, q.scale)
    bound = ulps * q.zero_point.float() * q.scale.float()
    off = (biased.dequantize().double() - q.dequantize().double()).abs().reshape(64, 4, 32).amax(-1)
    sums = 2.0**-24 * w.abs().reshape(64, 4, 32).amax(-1) * 1.5  # float32's rounding of s*q + b
    assert (off <= bound + sums).all()
    assert bits < 4 or (off > 0.6 * bound - sums)[bound > 0].any()
    if bits < 8 or dtype == HALF:
        back = affine.to_integers(biased)
        assert torch.equal(back.zero_point, q.zero_point) and back.scheme == q.scheme


def every_zero_point(scale, bits):
    """A QTensor of groups with each of these scales and each zero point of so many bits."""
    zero = torch.arange(2**bits, dtype=torch.uint8).expand(len(scale), -1)
    codes = torch.zeros(len(scale), 2**bits * 32, dtype=torch.uint8)
    return QTensor(codes, scale[:, None].expand(-1, 2**bits), zero, integers(bits, dtype=scale.dtype), codes.shape)


def test_every_zero_point_comes_back_where_it_can():
    """All mantissas at an ordinary exponent, and the smallest numbers of float16, by all zero points."""
    half = torch.cat([torch.arange(1, 2**11), torch.arange(15 * 2**10, 16 * 2**10)]).to(torch.int16).view(HALF)
    brain = torch.arange(0x3C00, 0x3C80).to(torch.int16).view(BRAIN)
    for scale, bits in ((half, 8), (brain, 6), (-half, 4), (brain * 2**20, 5)):
        q = every_zero_point(scale, bits)
        assert torch.equal(affine.to_integers(affine.of_integers(q)).zero_point, q.zero_point)


def test_zero_points_that_cannot_be_told_apart_are_not_guessed():
    for scale in torch.arange(0x3C00, 0x3C80, 5).to(torch.int16).view(BRAIN):
        q = every_zero_point(scale[None], 8)
        bias = affine.of_integers(q).zero_point[0]
        shared = (bias[:, None] == bias).sum(1)  # how many zero points have this bias
        for z in (*range(0, 256, 7), 253, 254, 255):
            one = dataclasses.replace(
                q, codes=q.codes[:, :32], scale=q.scale[:, :1], zero_point=q.zero_point[:, z : z + 1], shape=(1, 32)
            )
            if shared[z] == 1:
                assert affine.to_integers(affine.of_integers(one)).zero_point.item() == z
                continue
            with pytest.raises(ValueError, match="none fits the bias of 0 of 1 groups, and several fit that of 1"):
                affine.to_integers(affine.of_integers(one))


@pytest.mark.parametrize("z", [-1, 16, 0.5])
def test_a_bias_outside_of_the_codes_or_between_them_is_no_zero_point(z):
    scale = torch.full((1, 1), 0.25, dtype=HALF)
    q = QTensor(torch.zeros(1, 32, dtype=torch.uint8), scale, -z * scale, affine.scheme(4, 32), (1, 32))
    with pytest.raises(ValueError, match="none fits the bias of 1 of 1 groups"):
        affine.to_integers(q)


@pytest.mark.parametrize("symmetric", ["full", True])
def test_of_a_symmetric_grid_nothing_is_lost(symmetric):
    w = torch.randn(32, 128, generator=torch.Generator().manual_seed(1))
    for bits, dtype in ((2, HALF), (3, BRAIN), (4, HALF), (8, BRAIN)):
        q = quantize(w, integers(bits, symmetric, 64, dtype))
        assert torch.equal(affine.of_integers(q).dequantize(), q.dequantize())


def test_real_zero_points_become_biases_too():
    w = torch.randn(16, 64, generator=torch.Generator().manual_seed(3))
    q = hqq(w, integers(3, False, 32, zero_dtype=HALF))
    biased = affine.of_integers(q)
    assert torch.equal(biased.zero_point, (-q.zero_point.float() * q.scale.float()).to(HALF))
    with pytest.raises(ValueError, match="no whole zero points: none fits the bias of"):
        affine.to_integers(biased)


# ---- directories


def test_a_directory_of_mlx_lm_is_read_bit_for_bit():
    model, _ = artifacts.load(GOLDEN / "converted")
    source = tiny.llama(**SMALL).bfloat16()
    assert len(model.qtensors) == 13 and not isinstance(model.model.layers[0].self_attn.q_proj, QuantLinear)
    assert {q.scheme.bits for q in model.qtensors.values()} == {3, 4, 5, 6, 8}
    for name, q in model.qtensors.items():
        ours = affine.as_mlx(source.get_submodule(name).weight, q.scheme)
        assert all(torch.equal(getattr(q, part), getattr(ours, part)) for part in ("codes", "scale", "zero_point")), (
            name
        )
        assert origin_of(source.get_submodule(name).weight.float(), q).name == makers.MLX
    embedding = affine.as_mlx(source.model.embed_tokens.weight, affine.scheme(4, 32, BRAIN))
    assert torch.equal(model.model.embed_tokens.weight, embedding.dequantize())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not hasattr(model.config, "quantization") and not hasattr(model.config, "quantization_config")


def test_its_logits_are_mlx_lms():
    model, _ = artifacts.load(GOLDEN / "converted")
    stored = load_file(GOLDEN / "logits.safetensors")
    with torch.inference_mode():
        narrow, wide = model(stored["ids"]).logits, model.double()(stored["ids"]).logits
    assert (stored["logits"] - wide).abs().max() <= 4 * (narrow - wide).abs().max()


def test_an_older_directory_and_one_written_again_are_read(tmp_path):
    broken = Broken.__new__(Broken)
    broken.folder, broken.weights = tmp_path, tmp_path / "model.safetensors"
    broken.tensors = load_file(GOLDEN / "converted" / "model.safetensors")
    broken.settings = json.loads((GOLDEN / "converted" / "config.json").read_text())
    del broken.settings["quantization_config"], broken.settings["quantization"]["mode"]
    broken.save()
    model, _ = artifacts.load(tmp_path)
    again = artifacts.load(artifacts.save(model, tmp_path / "again", "mlx"))[0]
    for name, q in model.qtensors.items():
        assert all(
            torch.equal(getattr(q, p), getattr(again.qtensors[name], p)) for p in ("codes", "scale", "zero_point")
        )
    assert torch.equal(again.model.embed_tokens.weight, model.model.embed_tokens.weight.bfloat16())
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"]
    assert config["quantization"]["model.layers.1.self_attn.o_proj"] == {"group_size": 32, "bits": 8, "mode": "affine"}
    assert config["quantization"]["bits"] == 4 and "quant_method" not in config["quantization"]


@pytest.mark.parametrize("bits", affine.BITS)
@pytest.mark.parametrize("symmetric", ["full", True, False])
def test_what_was_saved_is_read_back(tmp_path, bits, symmetric):
    quantized = quantize_model(tiny.llama(**SMALL), integers(bits, symmetric), progress=False)
    model, _ = artifacts.load(artifacts.save(quantized, tmp_path / "out", "mlx"))
    assert list(model.qtensors) == list(quantized.qtensors)
    for name, q in quantized.qtensors.items():
        stored, wanted = model.qtensors[name], affine.of_integers(q)
        assert stored.scheme == wanted.scheme == affine.scheme(bits, 32)
        assert all(torch.equal(getattr(stored, p), getattr(wanted, p)) for p in ("codes", "scale", "zero_point"))
        assert torch.equal(affine.to_integers(stored).dequantize(), q.dequantize())
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.get_tensor("model.layers.0.mlp.up_proj.weight").dtype == torch.uint32
    for name, q in model.qtensors.items():  # origin looks at the whole zero points
        assert origin_of(tiny.llama(**SMALL).get_submodule(name).weight.detach(), q).name == makers.NEAREST


def test_biases_of_linears_travel(tmp_path):
    from test_artifacts import qwen2

    quantized = quantize_model(qwen2().half().float(), integers(), progress=False)
    model, _ = artifacts.load(artifacts.save(quantized, tmp_path / "out", "mlx"))
    layer = "model.layers.0.self_attn.q_proj.bias"
    assert torch.equal(model.state_dict()[layer], quantized.state_dict()[layer])


# ---- small floats


@pytest.mark.parametrize("mode", FLOATS)
def test_small_floats_decode_to_mlxs_numbers_and_go_back_to_its_bytes(mode):
    stored = load_file(GOLDEN / "floats.safetensors")
    weight, scales, values = (stored[f"{mode}.{part}"] for part in ("weight", "scales", "dequantized"))
    parts = {"weight": weight.view(torch.uint32), "scales": scales}
    facts = MLX.facts({"bits": FLOATS[mode].bits, "group_size": FLOATS[mode].block[1], "mode": mode})
    assert MLX.suffixes(facts) == ("weight", "scales")
    q = MLX.unpack("layer", parts, values.shape, facts)
    assert q.scheme == FLOATS[mode] and torch.equal(q.dequantize(), values)
    assert MLX.check({"layer": q}) == q.scheme
    again = MLX.pack("layer", q)
    assert all(torch.equal(again[part].view(torch.uint8), parts[part].view(torch.uint8)) for part in parts)
    for part, byte in (("scales", 255), *((("weight", 127),) if mode == "mxfp8" else ())):
        bad = {name: t.clone() for name, t in parts.items()}
        bad[part].view(torch.uint8)[0, 0] = byte
        with pytest.raises(ValueError, match=f"layer.{part}: every .* must be finite"):
            MLX.unpack("layer", bad, values.shape, facts)


@pytest.mark.parametrize("mode", FLOATS)
def test_a_model_of_small_floats_travels(tmp_path, mode):
    quantized = quantize_model(tiny.llama(**SMALL), FLOATS[mode], progress=False)
    artifacts.save(quantized, tmp_path / "out", "mlx")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    scheme = FLOATS[mode]
    assert config["quantization"] == {"group_size": scheme.block[1], "bits": scheme.bits, "mode": mode}
    assert config["dtype"] == "bfloat16"
    model, _ = artifacts.load(tmp_path / "out")
    for name, q in quantized.qtensors.items():
        stored = model.qtensors[name]
        assert stored.scheme == q.scheme and torch.equal(stored.codes, q.codes), name
        assert torch.equal(stored.scale.view(torch.uint8), q.scale.view(torch.uint8)), name
    for change, sentence in (
        ({"bits": 6}, "bits must be"),
        ({"group_size": 64}, "group_size must be"),
        ({"mode": "affine", "group_size": 32, "bits": 4}, "missing: biases"),
    ):
        config["quantization"] = config["quantization_config"] = config["quantization_config"] | change
        (tmp_path / "out" / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=sentence):
            artifacts.load(tmp_path / "out")
        config["quantization_config"] = {"group_size": scheme.block[1], "bits": scheme.bits, "mode": mode}


def test_layers_of_several_modes_live_in_one_directory(tmp_path):
    mixed = quantize_model(tiny.llama(**SMALL), FLOATS["mxfp4"], skip=["lm_head", "down_proj"], progress=False)
    mixed = quantize_model(mixed, integers(8, dtype=BRAIN), progress=False)
    model, _ = artifacts.load(artifacts.save(mixed, tmp_path / "out", "mlx"))
    assert {q.scheme.name for q in model.qtensors.values()} == {FLOATS["mxfp4"].name, affine.scheme(8, 32, BRAIN).name}
    for rule in (None, "four-over-six"):
        with pytest.raises(ValueError, match="no scale for a whole matrix: quantize with tensor_scale=False"):
            MLX.check_scheme(microscaling.scheme("nvfp4", rule))
    MLX.check_scheme(microscaling.scheme("mxfp4", "even"))


# ---- what cannot be written


@pytest.mark.parametrize(
    "s, sentence",
    [
        (integers(7), "2, 3, 4, 5, 6 or 8 bits"),
        (integers(group=16), "groups of 32, 64 or 128 columns, got 'int4 g16 asym fp16'"),
        (integers(group=None), "groups of 32, 64 or 128"),
        (integers(dtype=FULL), "torch.float16 or torch.bfloat16"),
        (affine.scheme(4, 32, FULL), "one scale a group in float16 or bfloat16"),
        (Scheme("nf4", (1, 32), scale_dtype=HALF), "holds integers of 2, 3, 4, 5, 6 or 8 bits"),
        (Scheme.int(4, "full", "tensor", scale_dtype=HALF), "one scale a row or a group"),
    ],
)
def test_a_scheme_that_mlx_does_not_have_gets_one_sentence(tmp_path, s, sentence):
    quantized = quantize_model(tiny.llama(**SMALL), s, progress=False)
    with pytest.raises(ValueError, match=sentence):
        artifacts.save(quantized, tmp_path / "out", "mlx")
    assert not (tmp_path / "out").exists()


def test_other_tensors_that_cannot_be_written():
    q = quantize(torch.randn(8, 64, generator=torch.Generator().manual_seed(0)), integers())
    shuffled = dataclasses.replace(q, g_idx=torch.arange(64, dtype=torch.int32) % 2)
    with pytest.raises(ValueError, match="layer: layout 'mlx' has no g_idx"):
        MLX.check({"layer": shuffled})
    far = dataclasses.replace(q, scale=torch.full_like(q.scale, 6e4))
    with pytest.raises(ValueError, match=r"layer: a scale or bias of .* does not fit torch.float16"):
        MLX.check({"layer": far})
    bad = affine.of_integers(q)
    bad.zero_point[0, 0] = torch.nan
    with pytest.raises(ValueError, match="layer: every bias must be finite"):
        MLX.check({"layer": bad})
    other = quantize(torch.randn(8, 64), integers(dtype=BRAIN))
    with pytest.raises(ValueError, match="all linears in one dtype, got torch.float16 in a and torch.bfloat16 in b"):
        MLX.check({"a": q, "b": other})
    assert MLX.check({"a": q, "b": quantize(torch.randn(8, 128), integers(8, "full", 128))}) == q.scheme


# ---- what cannot be read


@pytest.fixture
def broken(tmp_path):
    made = Broken.__new__(Broken)
    made.folder, made.weights, made.layer = tmp_path, tmp_path / "model.safetensors", "model.layers.1.mlp.gate_proj"
    made.tensors = load_file(GOLDEN / "converted" / "model.safetensors")
    made.settings = json.loads((GOLDEN / "converted" / "config.json").read_text())
    made.settings["quantization"] = made.settings["quantization_config"]  # one object: a change is made in both
    return made


@pytest.mark.parametrize("part", ["weight", "scales", "biases"])
@pytest.mark.parametrize("layer", ["model.layers.1.mlp.gate_proj", "model.embed_tokens"])
def test_every_tensor_is_looked_at(broken, layer, part):
    name, tensor = f"{layer}.{part}", broken.tensors[f"{layer}.{part}"]
    del broken.tensors[name]
    broken.refused("missing|belong to no part")
    for wrong in (
        tensor[:-1],
        tensor[:, :-1],
        tensor.view(torch.int16)[:, ::2] if part == "weight" else tensor.double(),
    ):
        broken.tensors[name] = wrong.contiguous().clone()
        broken.refused(f"{name}: expected|{layer}.biases: expected")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("part, word", [("scales", "scale"), ("biases", "bias")])
def test_numbers_that_are_none_are_refused(broken, part, word, value):
    broken.tensors[f"{broken.layer}.{part}"][3, 1] = value
    broken.refused(f"gate_proj.{part}: every {word} must be finite")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"bits": 7}, "bits must be 2, 3, 4, 5, 6 or 8, got 7"),
        ({"bits": 8}, "weight: expected torch.uint32 of shape"),
        ({"bits": "4"}, "bits must be"),
        ({"bits": True}, "bits must be"),
        ({"group_size": 48}, "group_size must be 32, 64 or 128, got 48"),
        ({"group_size": 64}, "does not divide its 96 columns|scales: expected"),
        ({"group_size": 10**30}, "group_size must be"),
        ({"mode": "mxfp6"}, "mode must be"),
        ({"mode": "mxfp8"}, "bits must be 8, got 4"),
        ({"mode": "mxfp4"}, "biases"),
        ({"mode": 3}, "mode must be"),
        ({"model.layers.1.mlp.gate_proj": {"bits": 7}}, "bits must be"),
        ({"model.layers.1.mlp.gate_proj": {"bits": 3}}, "gate_proj.weight: expected torch.uint32"),
        ({"model.layers.1.mlp.gate_proj": False}, "gate_proj: has codes, and config.json says that it is not"),
        ({"model.layers.0.self_attn.q_proj": {"bits": 4}}, "says how model.layers.0.self_attn.q_proj is quantized"),
        ({"nonsense": {"bits": 4}}, "says how nonsense is quantized"),
        ({"quant_method": "mlx"}, "quant_method must be"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_refused(broken, change, sentence):
    broken.settings["quantization"] |= change
    broken.refused(sentence)


def test_two_claims_that_differ_are_refused(broken):
    broken.settings["quantization"] = broken.settings["quantization"] | {"bits": 8}
    broken.refused("quantization and quantization_config must say the same")


@pytest.mark.parametrize("value", [{}, [], "affine", {"bits": 4}])
def test_a_claim_that_is_none_is_refused(broken, value):
    broken.settings["quantization"] = broken.settings["quantization_config"] = value
    broken.refused("quant_method must be")


def test_a_file_cut_off_anywhere_is_refused(broken):
    broken.save()
    whole = broken.weights.read_bytes()
    for size in (0, 8, 100, len(whole) // 2, len(whole) - 1):
        broken.weights.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            artifacts.load(broken.folder)


def test_goldens_are_small_and_name_their_makers():
    assert sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file()) < 250_000
    for file, maker in (("affine", {"mlx": "0.32.4"}), ("logits", {"mlx-lm": "0.32.2"})):
        with safe_open(GOLDEN / f"{file}.safetensors", "pt") as opened:
            assert opened.metadata() == maker


def test_the_bundled_bot_answers_the_same_from_a_file(tmp_path):
    model, tokenizer = models.load("bundled")
    quantized = quantize_model(model, integers(4, "full", 64), progress=False)
    again, tok = artifacts.load(artifacts.save(quantized, tmp_path / "out", "mlx", tokenizer))
    ids = torch.tensor([tok("I would like to return the blue kettle")["input_ids"]])
    with torch.inference_mode():
        torch.testing.assert_close(again(ids).logits, quantized(ids).logits, rtol=0, atol=1e-4)


def test_the_recorded_run_found_mlx_lm_and_us_at_one():
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "mlx_peer.json"
    found = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert all(row["equal"] == row["of"] for row in found["grids"].values()) and len(found["grids"]) == 18
    rows = found["forth"] | found["floats"]["forth"] | found["back"] | found["floats"]["back"]
    assert all(row["within"] for name, row in rows.items() if not name.startswith(("awq", "gptq", "compressed")))
    assert all(row.get("as_mlx", 1) == 1 for row in rows.values()) and len(rows) == 20
