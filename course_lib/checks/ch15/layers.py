"""Layers that somebody quantized, for ch15.who_made: six makers on the same kind of weights and inputs."""

import random
from functools import cached_property

import torch

from course_lib.checks import Case
from course_lib.scheme import Scheme

MAKERS = ("rtn", "mse", "gptq", "act-order", "awq", "q4_0")


def quantized(maker, w, x, group):
    """The QTensor that a maker makes of w (out, in) with inputs x (tokens, in): 16 levels, a scale for each group.

    All take s = max|w|/7.5 of a group as bfloat16 and the codes −8 … 7, but q4_0: signed largest/−8, float16, 32.
    act-order finds its scales beforehand (static groups), so that the columns stay where they are.
    """
    from course_lib import calibrate, quantize
    from course_lib.calibrate.awq import scales
    from course_lib.calibrate.stats import hessian

    scheme = Scheme.int(4, "full", group, scale_dtype=torch.bfloat16)
    if maker == "q4_0":
        return from_blocks(w)
    if maker == "awq":
        return quantize(w * scales(x.abs().mean(0), 0.5), scheme)
    if maker in ("rtn", "mse"):
        return quantize(w, scheme, {"rtn": None, "mse": "mse"}[maker])
    more = {"act_order": True, "static_groups": True} if maker == "act-order" else {}
    return calibrate.gptq(w, hessian(x), scheme, **more)


def from_blocks(w):
    """ggml's Q4_0 of w (out, in) as a QTensor in groups of 32; its scales are signed."""
    from course_lib.formats import ggml

    return of_blocks(ggml.quantize(w.detach().float(), "Q4_0"))


def of_blocks(blocks):
    """Q4_0 blocks uint8 (rows, row_bytes) as a QTensor."""
    from course_lib import QTensor

    parts = blocks.reshape(len(blocks), -1, 18)  # d, 16 bytes: the low halves are the first 16 weights
    d = parts[..., :2].contiguous().view(torch.float16)[..., 0]
    codes = torch.cat([parts[..., 2:] & 15, parts[..., 2:] >> 4], -1).flatten(1)
    scheme = Scheme.int(4, "full", 32, scale_dtype=torch.float16)
    return QTensor(codes, d, torch.full(d.shape, 8, dtype=torch.uint8), scheme, tuple(codes.shape))


def folder(w, x, seed):
    """{"A": QTensor, … "F": QTensor}: all six makers on w (out, in) and x (tokens, in), in an order drawn by lot."""
    makers = random.Random(seed).sample(MAKERS, len(MAKERS))
    return {label: quantized(maker, w, x, 64) for label, maker in zip("ABCDEF", makers, strict=True)}


def parts(q):
    """(q, s) as the exercise has them: signed codes −8 … 7, int8 (out, in), and float32 scales (out, groups).

    q is a QTensor with zero point 8 or what `artifacts.gguf.load` keeps of a Q4_0 tensor; ValueError for others.
    """
    if getattr(q, "kind", None) == "Q4_0":
        q = of_blocks(q.blocks)
    if getattr(q, "scheme", None) is None or (q.scheme.format, q.scheme.symmetric) != ("int4", "full"):
        raise ValueError(f'q must have the 16 codes of Scheme.int(4, "full") or be of type Q4_0, got {q!r}')
    return q.codes.to(torch.int8) - 8, q.step


def layer(seed, out, columns):
    """(w, x): random weights, and inputs that go together, some channels louder than others."""
    g = torch.Generator().manual_seed(seed)
    randn = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    w = 0.05 * randn(out, columns) * torch.exp(0.3 * randn(out, 1))
    common = randn(3 * columns, columns // 4) @ randn(columns // 4, columns) / (columns // 4) ** 0.5
    return w, (common + 0.4 * randn(3 * columns, columns)) * torch.exp(0.6 * randn(columns))


class Made(Case):
    """A layer from one of the makers, made when a check first wants it."""

    def __init__(self, maker, seed, out, columns, group):
        self.name = f"{out} × {columns}, {columns // group} group{'s' * (group < columns)} a row, no. {seed}"
        self.kwargs, self.maker, self.how = {}, maker, (seed, out, columns, group)

    @cached_property
    def args(self):
        """(w, q, s, x)."""
        seed, out, columns, group = self.how
        w, x = layer(seed, out, columns)
        return (w, *parts(quantized(self.maker, w, x, group)), x)
