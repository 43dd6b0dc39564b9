"""Fused experts taken apart: the same function, each expert rounded by itself, refused by name where that cannot be."""

import pytest
import torch
from test_calibrate_pipeline import tokens

from course_lib import Scheme, artifacts, quantize
from course_lib.calibrate import hessian, quantize_model
from course_lib.calibrate.experts import Experts, apart, hearing_all, unfused
from course_lib.calibrate.gptq import gptq
from course_lib.kernels.measure import recorded

INT4 = Scheme.int(4, "full", 16, scale_dtype=torch.float16)
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=50)


def mixtral(experts=4):
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(intermediate_size=48, num_local_experts=experts, **SIZES)).eval()


def qwen3_moe():
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    config = Qwen3MoeConfig(moe_intermediate_size=48, num_experts=4, num_experts_per_tok=2, head_dim=8, **SIZES)
    return Qwen3MoeForCausalLM(config).eval()


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("make", [mixtral, qwen3_moe])
def test_taken_apart_they_compute_the_same_and_the_argument_is_untouched(make):
    model, ids = make(), tokens(vocabulary=50)
    apart = unfused(model)
    assert sum(isinstance(module, Experts) for module in apart.modules()) == 2
    assert not any(isinstance(module, Experts) for module in model.modules())
    torch.testing.assert_close(logits(apart, ids), logits(model, ids), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in apart.parameters()) == sum(p.numel() for p in model.parameters())
    assert unfused(apart) is apart and unfused(model, keep=lambda name: True) is model


def test_taken_apart_for_a_while_nothing_is_copied_and_nothing_left():
    model = mixtral()
    fused = [layer.mlp.experts for layer in model.model.layers]
    with pytest.raises(KeyError), apart(model):
        for layer, whole in zip(model.model.layers, fused, strict=True):
            third = layer.mlp.experts[3]
            assert third.down_proj.weight.data_ptr() == whole.down_proj[3].data_ptr()
            assert third.up_proj.weight.data_ptr() == whole.gate_up_proj[3, 48].data_ptr()
        raise KeyError
    assert [layer.mlp.experts for layer in model.model.layers] == fused


@pytest.mark.parametrize("make", [mixtral, qwen3_moe])
def test_every_expert_is_rounded_by_itself(make):
    model = make()
    result = quantize_model(model, INT4)
    fused = model.model.layers[1].mlp.experts
    want = {
        "gate_proj": fused.gate_up_proj[3, :48],
        "up_proj": fused.gate_up_proj[3, 48:],
        "down_proj": fused.down_proj[3],
    }
    for part, w in want.items():
        assert torch.equal(result.qtensors[f"model.layers.1.mlp.experts.3.{part}"].codes, quantize(w, INT4).codes)
    assert len(result.qtensors) == 2 * (4 + 4 * 3)
    assert torch.isfinite(logits(result, tokens(vocabulary=50))).all()


def test_gptq_measures_each_expert_on_the_tokens_that_it_gets():
    model, ids = mixtral(), tokens(8, 24, vocabulary=50)
    result = quantize_model(model, INT4, "gptq", [ids])
    first = quantize_model(
        model, INT4, "gptq", [ids], skip=("lm_head", "experts", r".*layers\.1\..*")
    )  # attention only
    seen = {}
    first.model.layers[0].mlp.experts.register_forward_pre_hook(lambda _, args: seen.update(x=args[0], chosen=args[1]))
    logits(first, ids)
    mine = (seen["chosen"] == 2).any(-1)
    assert 0 < mine.sum() < len(mine)
    H, w = hessian(seen["x"][mine]), model.model.layers[0].mlp.experts.gate_up_proj[2, :48]
    want, got = gptq(w, H, INT4), result.qtensors["model.layers.0.mlp.experts.2.gate_proj"]
    assert (got.codes == want.codes).float().mean() > 0.99
    assert (got.codes == gptq(w, hessian(seen["x"]), INT4).codes).float().mean() < 0.99  # all tokens: other codes


def test_with_all_experts_each_hears_everybody_and_the_model_stays_the_same():
    """The experts of layer 0 read what attention gives; its H over all tokens is one for all of them."""
    model, ids = mixtral(), tokens(8, 24, vocabulary=50)
    apart = unfused(model)
    with hearing_all(apart):
        torch.testing.assert_close(logits(apart, ids), logits(model, ids), rtol=1e-4, atol=1e-5)
    assert not any(module.hear_all for module in apart.modules() if isinstance(module, Experts))
    result = quantize_model(model, INT4, "gptq", [ids], all_experts=True)
    first = quantize_model(model, INT4, "gptq", [ids], skip=("lm_head", "experts", r".*layers\.1\..*"))
    seen = {}
    first.model.layers[0].mlp.experts.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    logits(first, ids)
    x, fused = seen["x"], model.model.layers[0].mlp.experts
    for i in range(4):
        part = result.get_submodule(f"model.layers.0.mlp.experts.{i}")
        for name, linear in (("gate", part.gate_proj), ("up", part.up_proj)):
            w = fused.gate_up_proj[i].chunk(2)[name == "up"]
            assert (linear.qtensor.codes == gptq(w, hessian(x), INT4).codes).float().mean() > 0.99
        inner = part.act_fn(part.gate_proj(x)) * part.up_proj(x)  # behind the rounded gate and up
        assert (
            part.down_proj.qtensor.codes == gptq(fused.down_proj[i], hessian(inner), INT4).codes
        ).float().mean() > 0.99


def test_an_expert_that_no_token_was_sent_to_may_be_rounded_to_nearest():
    """Three tokens, two experts each: most of sixteen stay unheard, in both layers."""
    model, ids = mixtral(experts=16), tokens(1, 3, vocabulary=50)
    result = quantize_model(model, INT4, "gptq", [ids], unheard="nearest")
    assert len(result.qtensors) == 2 * (4 + 16 * 3)
    chosen = {}
    plain = quantize_model(model, INT4, "gptq", [ids], skip=("lm_head", "experts", r".*layers\.1\..*"))
    plain.model.layers[0].mlp.experts.register_forward_pre_hook(lambda _, args: chosen.update(i=args[1]))
    logits(plain, ids)
    fused = model.model.layers[0].mlp.experts
    same = [torch.equal(result.qtensors[f"model.layers.0.mlp.experts.{i}.down_proj"].codes,
                        quantize(fused.down_proj[i], INT4).codes) for i in range(16)]  # fmt: skip
    unheard = [i not in chosen["i"].flatten().tolist() for i in range(16)]
    assert same == unheard and 10 <= sum(unheard) < 16
    everybody = quantize_model(model, INT4, "gptq", [ids], all_experts=True)  # then nobody is unheard
    assert len(everybody.qtensors) == len(result.qtensors)
    with pytest.raises(ValueError, match="unheard must be 'error' or 'nearest', got 'skip'"):
        quantize_model(model, INT4, "gptq", [ids], unheard="skip")


def test_an_expert_without_tokens_is_named():
    with pytest.raises(ValueError, match=r"experts\.\d+\.gate_proj never ran .* add it to skip"):
        quantize_model(mixtral(experts=16), INT4, "gptq", [tokens(1, 3, vocabulary=50)])


def test_what_cannot_be_taken_apart_or_written_is_refused_by_name(tmp_path):
    model = mixtral()
    odd = model.model.layers[0].mlp.experts
    forward = odd.forward
    odd.forward = lambda *args: forward(*args).clamp(-1e-4, 1e-4)  # not what its weights say
    with pytest.raises(
        ValueError, match="layers.0.mlp.experts.gate_up_proj holds fused expert weights .* add 'experts'"
    ):
        quantize_model(model, INT4)
    with pytest.raises(ValueError, match="layout 'mlx' has all experts of a layer in one tensor"):
        scheme = Scheme.int(4, "full", 32, scale_dtype=torch.float16)
        artifacts.save(quantize_model(mixtral(), scheme, skip=("lm_head", "down_proj")), tmp_path / "out", "mlx")
    with pytest.raises(ValueError, match=r"experts\.0\.down_proj is not quantized and others of its layer are"):
        artifacts.save(quantize_model(mixtral(), INT4, skip=("lm_head", r".*\.0\.down_proj")), tmp_path / "out")
    kept = quantize_model(mixtral(), INT4, skip=("lm_head", "experts"))
    assert not [name for name in kept.qtensors if "experts" in name]


def test_chapter_06_says_what_is_recorded_of_a_mixture():
    """On letters now the one, now the other, hardly beyond errors; on prose everybody harms, then helps; and so on."""
    results = recorded.results("moe")["results"]
    by, nearest = results["calibrated"], results["nearest"]["letters"]
    more = {what: {on: (kl, 3 * stderr) for on, (kl, stderr) in c["all_less_own"].items()} for what, c in by.items()}
    letters = [f"{n} letters" for n in (1, 2, 4, 8, 24)]
    assert all(abs(kl) < three for kl, three in (more[what]["letters"] for what in letters))
    assert more["1 letters"]["letters"][0] > 0 > more["8 letters"]["letters"][0]
    assert more["1 letters"]["prose"][0] > more["1 letters"]["prose"][1]
    assert more["8 letters"]["prose"][0] < -more["8 letters"]["prose"][1] and more["24 letters"]["prose"][0] < 0
    for c in by.values():  # the difference is that of the draws, in pairs
        own, everybody = (torch.tensor(c[way]["prose"]["kls"]) for way in ("own", "all"))
        less = everybody - own
        assert len(less) == 6 and c["all_less_own"]["prose"] == pytest.approx(
            [less.mean().item(), less.std().item() / 6**0.5], abs=1e-5
        )
    for way in ("own", "all"):
        assert 0.25 < by["24 letters"][way]["letters"]["kl"] / by["1 letters"][way]["letters"]["kl"] < 1 / 3
        assert by["prose"][way]["letters"]["kl"] > nearest
    first = by["prose"]["tokens_an_expert"][0]
    assert first[:3] == [0, 0, 0] and min(first[-2:]) > 0.95 * by["prose"]["tokens"]
    assert 1400 < by["8 letters"]["tokens"] < 1600 and by["8 letters"]["tokens_an_expert"][0][0] == 1
