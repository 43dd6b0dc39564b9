"""Where a scale of the inputs can hide: the op before a linear takes 1/s, the linear's columns take s."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.calibrate.blocks import Call, run

# linear -> the one before it, where only a product or a weighted mean of its outputs lies between
_PRODUCTS = {"o_proj": "v_proj", "down_proj": "up_proj"}


@dataclass(eq=False)
class Fold:
    """An op, and the linears that read what it gives: prev(x) = diag(s) · (prev(x) / s) for any s > 0.

    heads  (value heads, query heads for each, width) where prev is v_proj and o_proj reads every head several times
    judge  the module whose output the linears are judged by; None: their own outputs, tr(Δw · H · Δwᵀ)
    """

    prev: nn.Module
    linears: list[nn.Linear]
    judge: nn.Module | None = None
    heads: tuple[int, int, int] | None = None
    calls: list[tuple[tuple, dict, Tensor]] = field(default_factory=list)  # the judge's arguments and output

    def tied(self, t: Tensor) -> Tensor:
        """t (in,) with its mean over the query heads that share a value head in place of each."""
        if self.heads is None:
            return t
        return t.reshape(self.heads).mean(1, keepdim=True).expand(self.heads).reshape(-1)

    def apply(self, s: Tensor) -> None:
        """Columns of the linears times s (in,), rows of prev divided by it."""
        for linear in self.linears:
            linear.weight.mul_(s.to(linear.weight))
        if self.heads is not None:
            s = s.reshape(self.heads)[:, 0].reshape(-1)
        s = s.to(self.prev.weight)
        if self.prev.weight.dim() == 2:
            self.prev.weight.div_(s[:, None])
        else:
            one = _added(self.prev)
            self.prev.weight.add_(one).div_(s).sub_(one)
        if getattr(self.prev, "bias", None) is not None:
            self.prev.bias.div_(s)

    def loss(self, deltas: dict[nn.Linear, Tensor], H: Tensor) -> float:
        """Squared error of the outputs when each linear's weight (out, in) changes by its delta."""
        if self.judge is None:
            return sum(((delta @ H) * delta).sum().item() for delta in deltas.values())
        kept = {linear: linear.weight.data for linear in deltas}
        try:
            for linear, delta in deltas.items():
                linear.weight.data = (kept[linear] + delta).to(kept[linear].dtype)
            outputs = ((_first(self.judge(*args, **more)), y) for args, more, y in self.calls)
            return sum((out.float() - y.float()).square().sum().item() for out, y in outputs)  # float16 ends at 65504
        finally:
            for linear, weight in kept.items():
                linear.weight.data = weight


def folds_of(block: nn.Module, call: Call, targets: set[nn.Linear]) -> list[Fold]:
    """Every fold of a block that reaches one of the targets; their judges have heard nothing yet."""
    folds = [Fold(norm, linears, _judge(block, linears)) for norm, linears in _behind_norms(block, call).items()]
    return [fold for fold in [*folds, *_products(block)] if targets & set(fold.linears)]


def hear(folds: list[Fold], block: nn.Module, calls: list[Call], judged: list[Call]) -> Tensor:
    """Run the block on all calls; the judges keep those of `judged`. Returns the output of the first of these."""
    judges: dict[nn.Module, list[Fold]] = {}  # two norms of a flat block have one judge
    for fold in folds:
        if fold.judge is not None:
            judges.setdefault(fold.judge, []).append(fold)
    keep, first = {id(call) for call in judged}, None

    def keeping(module, args, kwargs, out):
        for fold in judges[module] if id(call) in keep else ():
            fold.calls.append((args, kwargs, _first(out)))

    handles = [judge.register_forward_hook(keeping, with_kwargs=True) for judge in judges]
    try:
        for call in calls:
            out = run(block, call)
            first = out if call is judged[0] else first
    finally:
        for handle in handles:
            handle.remove()
    return first


def check_function(block: nn.Module, call: Call, before: Tensor) -> None:
    """ValueError if the block no longer computes what it did: something else read what was scaled."""
    change = before - call.hidden if before.shape == call.hidden.shape else before
    moved = (run(block, call) - before).float().norm() / change.float().norm().clamp(min=1e-12)
    if not moved < (1e-3 if before.dtype == torch.float32 else 0.05):
        raise ValueError(
            f"scales cannot be folded into {type(block).__name__}: its output would move by {moved:.1%}, as something"
            " beside the linears reads what a norm or a linear gives"
        )


def _behind_norms(block: nn.Module, call: Call) -> dict[nn.Module, list[nn.Linear]]:
    """Norm -> the linears that are called with the very tensor that it returned."""
    given: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor is kept, so that its id is not used again
    found: dict[nn.Module, list[nn.Linear]] = {}

    def gave(norm, _, out):
        given[id(out)] = (norm, out)

    def reads(linear, args):
        if id(args[0]) in given:
            found.setdefault(given[id(args[0])][0], []).append(linear)

    handles = []
    for module in block.modules():
        if type(module).__name__.endswith("Norm"):
            handles.append(module.register_forward_hook(gave))
        elif isinstance(module, nn.Linear):
            handles.append(module.register_forward_pre_hook(reads))
    try:
        run(block, call)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _products(block: nn.Module) -> list[Fold]:
    """v → o and up → down."""
    folds = []
    for name, linear in block.named_modules():
        home, _, leaf = name.rpartition(".")
        parent = block.get_submodule(home)
        prev = getattr(parent, _PRODUCTS.get(leaf, ""), None)
        if not isinstance(prev, nn.Linear) or not isinstance(linear, nn.Linear):
            continue
        shared, rest = divmod(linear.in_features, prev.out_features)
        width = getattr(parent, "head_dim", None)
        if shared == 1 and not rest:
            folds.append(Fold(prev, [linear]))
        elif leaf == "o_proj" and not rest and width and prev.out_features % width == 0:
            folds.append(Fold(prev, [linear], heads=(prev.out_features // width, shared, width)))
    return folds


def _added(norm: nn.Module) -> int:
    """What a norm adds to its weight before it multiplies: 1 in Gemma, else 0."""
    weight, bias = norm.weight.detach().float(), getattr(norm, "bias", None)
    x = torch.ones_like(norm.weight)
    x[1::2] = -1  # neither mean nor size to take out
    with torch.no_grad():
        given = norm(x).float() - (0 if bias is None else bias.float())
    return 1 if 0.5 < (given * x.float() - weight).median() < 1.5 else 0


def _judge(block: nn.Module, linears: list[nn.Linear]) -> nn.Module | None:
    """The smallest module around several linears."""
    if len(linears) == 1:
        return None
    names = {module: name.split(".")[:-1] for name, module in block.named_modules()}
    common: list[str] = []
    for parts in zip(*(names[linear] for linear in linears), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return block.get_submodule(".".join(common))


def _first(out) -> Tensor:
    return out[0] if isinstance(out, tuple) else out
