"""A reader of checkpoints may only ever say ValueError, and names what is wrong: missing, extra, misshapen, cut off."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from course_lib import Scheme, artifacts
from course_lib.artifacts import LAYOUTS
from course_lib.calibrate import quantize_model
from tests import tiny

HALF = torch.float16


def scheme(symmetric="full"):
    return Scheme.int(4, symmetric, 16, scale_dtype=HALF)


def llama():
    return tiny.llama(head_dim=16)


@pytest.fixture(scope="module", params=["gptq", "gptq_v2", "awq", "compressed-tensors"])
def saved(request, tmp_path_factory):
    """A directory in each layout; asymmetric, so that every tensor says something."""
    quantized = quantize_model(llama(), scheme(False))
    for q in quantized.qtensors.values():
        q.zero_point.clamp_(min=1)
    return artifacts.save(quantized, tmp_path_factory.mktemp("saved") / request.param, request.param)


@pytest.fixture
def broken(saved, tmp_path):
    """A copy of a directory with a way to change its config and its tensors."""
    return Broken(saved, tmp_path / "broken")


class Broken:
    def __init__(self, source, folder):
        folder.mkdir()
        self.folder, self.layout = folder, LAYOUTS[source.name]
        self.weights = folder / "model.safetensors"
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        self.tensors, self.settings = load_file(self.weights), json.loads((folder / "config.json").read_text())
        self.layer = "model.layers.1.mlp.up_proj"

    def save(self):
        save_file(self.tensors, self.weights, metadata={"format": "pt"})
        (self.folder / "config.json").write_text(json.dumps(self.settings))

    def refused(self, sentence):
        self.save()
        with pytest.raises(ValueError, match=sentence):
            artifacts.load(self.folder)


def test_every_missing_tensor_is_named(broken):
    for name in list(broken.tensors):
        if "layers.1.mlp.up" in name or "layers" not in name or "layers.1.input" in name:
            tensor = broken.tensors.pop(name)
            broken.refused(r"missing|belong to no part|no linear")
            broken.tensors[name] = tensor
    broken.save()
    artifacts.load(broken.folder)


def test_an_extra_tensor_is_named(broken):
    broken.tensors["model.layers.0.mlp.up_proj.bias"] = torch.zeros(64, dtype=HALF)
    broken.refused("1 tensors belong to no part of the model, the first is model.layers.0.mlp.up_proj.bias")
    del broken.tensors["model.layers.0.mlp.up_proj.bias"]
    broken.tensors[f"model.layers.7.mlp.up_proj.{broken.layout.marker}"] = torch.zeros(4, 64, dtype=torch.int32)
    broken.refused("no linear of this name")


def test_every_wrong_shape_and_dtype_is_named(broken):
    for name, tensor in list(broken.tensors.items()):
        if "layers.1.mlp.up_proj" not in name and name != "model.norm.weight":
            continue
        wrong = [torch.cat([tensor, tensor]), tensor[None], tensor.to(torch.float64)]
        for other in wrong:
            broken.tensors[name] = other.contiguous().clone()
            broken.refused(name.replace(".", r"\.") + ".*expected")
        broken.tensors[name] = tensor


def test_config_numbers_are_held_against_the_tensors(broken):
    inner = broken.settings["quantization_config"]
    if broken.layout.name == "compressed-tensors":
        inner = inner["config_groups"]["group_0"]["weights"]
    bits = "num_bits" if "num_bits" in inner else "bits"
    for key, value in [(bits, 8), (bits, 4.0), (bits, True), (bits, 10**30), ("group_size", 32), ("group_size", 0),
                       ("group_size", 10**40), ("group_size", "16"), ("group_size", None)]:  # fmt: skip
        kept = inner[key]
        inner[key] = value
        broken.refused("expected|must be|does not divide")
        inner[key] = kept
    for key, value in [("hidden_size", 64), ("vocab_size", 10**12), ("intermediate_size", 10**15), ("head_dim", 10**18),
                       ("num_hidden_layers", 10**9), ("num_hidden_layers", 1), ("num_hidden_layers", 3),
                       ("num_attention_heads", 0), ("model_type", "made up"), ("model_type", None),
                       ("hidden_size", -4), ("hidden_act", "exec")]:  # fmt: skip
        kept = broken.settings[key]
        broken.settings[key] = value
        broken.refused("expected|missing|no linear|config.json")
        broken.settings[key] = kept


@pytest.mark.parametrize("value", [{"quant_method": "marlin"}, {}, [], "gptq", 3, {"quant_method": ["gptq"]}])
def test_an_unknown_method_is_named(saved, tmp_path, value):
    broken = Broken(saved, tmp_path / "broken")
    broken.settings["quantization_config"] = value
    broken.refused("quant_method must be")


def test_other_rules_than_this_reader_knows_are_refused(broken):
    inner = broken.settings["quantization_config"]
    other = {
        "gptq": [{"dynamic": {"+:.*": {"bits": 8}}}, {"pack_dtype": "int16"}, {"checkpoint_format": "marlin"}],
        "awq": [{"version": "gemv"}, {"zero_point": False}],
        "compressed-tensors": [{"format": "int-quantized"}, {"config_groups": {}}, {"config_groups": {"a": 1}}],
    }[inner["quant_method"]]
    for change in other:
        broken.settings["quantization_config"] = inner | change
        broken.refused("quantization_config: .* (must|may)")


def test_bad_numbers_inside_the_tensors(broken):
    scales = f"{broken.layer}.{'weight_scale' if broken.layout.marker == 'weight_packed' else 'scales'}"
    broken.tensors[scales][0, 0] = torch.nan
    broken.refused("scales?: every scale must be finite")
    broken.tensors[scales][0, 0] = 1
    if broken.layout.method == "gptq":
        for group in (-1, 2, 2**31 - 1):
            broken.tensors[f"{broken.layer}.g_idx"][5] = group
            broken.refused("g_idx: every group must lie in 0…1")
    if broken.layout.name == "compressed-tensors":
        for size in (0, -1, 2**62):
            broken.tensors[f"{broken.layer}.weight_shape"][0] = size
            broken.refused(r"weight_shape: expected \[64, 32\]")


@pytest.mark.parametrize("layout, other", [("gptq", "gptq_v2"), ("gptq_v2", "gptq")])
def test_v1_and_v2_taken_for_each_other_are_told_apart(tmp_path, layout, other):
    artifacts.save(quantize_model(llama(), scheme()), tmp_path / layout, layout)
    broken = Broken(tmp_path / layout, tmp_path / "broken")
    broken.settings["quantization_config"]["checkpoint_format"] = other
    broken.refused(f"means a zero point of 8 everywhere, got [79]: is the file '{layout}'")


def test_v1_with_a_code_that_no_zero_point_has(tmp_path):
    artifacts.save(quantize_model(llama(), scheme(False)), tmp_path / "gptq_v2", "gptq_v2")
    broken = Broken(tmp_path / "gptq_v2", tmp_path / "broken")
    broken.settings["quantization_config"]["checkpoint_format"] = "gptq"
    broken.tensors[f"{broken.layer}.qzeros"][0, 0] = -1
    broken.refused("would mean 16, which 4 bits cannot say: is the file 'gptq_v2'")


# ---- fuzz: a reader may only ever say ValueError


def test_a_file_cut_off_anywhere_is_refused(broken):
    whole = broken.weights.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        broken.weights.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            artifacts.load(broken.folder)
    broken.weights.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        artifacts.load(broken.folder)
    broken.weights.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        artifacts.load(broken.folder)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 10**8 + 1])
def test_a_huge_header_length_is_refused(broken, length):
    broken.weights.write_bytes(length.to_bytes(8, "little") + broken.weights.read_bytes()[8:])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        artifacts.load(broken.folder)


@pytest.mark.parametrize("shape", [[2**62, 4], [2**32, 2**32], [-1, 2], [10**9, 1], ["a"], None])
def test_a_huge_shape_in_the_header_is_refused(broken, shape):
    raw = broken.weights.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header[f"{broken.layer}.{broken.layout.marker}"]["shape"] = shape
    new = json.dumps(header).encode()
    broken.weights.write_bytes(len(new).to_bytes(8, "little") + new + raw[8 + size :])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        artifacts.load(broken.folder)


def test_any_flipped_byte_of_the_header_is_read_or_refused(broken):
    raw = bytearray(broken.weights.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    generator = torch.Generator().manual_seed(0)
    for _ in range(15):
        at = int(torch.randint(0, 8 + size, (1,), generator=generator))
        changed = bytearray(raw)
        changed[at] ^= 1 << int(torch.randint(0, 8, (1,), generator=generator))
        broken.weights.write_bytes(changed)
        try:
            artifacts.load(broken.folder)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "[" * 100_000, '{"quantization_config": {"quant_method": "awq"}}']
)
def test_a_config_that_is_none_is_refused(broken, text):
    (broken.folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match="JSON object|quantization_config"):
        artifacts.load(broken.folder)


def test_a_config_of_another_model_is_refused(broken):
    broken.settings["model_type"] = "gpt2"
    broken.refused("config.json|no linear|missing|belong")


def test_tensors_in_two_files_are_joined_and_doubles_refused(broken):
    names = sorted(broken.tensors)
    parts = {name: broken.tensors[name] for name in names[: len(names) // 2]}
    others = {name: broken.tensors[name] for name in names[len(names) // 2 :]}
    save_file(parts, broken.folder / "model-00001-of-00002.safetensors")
    save_file(others, broken.folder / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match="is in another file too"):
        artifacts.load(broken.folder)
    broken.weights.unlink()
    assert len(artifacts.load(broken.folder)[0].qtensors) == 14
