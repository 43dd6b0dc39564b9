"""A mixture of experts made of the bot, and how its experts are best calibrated.

    python benchmarks/moe.py            recorded in benchmarks/results/moe.json; half an hour on one core

Every expert of a layer begins as a copy of its MLP (a sparse upcycling, Komatsuzaki et al. 2022, arXiv 2212.05055), so
that the mixture computes what the bot does; some hundred steps of training part them and teach the router. Then GPTQ
at 3 bits, a scale a row: each expert's H from the tokens that it was sent ("own", experts that got none to nearest;
GPTQModel 7.6 falls back below 0.5% of the tokens, Fallback.threshold in its quantization/config.py), or from all tokens
("all", as llm-compressor does unless told otherwise), by how much text there is, and whose. Both ways read the same
texts, six draws of them, so that what parts the ways is the difference draw by draw, "all_less_own".
"""

from __future__ import annotations

import sys
import time

import torch
import torch.nn.functional as F

from course_lib import Scheme, evaluate, models
from course_lib.calibrate import experts, quantize_model
from course_lib.evaluate.stats import mean_stderr
from course_lib.models import rows, train

EXPERTS, ACTIVE, STEPS, NOISE, BALANCE, DRAWS = 8, 2, 500, 0.05, 0.02, 6
PHASE = train.Phase(steps=STEPS, context=512, decay=1.0, prose=0.2, code=0.4, task=0.4, rate=1e-3)
SCHEME = Scheme.int(3, scale_dtype=torch.float16)
LETTERS = (1, 2, 4, 8, 24)


def upcycled(bot):
    """A Mixtral that computes what the bot does: all experts of a layer are its MLP, and the shares add up to 1."""
    from transformers import MixtralConfig, MixtralForCausalLM

    known = {name: getattr(bot.config, name) for name in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
        "rope_parameters", "bos_token_id", "eos_token_id", "pad_token_id")}  # fmt: skip
    mixture = MixtralForCausalLM(MixtralConfig(
        **known, num_local_experts=EXPERTS, num_experts_per_tok=ACTIVE, sliding_window=None))  # fmt: skip
    mixture.load_state_dict(bot.state_dict(), strict=False)
    with torch.no_grad():
        for layer, old in zip(mixture.model.layers, bot.model.layers, strict=True):
            fused = layer.mlp.experts
            fused.gate_up_proj.copy_(torch.cat([old.mlp.gate_proj.weight, old.mlp.up_proj.weight]))
            fused.down_proj.copy_(old.mlp.down_proj.weight)
    return mixture


def trained(bot, tokenizer):
    """The upcycled bot after STEPS steps: weights of experts a little apart, a loss that balances the router."""
    mixture, drawn = upcycled(bot), rows.Rows(tokenizer, PHASE, seed=7)
    ids = torch.arange(100)[None]
    with torch.no_grad():
        assert torch.allclose(mixture(input_ids=ids).logits, bot(input_ids=ids).logits, atol=1e-3)
        for layer in mixture.model.layers:
            for w in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                w.mul_(1 + NOISE * torch.randn_like(w))
    optimizer = torch.optim.AdamW(mixture.parameters(), lr=PHASE.rate, betas=(0.9, 0.95), weight_decay=0.01)
    mixture.train()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = PHASE.rate * train.schedule(step / STEPS, step, PHASE.decay, warmup=30)
        tokens, weights, _ = (part[::2] if torch.is_tensor(part) else part for part in drawn.batch())
        out, weights = mixture(input_ids=tokens[:, :-1], output_router_logits=True), weights[:, 1:].flatten()
        lost = F.cross_entropy(out.logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        ((lost * weights).sum() / weights.sum() + BALANCE * out.aux_loss).backward()
        torch.nn.utils.clip_grad_norm_(mixture.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 49:
            print(f"step {step + 1}: loss {(lost * weights).sum() / weights.sum():.3f}", file=sys.stderr)
    return mixture.eval().requires_grad_(False)


def heard(mixture, batches):
    """Tokens that each expert of each layer was sent, the fewest first."""
    counts, apart = {}, experts.unfused(mixture)

    def count(module, args):
        counts[module] = counts.get(module, 0) + torch.bincount(args[1].flatten(), minlength=len(module))

    for module in apart.modules():
        if isinstance(module, experts.Experts):
            module.register_forward_pre_hook(count)
    for ids in batches:
        apart(input_ids=ids)
    return [sorted(count.tolist()) for count in counts.values()]


def calibrations(tokenizer):
    """{name: one list of token batches for each draw}: so many letters, or prose of about as many tokens as 24."""
    letters, prose = models.texts.train("task", 24 * DRAWS), models.texts.train("prose", 12 * DRAWS)
    texts = {f"{n} letters": [letters[24 * d : 24 * d + n] for d in range(DRAWS)] for n in LETTERS}
    texts["prose"] = [[text[:2000] for text in prose[12 * d : 12 * (d + 1)]] for d in range(DRAWS)]
    return {name: [[tokenizer(t, return_tensors="pt", truncation=True, max_length=512).input_ids for t in draw]
                   for draw in draws] for name, draws in texts.items()}  # fmt: skip


def summary(kls):
    """Mean and standard error over the draws, and each of them."""
    mean, stderr = mean_stderr(torch.tensor(kls, dtype=torch.float64))
    return {"kl": mean, "stderr": stderr, "kls": [round(kl, 5) for kl in kls]}


def paired(found, what):
    """What hearing everybody adds, draw by draw: [mean, standard error]."""
    less = [everybody[what] - own[what] for own, everybody in zip(found["own"], found["all"], strict=True)]
    return list(mean_stderr(torch.tensor(less, dtype=torch.float64)))


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bot, tokenizer = models.load("bundled")
    began = time.monotonic()
    with torch.enable_grad():
        mixture = trained(bot, tokenizer)
    minutes = (time.monotonic() - began) / 60
    prose = [text[:1500] for text in models.texts.heldout("prose") if len(text) > 1500][:8]
    held_out = {"letters": models.texts.heldout("task", 24), "prose": prose}
    references = {what: evaluate.Reference(mixture, tokenizer, texts, max_bytes=None, progress=False)
                  for what, texts in held_out.items()}  # fmt: skip

    def lost(other):
        return {what: reference.compare(other, progress=False).kl for what, reference in references.items()}

    results = {"bits_per_byte": {what: reference.bits_per_byte for what, reference in references.items()},
               "nearest": lost(quantize_model(mixture, SCHEME, progress=False)), "calibrated": {}}  # fmt: skip
    for name, draws in calibrations(tokenizer).items():
        found = {way: [] for way in ("own", "all")}
        for batches in draws:
            for way in found:
                options = {"all_experts": way == "all", "unheard": "nearest"}
                found[way].append(lost(quantize_model(mixture, SCHEME, "gptq", batches, progress=False, **options)))
        results["calibrated"][name] = {
            "tokens": sum(ids.numel() for ids in draws[0]), "tokens_an_expert": heard(mixture, draws[0]),
            **{way: {what: summary([kl[what] for kl in kls]) for what in references} for way, kls in found.items()},
            "all_less_own": {what: paired(found, what) for what in references},
        }  # fmt: skip
        print(name, {way: results["calibrated"][name][way] for way in found}, file=sys.stderr)
    from record import record

    about = dict(experts=EXPERTS, active=ACTIVE, steps=STEPS, draws=DRAWS, training_minutes=round(minutes, 1))
    record("moe", results, **about)


if __name__ == "__main__":
    main()
