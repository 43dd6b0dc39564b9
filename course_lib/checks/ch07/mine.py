"""Chapter 07's part of the learner's quantizer: AWQ, 4 bits, symmetric, one 16-bit scale a row.

The columns behind each norm are protected with the α that their `search` finds, the norm takes the factor back, and
every row's range is cut to the share that their `clip` finds.
"""

import copy

import torch

from course_lib.checks.ch06.mine import inputs_of
from course_lib.checks.quantizer import Recipe
from course_lib.models.outliers import readers
from course_lib.qtensor import quantize as courses
from course_lib.scheme import Scheme

GRID, TOKENS = 10, 512
SHARES = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7]


def prepare(pieces, model, scheme):
    """A copy of the bundled model, scaled and clipped; before clipping it computes what `model` does."""
    result = copy.deepcopy(model)
    kept = {name: part.weight.detach().float() for name, part in model.named_modules() if name.endswith("_proj")}
    names = {part: name for name, part in result.named_modules()}
    inputs = {name: _some(inputs_of(w)) for name, w in kept.items()}
    with torch.no_grad():
        for layer in result.model.layers:
            for norm, linears in readers(layer):
                x = inputs[names[linears[0]]]
                alpha = pieces.search(x, torch.cat([part.weight.float() for part in linears]), scheme.bits, GRID)
                s = x.abs().mean(dim=0) ** float(alpha)
                s = s / (s.max() * s.min()).sqrt()
                norm.weight.div_(s)
                for part in linears:
                    part.weight.mul_(s)
                    inputs[names[part]] = x / s
        for name in kept:
            w = result.get_submodule(name).weight
            shares = torch.as_tensor(pieces.clip(inputs[name], w.float(), scheme.bits, SHARES), dtype=w.dtype)
            top = shares[:, None] * w.abs().amax(dim=1, keepdim=True)
            w.copy_(torch.maximum(torch.minimum(w, top), -top))
    return result


def _some(x):
    """At most TOKENS evenly spaced rows of x (tokens, in)."""
    return x[torch.linspace(0, len(x) - 1, min(TOKENS, len(x))).round().long()]


RECIPE = Recipe(
    "AWQ, 4 bits, symmetric, one scale a row",
    Scheme.int(4, scale_dtype=torch.float16),
    ("search", "clip"),
    lambda pieces, w, scheme: courses(w, scheme),
    prepare,
)
