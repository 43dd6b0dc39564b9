"""A model one decoder block at a time: what flows into each block, and in which order its linears run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from torch import Tensor, nn

from course_lib.calibrate.kept import Kept
from course_lib.calibrate.stats import Running, listening


@dataclass(frozen=True)
class Call:
    """One call of a block: its first argument, all the others (masks, rotary angles), what need not run again."""

    hidden: Tensor  # (rows, length, features)
    others: dict
    kept: Kept | None = None


class Flow:
    """The hidden states of every calibration batch in front of one block; `advance` moves on to the next.

    Only the inputs of one block are in memory, and what its finished parts give, up to `kept.LIMIT_BYTES`. The other
    arguments are recorded once for each shape of a batch. Who asks for `targets` in front of every block has the
    16-bit model's hidden states in memory, too.
    """

    def __init__(self, model: nn.Module, names: list[str], batches: list[Tensor]):
        """names: the blocks, in the order in which they run; batches: tokens (rows, length)."""
        self.model, self.blocks, self.at = model, [model.get_submodule(name) for name in names], 0
        self.hidden: list[Tensor] = []
        self.exact: list[Tensor] | None = None  # as the 16-bit model has them; None: nobody has asked
        self.few: dict[str, int] = {}  # linears that too few tokens reached -> how many, as a method says
        self._others: dict[tuple, list[dict]] = {}  # shape of a batch -> each block's arguments
        self._shapes = [tuple(ids.shape) for ids in batches]
        self._kept = [Kept() for _ in batches]
        for ids in batches:
            self.hidden.append(self._enter(ids))

    @property
    def block(self) -> nn.Module:
        """The present block."""
        return self.blocks[self.at]

    def calls(self) -> Iterator[Call]:
        """The calls of the present block, one a batch."""
        for hidden, shape, kept in zip(self.hidden, self._shapes, self._kept, strict=True):
            yield Call(hidden, self._others[shape][self.at], kept)

    def shapes(self) -> list[Call]:
        """One call of the present block for each shape of a batch."""
        return list({shape: call for shape, call in zip(self._shapes, self.calls(), strict=True)}.values())

    def targets(self) -> list[Tensor]:
        """What the present block, not yet rounded, makes of the 16-bit model's hidden states: to be asked once."""
        inputs = self.hidden if self.exact is None else self.exact
        self.exact = [run(self.block, replace(call, hidden=x)) for x, call in zip(inputs, self.calls(), strict=True)]
        return self.exact

    def state(self) -> dict[str, Tensor]:
        """The hidden states by name, for a file."""
        parts = {"hidden": self.hidden, "exact": self.exact or []}
        return {f"{part}.{i}": t.contiguous() for part, states in parts.items() for i, t in enumerate(states)}

    def restore(self, state: dict[str, Tensor], at: int) -> None:
        """Stand in front of block `at` with what `state` gave."""
        n, self.at = len(self._shapes), at
        self.hidden = [state[f"hidden.{i}"] for i in range(n)]
        self.exact = [state[f"exact.{i}"] for i in range(n)] if "exact.0" in state else None

    def finish(self, parts: list[nn.Module]) -> None:
        """From here on these children of the present block give what they give next: they run at most once more."""
        for kept in self._kept:
            kept.finish(parts, len(self._kept))

    def advance(self) -> None:
        """Run the present block on every batch, and stand in front of the next one."""
        for i, call in enumerate(self.calls()):
            self.hidden[i] = run(self.block, call)
            self._kept[i] = Kept()
        self.at += 1

    def _enter(self, ids: Tensor) -> Tensor:
        """What the first block is called with. A batch of a new shape meets all blocks, which pass it on as it is."""
        seen: list[Call] = []
        wanted = 1 if tuple(ids.shape) in self._others else len(self.blocks)

        def hear(*args, **kwargs):
            if args:
                kwargs = {"hidden_states": args[0]} | kwargs
            seen.append(Call(kwargs["hidden_states"], {k: v for k, v in kwargs.items() if k != "hidden_states"}))
            if len(seen) == wanted:
                raise _Enough
            return kwargs["hidden_states"]

        kept = {block: vars(block).get("forward") for block in self.blocks}  # one block may stand in several places
        for block in kept:
            block.forward = hear  # shadows the method of the class
        try:
            self.model(input_ids=ids, use_cache=False)
        except _Enough:
            pass
        finally:
            for block, forward in kept.items():
                del block.forward
                if forward is not None:
                    block.forward = forward
        if len(seen) < wanted:
            raise ValueError(f"model must run all of its {wanted} decoder blocks, but {wanted - len(seen)} did not run")
        self._others.setdefault(tuple(ids.shape), [call.others for call in seen])
        return seen[0].hidden


class _Enough(Exception):
    """Raised to leave a forward pass that has shown what was wanted."""


def run(block: nn.Module, call: Call) -> Tensor:
    """The hidden states behind a block."""
    with call.kept or nullcontext():
        out = block(call.hidden, **call.others)
    return out[0] if isinstance(out, tuple) else out


@contextmanager
def stopping_at(linear: nn.Module) -> Iterator[None]:
    """Inside the `with`, a forward pass ends (see `run_until`) when it is about to call this linear."""

    def stop(*_):
        raise _Enough

    handle = linear.register_forward_pre_hook(stop)
    try:
        yield
    finally:
        handle.remove()


def inputs_of(
    linears: dict[str, nn.Linear], block: nn.Module, calls, make: Callable[[], Running], once: bool = True
) -> dict[str, Running]:
    """Name -> Running of the inputs of linears of a block, given as they run.

    once: each of them is called once a run, so that it need go no further than the last one.
    """
    *_, last = linears.values()
    with listening(linears, make) as found, stopping_at(last) if once else nullcontext():
        for call in calls:
            try:
                run(block, call)
            except _Enough:
                pass
    return found


def blocks_of(model: nn.Module, linears: dict[str, nn.Linear]) -> dict[str, dict[str, nn.Linear]]:
    """Name of each decoder block -> its linears: the members of the longest nn.ModuleList that holds linears.

    >>> model = nn.ModuleDict({"layers": nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(2)])})
    >>> [list(part) for part in blocks_of(model, {"layers.0.0": None, "layers.1.0": None}).values()]
    [['layers.0.0'], ['layers.1.0']]
    """
    best: dict[str, dict[str, nn.Linear]] = {}
    for home, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            names = [f"{home}.{i}" if home else str(i) for i in range(len(module))]
            parts = {name: {k: v for k, v in linears.items() if k.startswith(name + ".")} for name in names}
            if sum(map(len, parts.values())) > sum(map(len, best.values())):
                best = parts
    if not best:
        kind = type(model).__name__
        raise ValueError(f"model must have decoder blocks in an nn.ModuleList, such as model.layers; {kind} has none")
    return best
