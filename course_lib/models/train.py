"""Train the bundled model from the frozen texts: `course train OUT`.

A 4-layer Llama, 256 wide, grouped-query attention, tied embeddings: 2.6M parameters. Muon for the matrices, AdamW for
embeddings and norms. Twice a constant rate and a linear fall; the second time with more code, and at the end the
text, never the task, often passes through weights rounded to four bits.
"""

import argparse
import copy
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.files import write_atomic
from course_lib.models import rows, tokenizer
from course_lib.qtensor import dequantize, quantize
from course_lib.scheme import Scheme


@dataclass(frozen=True)
class Phase:
    """A stretch of training: how long, rows of how many tokens, the rate, and the last share of it that falls."""

    steps: int
    context: int
    decay: float
    prose: float
    code: float
    task: float
    rate: float = 4e-3
    noise: float = 0.0  # uniform noise on every weight during a step, this share of its row's largest wide
    more: bool = False  # the second slice of code is read, too
    round: float = 0.0  # share of the steps in which text passes through weights rounded to int4


PHASES = (
    Phase(steps=4500, context=256, decay=0.0, prose=0.14, code=0.52, task=0.34),
    Phase(steps=5500, context=512, decay=1.0, prose=0.10, code=0.53, task=0.37, noise=1 / 14),
    Phase(steps=3200, context=512, decay=0.0, prose=0.10, code=0.65, task=0.25, rate=3e-3, more=True),
    Phase(steps=5200, context=512, decay=1.0, prose=0.09, code=0.54, task=0.37, rate=3e-3, more=True, round=0.6),
)
GROUPS = (None, None, 64)  # a rounded step draws its scheme: a scale a row, or one for 64 weights
POSITIONS = 512


def config(vocabulary):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=POSITIONS,
        rope_theta=10_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def matrices_of(model):
    return [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]


def optimizers(model, rate):
    matrices = matrices_of(model)
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return (
        torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.01),
    )


def schedule(progress, step, decay, warmup=100):
    """Return the factor on the rate at `progress` in 0…1: a warm-up, a plateau, a fall over the last `decay` of it."""
    fall = max(0.02, (1 - progress) / decay) if decay else 1.0
    return min(1.0, (step + 1) / warmup) * min(1.0, fall)


def loss_of(model, tokens, weights):
    """Return the sum of all tokens' losses, each times its weight."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        logits = model(tokens[:, :-1].to(device)).logits  # (rows, context, vocabulary)
    loss = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten().to(device), reduction="none")
    return (loss * weights[:, 1:].flatten().to(device)).sum()


@contextmanager
def changed(matrices, change):
    """Put `change(w)` in the place of every weight for as long as the context lasts; None leaves them alone."""
    before = [w.detach().clone() for w in matrices] if change else []
    with torch.no_grad():
        for w, old in zip(matrices, before, strict=False):
            w.copy_(change(old))
    try:
        yield
    finally:
        with torch.no_grad():
            for w, old in zip(matrices, before, strict=False):
                w.copy_(old)


def shaken(w, noise):
    """Return `w` with uniform noise, `noise` times the row's largest wide: what is learned so is no needle's point."""
    return w + (torch.rand_like(w) - 0.5) * (noise * w.abs().amax(1, keepdim=True))


def rounded(w, group):
    """Return `w` rounded to symmetric int4, with an fp16 scale for every `group` weights (None: for a row)."""
    return dequantize(quantize(w, Scheme.int(4, group=group, scale_dtype=torch.float16)))


def step_of(model, opts, tokens, weights, change=None, first=None):
    """One optimizer step; returns the loss.

    `change` is done to the weights for the `first` rows (None: for all), and gradients go straight through it.
    """
    first = len(tokens) if first is None else first
    total, loss = weights[:, 1:].sum().item(), 0.0
    for share, how in ((slice(first), change), (slice(first, None), None)):
        if len(tokens[share]):
            with changed(matrices_of(model), how):
                part = loss_of(model, tokens[share], weights[share]) / total
                part.backward()
            loss += part.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        opt.step()
        opt.zero_grad(set_to_none=True)
    return loss


def run_phase(model, tok, number, phase, out, minutes=None):
    """Train `model` through one phase (or `minutes` of it), log every 50 steps and save now and then."""
    drawn, opts, step, progress = rows.Rows(tok, phase, seed=number), optimizers(model, phase.rate), 0, 0.0
    dice = np.random.default_rng(number)
    began, spent, log = time.monotonic(), time.process_time(), out / "training-log.jsonl"
    lines = log.read_text() if log.exists() else ""
    while progress < 1:
        for group in (g for opt in opts for g in opt.param_groups):
            group["lr"] = phase.rate * schedule(progress, step, phase.decay)
        tokens, weights, text = drawn.batch()
        change, first = partial(shaken, noise=phase.noise) if phase.noise else None, None
        if dice.random() < phase.round:
            change, first = partial(rounded, group=GROUPS[dice.integers(len(GROUPS))]), text
        loss = step_of(model, opts, tokens, weights, change, first)
        step += 1
        seconds, cpu = time.monotonic() - began, time.process_time() - spent
        progress = seconds / (60 * minutes) if minutes else step / phase.steps
        if step % 50 == 0 or progress >= 1:
            entry = {"phase": number, "step": step, "tokens": step * rows.TOKENS, "seconds": round(seconds, 1)}
            lines += json.dumps(entry | {"cpu_seconds": round(cpu, 1), "loss": round(loss, 4)}) + "\n"
            write_atomic(log, lines)
        if step % 400 == 0:
            save(model, tok, out / "latest")


def begin(tok, start=None, compiled=False):
    """Return a fresh model, or the checkpoint in `start`, in float32 on the device that is there."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(start) if start else LlamaForCausalLM(config(len(tok)))
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # on CPUs the fused one's backward is slower
    if compiled:
        model.compile(dynamic=False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").float().train()


def train(out, phases=PHASES, start=None, first=0, minutes=None, seed=0, compiled=False):
    """Train through `phases` from number `first` on, write checkpoint and log into `out`, return the model."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tok = tokenizer.read(start) if start else tokenizer.train_tokenizer()
    model = begin(tok, start, compiled)
    for number, phase in list(enumerate(phases))[first:]:
        run_phase(model, tok, number, phase, out, minutes)
    save(model, tok, out)
    return model


def save(model, tok, folder):
    """Write the checkpoint as bfloat16 safetensors with its tokenizer."""
    half = copy.deepcopy(model).to("cpu", torch.bfloat16).eval()
    half.save_pretrained(folder)
    tok.save_pretrained(folder)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="course train", description="Rebuild the bundled model.")
    parser.add_argument("out", help="directory for the checkpoint and the log")
    parser.add_argument("--start", help="a checkpoint directory to go on from")
    parser.add_argument("--first", type=int, default=0, help="number of the first phase to run")
    parser.add_argument("--minutes", type=float, help="minutes a phase, instead of its number of steps")
    parser.add_argument("--compile", action="store_true", help="half again as fast; needs a C++ compiler")
    args = parser.parse_args(argv)
    train(args.out, PHASES, args.start, args.first, args.minutes, compiled=args.compile)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
