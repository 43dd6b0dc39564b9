"""Checkpoints: bytes equal to those of the packages that own the layouts, read back exactly, refused where broken."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from course_lib import QTensor, Scheme, artifacts, models, quantize
from course_lib.artifacts import LAYOUTS
from course_lib.artifacts.layout import Facts
from course_lib.calibrate import QuantLinear, quantize_model
from tests import tiny

GOLDEN = Path(__file__).parent / "golden" / "artifacts"
CASES = [(f"{bits}.{kind}", layout) for bits in (2, 3, 4, 8) for kind in ("sym", "asym", "reordered")
         for layout in ("gptq", "gptq_v2")]  # fmt: skip
CASES += [("4.asym", "awq")]
CASES += [(f"{bits}.{kind}", "compressed-tensors") for bits in (4, 8) for kind in ("sym", "asym")]
HALF = torch.float16
HELD = [("gptq", b, s, g) for b in (2, 3, 4, 8) for s in ("full", False) for g in (None, 16)]
HELD = [(layout, *rest) for _, *rest in HELD for layout in ("gptq", "gptq_v2")]
HELD += [("awq", 4, False, g) for g in (None, 16)]
HELD += [("compressed-tensors", b, s, g) for b in (4, 8) for s in ("full", False) for g in (None, 16)]


def scheme(bits=4, symmetric="full", group=16, scale_dtype=HALF, **more):
    return Scheme.int(bits, symmetric, group, scale_dtype=scale_dtype, **more)


def llama(**more):
    return tiny.llama(**({"head_dim": 16} | more))


def qwen2(tied=True):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tiny.tokenizer()),
            max_position_embeddings=64,
            tie_word_embeddings=tied,
            bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
    ).eval()
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=0.1)
    return model


def written(folder):
    """Names of what a test wrote."""
    return sorted(path.name for path in folder.iterdir() if path.name != "course-home")


def exact(a: QTensor, b: QTensor):
    assert a.scheme == b.scheme and a.shape == b.shape
    for name in ("codes", "scale", "zero_point"):
        one, other = getattr(a, name), getattr(b, name)
        assert one.dtype == other.dtype and torch.equal(one, other), name
    assert (a.g_idx is None) == (b.g_idx is None) and (a.g_idx is None or torch.equal(a.g_idx, b.g_idx))


def golden(case, layout):
    """The QTensor that went into a peer's packer, and what came out."""
    stored = load_file(GOLDEN / f"{'gptq' if layout.startswith('gptq') else layout}.safetensors")
    source = f"{case}.{'gptq_v2' if layout == 'gptq' else layout}"
    bits, kind = case.split(".")
    g_idx = stored[f"{source}.g_idx"] if kind == "reordered" else None
    codes, scale, zero = (stored[f"{source}.{part}"] for part in ("codes", "scale", "zero_point"))
    q = QTensor(codes, scale, zero, scheme(int(bits), "full" if kind == "sym" else False, 32), codes.shape, g_idx)
    facts = Facts(int(bits), 32, q.scheme.symmetric)
    suffixes = LAYOUTS[layout].suffixes(facts)
    return q, facts, {suffix: stored[f"{case}.{layout}.{suffix}"] for suffix in suffixes}


@pytest.mark.parametrize("case, layout", CASES)
def test_bytes_are_those_of_the_package_that_owns_the_layout(case, layout):
    q, facts, theirs = golden(case, layout)
    LAYOUTS[layout].check({"layer": q})
    ours = LAYOUTS[layout].pack("layer", q)
    assert set(ours) == set(theirs)
    for suffix, tensor in theirs.items():
        assert ours[suffix].dtype == tensor.dtype and torch.equal(ours[suffix], tensor), suffix
    exact(q, LAYOUTS[layout].unpack("layer", theirs, q.shape, facts))


@pytest.mark.parametrize("layout, sevens", [("gptq", 0x77777777), ("gptq_v2", 0x88888888 - 2**32)])
def test_a_symmetric_zero_point_is_7777_in_v1_and_8888_in_v2(layout, sevens):
    q, _, _ = golden("4.sym", "gptq_v2")
    assert LAYOUTS[layout].pack("layer", q)["qzeros"].unique().tolist() == [sevens]


def test_goldens_are_small():
    assert sum(file.stat().st_size for file in GOLDEN.iterdir()) < 100_000


# ---- a whole model, there and back


@pytest.mark.parametrize("layout, bits, symmetric, group", HELD)
def test_a_directory_is_read_back_exactly(tmp_path, layout, bits, symmetric, group):
    quantized = quantize_model(llama(), scheme(bits, symmetric, group))
    if layout == "gptq" and symmetric is False:
        for q in quantized.qtensors.values():
            q.zero_point.clamp_(min=1)
    artifacts.save(quantized, tmp_path / "out", layout, tiny.tokenizer())
    model, tokenizer = artifacts.load(tmp_path / "out")
    assert list(model.qtensors) == list(quantized.qtensors)
    for name, q in quantized.qtensors.items():
        exact(q, model.qtensors[name])
        assert torch.equal(model.get_submodule(name).weight, q.dequantize())
    assert tokenizer("mug")["input_ids"] == tiny.tokenizer()("mug")["input_ids"]
    assert model.quantized_fraction == quantized.quantized_fraction


@pytest.mark.parametrize("layout, symmetric", [("gptq", "full"), ("awq", False), ("compressed-tensors", "full")])
@pytest.mark.parametrize("tied", [True, False])
def test_biases_norms_and_untied_heads_travel(tmp_path, layout, symmetric, tied):
    quantized = quantize_model(qwen2(tied).half().float(), scheme(symmetric=symmetric))
    model, tokenizer = artifacts.load(artifacts.save(quantized, tmp_path / "out", layout))
    assert tokenizer is None
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    ids = torch.randint(0, 200, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, quantized(ids).logits, rtol=0, atol=1e-4)
    assert model.generate(ids[:1], max_new_tokens=3, do_sample=False).shape == (1, 15)


def test_act_order_travels_through_gptq(tmp_path):
    def reordered(w, s):
        order = torch.randperm(w.shape[1], generator=torch.Generator().manual_seed(3))
        g_idx = torch.empty(w.shape[1], dtype=torch.int32)
        g_idx[order] = (torch.arange(w.shape[1]) // 16).int()
        q = quantize(w[:, order], s)
        codes = torch.empty_like(q.codes)
        codes[:, order] = q.codes
        return dataclasses.replace(q, codes=codes, g_idx=g_idx)

    quantized = quantize_model(llama(), scheme(), reordered)
    artifacts.save(quantized, tmp_path / "out", "gptq")
    assert json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]["desc_act"] is True
    model, _ = artifacts.load(tmp_path / "out")
    for name, q in quantized.qtensors.items():
        exact(q, model.qtensors[name])
    for layout in ("awq", "compressed-tensors"):
        other = quantize_model(llama(), scheme(symmetric=False), reordered)
        with pytest.raises(ValueError, match="no g_idx.*act-order"):
            artifacts.save(other, tmp_path / "other", layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_linears_that_were_skipped_stay_at_16_bits(tmp_path, layout):
    quantized = quantize_model(
        llama(), scheme(symmetric=False, group=32), skip=["lm_head", r"model\.layers\.0\..*_proj"]
    )
    if layout == "gptq":
        quantized = quantize_model(llama(), scheme(group=32), skip=["lm_head", r"model\.layers\.0\..*_proj"])
    artifacts.save(quantized, tmp_path / "out", layout)
    model, _ = artifacts.load(tmp_path / "out")
    assert list(model.qtensors) == list(quantized.qtensors) and len(model.qtensors) == 7
    assert not isinstance(model.model.layers[0].mlp.up_proj, QuantLinear)
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    if layout != "mlx":  # whose readers see that there are no scales
        assert "model.layers.0.mlp.up_proj" in json.dumps(config).replace("\\\\", "")


def test_sixteen_bit_checkpoints_go_through_models_load(tmp_path):
    llama().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model, tokenizer = artifacts.load(tmp_path)
    assert tokenizer is not None and not hasattr(model, "qtensors")
    assert torch.equal(model.model.norm.weight, llama().model.norm.weight)
    assert artifacts.load("bundled")[0].config.model_type == "llama"
    with pytest.raises(FileNotFoundError, match="config.json"):
        artifacts.load(tmp_path / "nothing")


def test_the_bundled_model_answers_the_same_from_a_file(tmp_path):
    model, tokenizer = models.load("bundled")
    quantized = quantize_model(model, scheme(group=64))
    again, tok = artifacts.load(artifacts.save(quantized, tmp_path / "out", "gptq", tokenizer))
    ids = torch.tensor([tok("I would like to return the blue kettle")["input_ids"]])
    with torch.inference_mode():
        torch.testing.assert_close(again(ids).logits, quantized(ids).logits, rtol=0, atol=1e-4)
    assert again.generation_config.eos_token_id == model.generation_config.eos_token_id


def test_the_model_is_left_alone_and_bytes_are_the_same_twice(tmp_path):
    quantized = quantize_model(llama(), scheme())
    before = {name: t.clone() for name, t in quantized.state_dict().items()}
    for out in ("a", "b"):
        artifacts.save(quantized, tmp_path / out)
    assert all(torch.equal(t, before[name]) for name, t in quantized.state_dict().items())
    assert not hasattr(quantized.config, "quantization_config")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


# ---- what cannot be written


@pytest.mark.parametrize(
    "layout, s, sentence",
    [
        ("gptq", scheme(scale_dtype=torch.float32), "scale_dtype=torch.float16"),
        ("gptq", scheme(scale_dtype=torch.bfloat16), "scale_dtype=torch.float16, got"),
        ("compressed-tensors", scheme(scale_dtype=torch.float32), "torch.float16 or torch.bfloat16"),
        ("gptq", scheme(symmetric=True), "symmetric='full' or symmetric=False, got symmetric=True"),
        ("awq", scheme(symmetric="full"), "expected symmetric=False"),
        ("gptq", scheme(5), "2, 3, 4 or 8 bits"),
        ("awq", scheme(8, False), "4 bits"),
        ("compressed-tensors", scheme(2), "4 or 8 bits"),
        ("gptq", scheme(group="tensor"), "one scale a row"),
        ("gptq", Scheme("int4", (16, 16), "full", HALF), "one scale a row"),
        ("ggml", scheme(), "layout must be one of 'gptq', 'gptq_v2', 'awq', 'compressed-tensors'"),
    ],
)
def test_a_scheme_that_a_layout_cannot_hold_gets_one_sentence(tmp_path, layout, s, sentence):
    quantized = quantize_model(llama(), s)
    with pytest.raises(ValueError, match=sentence):
        artifacts.save(quantized, tmp_path / "out", layout)
    assert not written(tmp_path)


def test_other_models_that_cannot_be_written(tmp_path):
    model = llama()
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="QuantLinear"):
        artifacts.save(model, out)
    with pytest.raises(TypeError, match="quantize_model"):
        artifacts.save(torch.nn.Linear(2, 2), out)
    with pytest.raises(ValueError, match="quantizes its inputs"):
        artifacts.save(quantize_model(model, scheme(), activations=Scheme.int(8)), out)
    mixed = quantize_model(quantize_model(model, scheme(4), skip=["lm_head", "up_proj"]), scheme(8))
    with pytest.raises(ValueError, match="one scheme for all linears, got 'int4 .*' in .* and 'int8 .*up_proj"):
        artifacts.save(mixed, out)
    with pytest.raises(ValueError, match="k_proj: layout 'gptq' packs 3-bit codes in runs of 32"):
        artifacts.save(quantize_model(llama(head_dim=8), scheme(3)), out, "gptq")
    positive = quantize_model(model, scheme(symmetric=False), lambda w, s: quantize(w.abs(), s))
    with pytest.raises(ValueError, match="zero point of 0.*'gptq_v2'"):
        artifacts.save(positive, out, "gptq")
    huge = quantize_model(model, scheme())
    huge.model.norm.weight.data[3] = 1e6
    with pytest.raises(ValueError, match="model.norm.weight: its largest value, 1e.06"):
        artifacts.save(huge, out)
    assert not written(tmp_path)


def test_out_is_never_overwritten_and_never_half(tmp_path, monkeypatch):
    quantized = quantize_model(llama(), scheme())
    artifacts.save(quantized, tmp_path / "out")
    with pytest.raises(FileExistsError, match="new or empty"):
        artifacts.save(quantized, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="parent"):
        artifacts.save(quantized, tmp_path / "no" / "out")
    (tmp_path / "empty").mkdir()
    artifacts.save(quantized, tmp_path / "empty")
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("course_lib.artifacts.write.write_atomic", broken)
    with pytest.raises(KeyboardInterrupt):
        artifacts.save(quantized, tmp_path / "third")
    assert written(tmp_path) == ["empty", "out"]


def test_the_file_says_what_other_readers_ask_for(tmp_path):
    artifacts.save(quantize_model(llama(), scheme()), tmp_path / "out", "gptq", tiny.tokenizer())
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and config["dtype"] == "float16"
    asked = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False, "sym": True}
    assert asked.items() <= config["quantization_config"].items()
    assert config["quantization_config"]["checkpoint_format"] == "gptq"
    with safe_open(tmp_path / "out/model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert not any(name.startswith("lm_head") for name in file.keys())
    assert (tmp_path / "out/tokenizer.json").is_file()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says which files are mapped")
@pytest.mark.parametrize("layout", ["gptq", "mlx"])
def test_a_loaded_model_lets_go_of_its_files(tmp_path, layout):  # Windows neither removes nor replaces a mapped file
    folder = artifacts.save(quantize_model(tiny.llama(), scheme(group=32), progress=False), tmp_path / "out", layout)
    loaded, _ = artifacts.load(folder, HALF)
    assert str(folder) not in Path("/proc/self/maps").read_text()
    assert loaded.qtensors
