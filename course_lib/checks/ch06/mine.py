"""Chapter 06's part of the learner's quantizer: GPTQ, 4 bits, symmetric, one 16-bit scale a row, loudest column first.

The bot reads a little prose and a few requests once; what flows into each linear goes through the learner's `hessian`.
"""

import functools

import torch

from course_lib.calibrate import calibration_batches
from course_lib.calibrate.gptq import inverse_factor
from course_lib.checks import curve
from course_lib.checks.quantizer import Recipe
from course_lib.qtensor import QTensor, block_size
from course_lib.scheme import Scheme

BLOCK, WINDOWS = 128, {"prose": 6, "task": 6}  # of 512 tokens each


@functools.cache
def inputs() -> tuple:
    """(weight (out, in), inputs x (tokens, in)) of every linear of the 16-bit bot; linears fed alike share one x."""
    base, seen, handles = curve.base(), {}, []
    linears = [m for name, m in base.model.named_modules() if name.endswith("_proj")]
    for linear in linears:
        handles.append(linear.register_forward_pre_hook(lambda m, args: seen.setdefault(m, []).append(args[0])))
    batches = [ids for text, n in WINDOWS.items() for ids in calibration_batches(base.tokenizer, text, n)]
    with torch.inference_mode():
        for ids in batches:
            base.model(ids)
    for handle in handles:
        handle.remove()
    joined = {}  # the q, k and v of a layer were called with the very same tensors
    for linear in linears:
        key = tuple(map(id, seen[linear]))
        joined.setdefault(key, torch.cat([x.flatten(0, -2).float() for x in seen[linear]]))
        seen[linear] = joined[key]
    return tuple((linear.weight.detach(), seen[linear]) for linear in linears)


def inputs_of(w):
    """The inputs (tokens, in) of the bot's linear with this weight. ValueError for a weight that is not the bot's."""
    for weight, x in inputs():
        if weight.shape == w.shape and torch.equal(weight.float(), w):
            return x
    raise ValueError(f"w must be a weight of the bundled model, whose inputs are known, got another {tuple(w.shape)}")


def quantize(pieces, w, scheme):
    """w (out, in) by `hessian`, `block_loop` and `put_back`. ValueError for a scheme with zero points."""
    if scheme.symmetric is not True:
        raise ValueError(f"this chapter's quantizer is symmetric: Scheme.int(b, group=g), got {scheme.name}")
    H, w, g = pieces.hessian(inputs_of(w)).clone(), w.clone(), block_size(w.shape, scheme.block)[1]
    dead = H.diagonal() == 0
    w[:, dead] = 0
    H[dead, dead] = 1 if dead.all() else H.diagonal()[~dead].mean()
    order = H.diagonal().argsort(descending=True)
    block = g * max(1, BLOCK // g) if g <= BLOCK else BLOCK if g % BLOCK == 0 else g
    q, s = pieces.block_loop(w[:, order], inverse_factor(H[order][:, order]), scheme.bits, g, block)
    codes, g_idx = pieces.put_back(q, order, g)
    return QTensor(codes, s.to(scheme.scale_dtype), None, scheme, tuple(w.shape), g_idx)


RECIPE = Recipe(
    "GPTQ, 4 bits, symmetric, one scale a row",
    Scheme.int(4, scale_dtype=torch.float16),
    ("hessian", "block_loop", "put_back"),
    quantize,
)
