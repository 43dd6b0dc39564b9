"""Mixtral and Qwen3-MoE as checkpoints of codes: the field's names, every expert by itself, read back exactly."""

import json
import re
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from test_calibrate_pipeline import tokens

from course_lib import Scheme, artifacts, models
from course_lib.artifacts import experts
from course_lib.artifacts.stream import stream
from course_lib.calibrate import calibration_batches, order, quantize_model
from course_lib.calibrate.blocks import Flow, blocks_of
from course_lib.calibrate.experts import Experts, unfused
from course_lib.calibrate.order import plan_of
from course_lib.calibrate.sequential import gptq_block
from course_lib.calibrate.stats import evaluating
from course_lib.calibrate.targets import linears_of
from course_lib.capacity.plan import plan
from course_lib.cli import main

SYMMETRIC = Scheme.int(4, "full", 32, scale_dtype=torch.float16)
SCHEMES = {"compressed-tensors": SYMMETRIC, "gptq": SYMMETRIC,
           "awq": Scheme.int(4, False, 32, scale_dtype=torch.float16)}  # fmt: skip
ENDS = {"compressed-tensors": ["weight_packed", "weight_scale", "weight_shape"],
        "gptq": ["g_idx", "qweight", "qzeros", "scales"], "awq": ["qweight", "qzeros", "scales"]}  # fmt: skip
SIZES = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, bos_token_id=0,
             eos_token_id=0, max_position_embeddings=128)  # fmt: skip
EXPERT = {"qwen3_moe": "mlp.experts.{}.{}_proj", "mixtral": "block_sparse_moe.experts.{}.{}"}
NAMES = {"qwen3_moe": ("gate", "up", "down"), "mixtral": ("w1", "w3", "w2")}
GATE = {"qwen3_moe": "mlp.gate", "mixtral": "block_sparse_moe.gate"}


def made(family, **more):
    from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    sizes = SIZES | {"vocab_size": len(tiny.tokenizer())} | more
    if family == "mixtral":
        return MixtralForCausalLM(MixtralConfig(**{"num_local_experts": 4, "intermediate_size": 32} | sizes)).eval()
    own = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, intermediate_size=96, head_dim=32)
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**own | sizes)).eval()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Family -> a checkpoint of 16 bits, with its tokenizer."""
    found = {}
    for family in EXPERT:
        found[family] = tmp_path_factory.mktemp(family)
        made(family).half().save_pretrained(found[family])
        tiny.tokenizer().save_pretrained(found[family])
    return found


def quantization(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]


def stored(folder):
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def same(one, other):
    assert one.keys() == other.keys()
    for name, q in one.items():
        for part in ("codes", "scale", "zero_point"):
            assert torch.equal(getattr(q, part), getattr(other[name], part)), name


@pytest.mark.parametrize("layout", SCHEMES)
@pytest.mark.parametrize("family", EXPERT)
def test_every_expert_lies_under_the_name_that_the_field_gives_it(sources, tmp_path, family, layout):
    """Names as vLLM 0.33's models/qwen3_moe.py and mixtral.py ask for them; the router is left, and named as left."""
    out = stream(sources[family], tmp_path / "out", SCHEMES[layout], "rtn", [], layout)
    wanted = set(load_file(sources[family] / "model.safetensors"))
    parts = [EXPERT[family].format(e, n) for e in range(4) for n in NAMES[family]]
    parts += [f"self_attn.{n}_proj" for n in "qkvo"]
    linears = [f"model.layers.{k}.{part}" for k in (0, 1) for part in parts]
    assert {f"{name}.weight" for name in linears} < wanted
    wanted = wanted - {f"{n}.weight" for n in linears} | {f"{n}.{end}" for n in linears for end in ENDS[layout]}
    tensors, routers = stored(out), [f"model.layers.{k}.{GATE[family]}" for k in (0, 1)]
    assert set(tensors) == wanted
    assert all(tensors[f"{name}.weight"].dtype == torch.float16 for name in routers)
    said = quantization(out)
    if layout == "gptq":
        assert "modules_in_block_to_quantize" not in said
        kept = [rule.removeprefix("-:") for rule in said["dynamic"]]
        asked = [*routers, *linears, *(f"model.layers.{k}.{GATE[family][:-4]}experts" for k in (0, 1))]
        assert [name for name in asked if any(re.match(rule, name) for rule in kept)] == routers
    else:
        assert said["ignore" if layout == "compressed-tensors" else "modules_to_not_convert"] == [*routers, "lm_head"]


@pytest.mark.parametrize("layout", SCHEMES)
@pytest.mark.parametrize("family", EXPERT)
def test_it_comes_back_bit_for_bit_streamed_or_saved(sources, tmp_path, family, layout):
    whole = quantize_model(models.load(sources[family])[0], SCHEMES[layout])
    streamed = stream(sources[family], tmp_path / "streamed", SCHEMES[layout], "rtn", [], layout)
    saved = artifacts.save(whole, tmp_path / "saved", layout)
    one, other = stored(streamed), stored(saved)
    assert one.keys() == other.keys() and all(torch.equal(one[name], t) and one[name].dtype == t.dtype
                                              for name, t in other.items())  # fmt: skip
    assert quantization(streamed) == quantization(saved)
    back, _ = artifacts.load(saved)
    same(whole.qtensors, back.qtensors)
    assert sum(isinstance(module, Experts) for module in back.modules()) == 2
    ids = tokens(vocabulary=40)
    with torch.no_grad():
        torch.testing.assert_close(back(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=1e-2, atol=1e-2)


# ---- the checkpoint before


def changed(source, folder, change):
    """A copy of a checkpoint whose tensors are `change(tensors)`."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    save_file(change(load_file(source / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("family", EXPERT)
def test_experts_are_read_however_they_are_held(sources, tmp_path, family):
    """One by one, or as the state_dict of transformers has them: gate above up, all experts of a layer."""
    model = made(family).half()
    fused = {name: w.contiguous() for name, w in model.state_dict().items()}
    assert fused["model.layers.1.mlp.experts.gate_up_proj"].shape == (4, 64, 64)
    whole = changed(sources[family], tmp_path / "fused", lambda tensors: fused)
    one, other = (stored(stream(source, tmp_path / f"out{k}", SYMMETRIC, "rtn", [])) for k, source in
                  enumerate((sources[family], whole)))  # fmt: skip
    assert one.keys() == other.keys() and all(torch.equal(t, other[name]) for name, t in one.items())


def without(name):
    return lambda tensors: {n: w for n, w in tensors.items() if n != name}


def both(tensors):
    pair = torch.zeros(4, 64, 32, dtype=torch.float16)
    return tensors | {"model.layers.1.mlp.experts.down_proj": pair}


LAST = "model.layers.1.mlp.experts.3.up_proj.weight"


@pytest.mark.parametrize("change, keys, told", [
    (without(LAST), {}, f"the checkpoint lacks {LAST}"),
    (lambda t: t | {LAST.replace(".3.", ".4."): t[LAST].clone()}, {},
     "experts.4.up_proj.weight belongs to expert 4, and config.json counts 4 from 0 on"),
    (both, {}, "holds model.layers.1.mlp.experts.0.down_proj.weight twice"),
    (lambda t: t | {LAST: t[LAST][:16].clone()}, {}, f"{LAST} must have the shape (32, 64) that config.json says, got"),
    (dict, {"num_local_experts": None}, "config.json must say how many experts a layer has, as num_experts, got none"),
    (dict, {"model_type": "olmoe"}, "of the model_type mixtral and qwen3_moe are quantized and read here, got 'olmoe'"),
])  # fmt: skip
def test_a_mixture_that_is_not_whole_is_told_in_one_sentence(sources, tmp_path, capsys, change, keys, told):
    folder = changed(sources["qwen3_moe"], tmp_path / "model", change)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | keys
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    assert main(["quantize", str(folder), str(tmp_path / "out"), "--method", "rtn", "--group", "32"]) == 1
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


# ---- calibration


def in_front(model, batches):
    """The flow in front of the first block, and the linears of that block."""
    model = unfused(model)
    blocks = blocks_of(model, linears_of(model))
    flow = Flow(model, list(blocks), batches)
    return flow, {name: model.get_submodule(name) for name in next(iter(blocks.values()))}


def routed(model, batches):
    """Tokens that each expert of the first layer hears, its attention being quantized already."""
    rest = quantize_model(model, SYMMETRIC, "gptq", batches, skip=("lm_head", "experts", r".*layers\.1\..*"))
    chosen = []
    rest.model.layers[0].mlp.experts.register_forward_pre_hook(lambda _, args: chosen.append(args[1].flatten()))
    with torch.no_grad():
        for ids in batches:
            rest(input_ids=ids)
    return torch.bincount(torch.cat(chosen), minlength=len(rest.model.layers[0].mlp.experts.gate_up_proj)).tolist()


@pytest.mark.parametrize("all_experts", [False, True])
def test_a_block_runs_as_often_whatever_its_experts(all_experts):
    """q k v, o, all gates and ups, all downs: each H is that of an expert alone, as `test_experts` has it."""
    batches, runs = [tokens(4, 24, vocabulary=40), tokens(2, 16, seed=1, vocabulary=40)], []
    for number in (2, 12):
        with evaluating(model := made("qwen3_moe", num_experts=number)):
            flow, inside = in_front(model, batches)
            flow.block.mlp.gate.register_forward_pre_hook(lambda *_: runs[-1].append(1))
            runs.append([])
            gptq_block(flow, inside, SYMMETRIC, all_experts=all_experts, unheard="nearest")
    assert len(runs[0]) == len(runs[1]) == 2 + 2 * 2


def test_experts_that_the_first_batch_left_out_are_in_their_groups():
    """Two tokens reach 0, 6 and 7 of 8 experts; a group is waited for up to its last, so that it stands as it runs."""
    one, all_of_them = tokens(1, 2, vocabulary=40), tokens(8, 24, vocabulary=40)
    with evaluating(model := made("mixtral", num_local_experts=8, num_hidden_layers=1)):
        flow, inside = in_front(model, [one, all_of_them])
        order, repeated, silent = plan_of(inside, flow.block, flow.shapes())
        assert [len(group) for group in order] == [3, 1, 16, 8] and not repeated and not silent
        names = [f"{k}.{which}_proj" for k in range(8) for which in ("gate", "up")]
        assert [name.split("experts.")[1] for name in order[2]] == names
    split, turned = (quantize_model(model, SYMMETRIC, "gptq", batches).qtensors
                     for batches in ([one, all_of_them], [all_of_them, one]))  # fmt: skip
    agree = [(q.codes == turned[name].codes).float().mean().item() for name, q in split.items()]
    assert min(agree) > 0.99  # H does not ask which batch came first, but for rounding


def test_hessians_have_a_limit_and_codes_do_not_ask_for_it(monkeypatch):
    """Room for the H of three experts' inputs, 64 wide; those of eight experts' downs, 32 wide, need half of it."""
    batches = [tokens(4, 24, vocabulary=40)]
    model = made("mixtral", num_local_experts=8, num_hidden_layers=1)
    whole = quantize_model(model, SYMMETRIC, "gptq", batches, unheard="nearest").qtensors
    monkeypatch.setattr(order, "HESSIAN_BYTES", 3 * 4 * 64**2)
    with evaluating(model):
        flow, inside = in_front(model, batches)
        groups, _, silent = plan_of(inside, flow.block, flow.shapes())
    assert [len(group) for group in groups if "experts" in next(iter(group))] == [6, 6, 4, 8] and not silent
    same(whole, quantize_model(model, SYMMETRIC, "gptq", batches, unheard="nearest").qtensors)


def test_experts_that_too_few_tokens_reach_are_rounded_to_nearest_and_counted():
    """GPTQModel 7.6, utils/fallback.py: observed < share · total, here a share that parts the experts."""
    model, batches = made("mixtral", num_local_experts=8), [tokens(4, 24, vocabulary=40)]
    heard, total = routed(model, batches), 4 * 24
    edge = sorted(heard)[3]
    assert 0 < edge < max(heard)
    for least, deaf in ((edge / total, [n < edge for n in heard]), ((edge + 0.5) / total, [n <= edge for n in heard])):
        with evaluating(model):
            flow, inside = in_front(model, batches)
            done = gptq_block(flow, inside, SYMMETRIC, unheard="nearest", least=least)
        names = {name.rpartition(".")[0]: n for name, n in flow.few.items()}
        assert names == {f"model.layers.0.mlp.experts.{k}": heard[k] for k in range(8) if deaf[k]}
        plain = quantize_model(model, SYMMETRIC).qtensors
        downs = [f"model.layers.0.mlp.experts.{k}.down_proj" for k in range(8)]
        assert [torch.equal(done[name].codes, plain[name].codes) for name in downs] == deaf
    for bad in (dict(unheard="nearest", least=1.0), dict(least=0.1), dict(unheard="nearest", least=-0.1)):
        with pytest.raises(ValueError, match="least must be a share below 1, and needs unheard='nearest', got"):
            quantize_model(model, SYMMETRIC, "gptq", batches, **bad)


TEXT = "the mug is broken, please send money back to my card. " * 40


@pytest.mark.parametrize("family, options", [("qwen3_moe", []), ("mixtral", ["--all-experts", "--layout", "gptq_v2"])])
def test_the_command_calibrates_a_mixture_and_says_bits_and_lonely_experts(sources, tmp_path, capsys, family, options):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    text = ["--calibration", str(tmp_path / "text.txt"), "--samples", "3", "--length", "16", "--group", "32"]
    assert main(["quantize", str(sources[family]), str(tmp_path / "out"), *text, *options]) == 0
    said, out = capsys.readouterr().out, tmp_path / "out"
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    weights = sum(p.numel() for p in made(family).parameters())
    assert f", {8 * size / weights:.2f} bits a weight, " in said
    loaded, tokenizer = artifacts.load(out)
    batches = calibration_batches(tokenizer, [TEXT], 3, 16)
    model, more = models.load(sources[family])[0], {"all_experts": True} if options else {}
    want = quantize_model(model, SYMMETRIC, "gptq", batches, unheard="nearest", **more)
    same(want.qtensors, loaded.qtensors)
    assert ("experts rounded to nearest" in said) == (not options and 0 in routed(model, batches))


def test_all_experts_of_a_dense_model_are_refused(tmp_path, capsys):
    tiny.llama().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    assert main(["quantize", str(tmp_path / "model"), str(tmp_path / "out"), "--all-experts"]) == 1
    assert "--all-experts needs a mixture of experts, and" in capsys.readouterr().err
    assert main(["quantize", "bundled", str(tmp_path / "out"), "--all-experts", "--method", "awq"]) == 1
    assert "--all-experts belongs to --method gptq, got --method awq" in capsys.readouterr().err


# ---- sizes


@pytest.mark.parametrize("layout, weights", [("compressed-tensors", "w4a16"), ("gptq", "gptq"), ("awq", "awq")])
@pytest.mark.parametrize("family, more", [("mixtral", {}), ("qwen3_moe", {}), ("qwen3_moe", {"mlp_only_layers": [1]})])
def test_the_plan_is_the_file_to_the_byte(tmp_path, family, more, layout, weights):
    wide = dict(hidden_size=128, intermediate_size=128, moe_intermediate_size=128) | more
    model = made(family, **wide)
    scheme = Scheme.int(4, SCHEMES[layout].symmetric, 128, scale_dtype=torch.float16)
    out = artifacts.save(quantize_model(model, scheme), tmp_path / "out", layout)
    planned = plan(model.config, "h100-sxm", context=64, weights=weights).weights.value
    assert planned == sum(tensor.nbytes for tensor in stored(out).values())


@pytest.mark.parametrize("layout", SCHEMES)
def test_experts_may_stay_at_16_bits_and_are_named(tmp_path, layout):
    """vLLM asks compressed-tensors for experts.0.gate_proj and so on, GPTQ and AWQ for the experts of a layer."""
    part = quantize_model(made("qwen3_moe"), SCHEMES[layout], skip=("lm_head", r"model\.layers\.0\.mlp\.experts"))
    out = artifacts.save(part, tmp_path / "out", layout)
    assert "model.layers.0.mlp.experts.3.up_proj.weight" in stored(out)
    back, _ = artifacts.load(out)
    same(part.qtensors, back.qtensors)
    assert [isinstance(layer.mlp.experts, Experts) for layer in back.model.layers] == [False, True]
    said = quantization(out)
    if layout == "compressed-tensors":
        assert {f"model.layers.0.mlp.experts.0.{n}_proj" for n in ("gate", "up", "down")} < set(said["ignore"])
    else:
        rules = said.get("modules_to_not_convert") or [rule.removeprefix("-:") for rule in said["dynamic"]]
        for k in (0, 1):
            name = f"model.layers.{k}.mlp.experts"
            assert any(re.match(rule, name) if layout == "gptq" else rule in name for rule in rules) == (k == 0)


# ---- beside llm-compressor

GOLDEN = json.loads((Path(__file__).parent / "golden/moe_checkpoints/llm_compressor.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", EXPERT)
def test_tensors_and_config_are_those_of_llm_compressor(tmp_path, family):
    """golden/moe_checkpoints/make.py asked it. Of Mixtral it renames the layer's experts and not what is in them; vLLM
    reads both, and w1 alone is read by all its versions and by transformers: so are ours, and we read both."""
    golden = GOLDEN[family]
    whole = quantize_model(made(family, **golden["sizes"]), SYMMETRIC)
    out = artifacts.save(whole, tmp_path / "out", "compressed-tensors")
    told = {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in stored(out).items()}
    short = dict(zip(("gate_proj", "up_proj", "down_proj"), NAMES[family], strict=True)) if family == "mixtral" else {}
    wanted = {".".join(short.get(part, part) for part in n.split(".")): was for n, was in golden["tensors"].items()}
    assert told == wanted
    said = quantization(out)
    assert {key: said[key] for key in golden["config"]} == golden["config"]
    (group,) = said["config_groups"].values()
    assert group["targets"] == golden["targets"]
    assert {key: group["weights"][key] for key in golden["weights"]} == golden["weights"]
    theirs = {experts.plain(ours): tensor for ours, tensor in stored(out).items()}
    renamed = {name: theirs[experts.plain(name)] for name in golden["tensors"]}
    for file in out.glob("*.safetensors"):
        file.unlink()
    save_file(renamed, out / "model.safetensors", {"format": "pt"})
    same(whole.qtensors, artifacts.load(out)[0].qtensors)


def test_the_count_of_experts_has_both_its_names(tmp_path):
    """transformers 5 says num_local_experts of Qwen3-MoE, the hub's files and transformers 4 num_experts."""
    out = artifacts.save(quantize_model(made("qwen3_moe"), SYMMETRIC), tmp_path / "out")
    said = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert said["num_experts"] == said["num_local_experts"] == 4
