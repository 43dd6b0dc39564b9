"""Measured here and now: how long a step takes on this machine with 16-bit weights, and with 4-bit ones read two ways.

    fused         a kernel reads 4-bit codes and turns them into numbers on the way to the multiplication
    unpack first  ordinary tensor code writes the 16-bit weights back to memory, then multiplies with those

Both read the same codes and give the same answers; only the traffic differs. All on one core, the best of several runs.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.formats.packing import pack, unpack
from course_lib.qtensor import QTensor, quantize
from course_lib.scheme import Scheme

GROUP = 128


@dataclass(frozen=True)
class Timing:
    """One way of doing a step at one batch: bytes stored, bytes moved, 2 · weights · batch operations, best seconds."""

    way: str
    batch: int
    weight_bytes: int
    traffic_bytes: int
    flops: int
    seconds: float

    @property
    def ms(self) -> float:
        return 1e3 * self.seconds

    @property
    def gb_per_s(self) -> float:
        """Traffic over time, 10^9 bytes a second."""
        return self.traffic_bytes / self.seconds / 1e9

    @property
    def gflops(self) -> float:
        """Arithmetic over time, 10^9 operations a second."""
        return self.flops / self.seconds / 1e9

    @property
    def intensity(self) -> float:
        """Operations a byte of traffic: where the step stands on the roofline."""
        return self.flops / self.traffic_bytes


def seconds(fn: Callable[[], object], at_least: float = 0.15, runs: int = 3) -> float:
    """The best time of `fn()` over `runs` runs, and more until `at_least` seconds are over; a first one does not count.

    The best, not the mean: whatever else the machine does can only make a run slower.

    >>> seconds(lambda: sum(range(1000)), at_least=0) < 1
    True
    """
    fn()
    best, begin = float("inf"), time.perf_counter()
    while runs > 0 or time.perf_counter() - begin < at_least:
        start = time.perf_counter()
        fn()
        best, runs = min(best, time.perf_counter() - start), runs - 1
    return best


def side_by_side(fns: dict[Hashable, Callable[[], object]], rounds: int = 3) -> dict[Hashable, float]:
    """The best time of each function over `rounds` rounds in turn, so that a busy moment hits all of them alike.

    >>> sorted(side_by_side({"short": lambda: sum(range(10)), "long": lambda: sum(range(10**5))}, rounds=1))
    ['long', 'short']
    """
    times = [{name: seconds(fn, at_least=0, runs=1) for name, fn in fns.items()} for _ in range(rounds)]
    return {name: min(found[name] for found in times) for name in fns}


class Stack:
    """`copies` linears of (size, size) weights, apart in memory and held three ways; a step goes through all of them.

    Several copies, so that the weights do not stay in a cache from one step to the next.
    """

    def __init__(self, size: int = 2048, copies: int = 32) -> None:
        w = torch.randn(size, size, generator=torch.Generator().manual_seed(0)) * 0.02
        self.size, self.copies = size, copies
        self.q = quantize(w, Scheme.int(4, symmetric="full", group=GROUP, scale_dtype=torch.bfloat16))
        self.weights = [self.q.dequantize().bfloat16() for _ in range(copies)]
        self.packed = [_packed(self.q) for _ in range(copies)]
        self.fused = _fused(self.q, copies)
        self._unpacked = torch.empty(size, size, dtype=torch.bfloat16)
        self._bytes = torch.empty(size * size // 2, dtype=torch.int32)  # made once: only the traffic shall count
        self._table = _table()
        self._onednn: dict[int, bool] = {}

    def ways(self) -> dict[str, Callable[[Tensor], list[Tensor]]]:
        """Name -> function x (batch, size) -> the products of all copies; no "fused" where torch has no such kernel."""
        fused = getattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu", None)
        found = {
            "16 bits": lambda x: self._products(x, self.weights),
            "4 bits, fused": lambda x: [fused(x, p, GROUP, s) for p, s in self.fused],
            "4 bits, unpack first": lambda x: self._products(x, map(self._unpack, self.packed)),
        }
        return found if self.fused else {name: run for name, run in found.items() if "fused" not in name}

    def inputs(self, batch: int) -> Tensor:
        """Some x (batch, size) in 16 bits."""
        return torch.randn(batch, self.size, generator=torch.Generator().manual_seed(1)).bfloat16()

    def weight_bytes(self, way: str) -> int:
        """Bytes of the weights as that way stores them."""
        return self.copies * (2 * self.size**2 if way == "16 bits" else self.q.nbytes)

    def traffic_bytes(self, way: str) -> int:
        """Bytes of weights moved in a step: "unpack first" reads codes, writes 16-bit weights, reads them again."""
        again = 2 * 2 * self.size**2 * self.copies if way.endswith("unpack first") else 0
        return self.weight_bytes(way) + again

    def race(self, batches: Sequence[int] = (1, 4, 16, 64)) -> list[Timing]:
        """Every way at every batch, on one core."""
        runs, found = self.ways(), []
        with one_core():
            for batch in batches:
                x, flops = self.inputs(batch), 2 * self.copies * self.size**2 * batch
                took = side_by_side({name: partial(run, x) for name, run in runs.items()}, rounds=3)
                found += [
                    Timing(name, batch, self.weight_bytes(name), self.traffic_bytes(name), flops, took[name])
                    for name in took
                ]
        return found

    def _products(self, x: Tensor, weights: Iterable[Tensor]) -> list[Tensor]:
        """x (batch, size) times 16-bit weights, by the faster of torch's two bfloat16 products at this batch.

        oneDNN's may take more than twice as long as torch's own at batch 1, and the other way round at 64; a race
        against the slower one would flatter the 4-bit kernel.
        """
        batch, few = x.shape[0], self.weights[: max(1, self.copies // 8)]
        if batch not in self._onednn:
            took = side_by_side({switch: partial(_multiply, x, few, switch) for switch in (True, False)})
            self._onednn[batch] = took[True] <= took[False]
        return _multiply(x, weights, self._onednn[batch])

    def _unpack(self, packed: Tensor) -> Tensor:
        """Codes (rows, cols/2) -> weights (rows, cols): a table turns a byte into two numbers, then the scales."""
        pairs = self._unpacked.view(torch.int32).view(-1)
        torch.index_select(self._table, 0, self._bytes.copy_(packed.view(-1)), out=pairs)
        self._unpacked.view(self.size, -1, GROUP).mul_(self.q.scale[..., None])
        return self._unpacked


class UnpackEachTime(nn.Module):
    """A linear that keeps its codes packed and unpacks all of them whenever it is called: small, and slow.

    >>> layer = UnpackEachTime(quantize(torch.tensor([[0.15, -1.22, 2.40, -0.45]]), Scheme.int(4)))
    >>> print(f"{layer(torch.ones(1, 4)).item():.3f}", layer.packed.tolist())
    0.686 [[72, 127]]
    """

    def __init__(self, q: QTensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.offset = 2 ** (q.scheme.bits - 1) if q.scheme.symmetric is True else 0
        self.packed = pack(q.codes, q.scheme.bits, offset=self.offset)
        self.q = replace(q, codes=torch.empty_like(q.codes, device="meta"))  # all but the codes
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        codes = unpack(self.packed, self.q.scheme.bits, self.q.codes.shape[-1], offset=self.offset)
        return nn.functional.linear(x, replace(self.q, codes=codes).dequantize().to(x.dtype), self.bias)


def unpack_each_time(model: nn.Module, scheme: Scheme) -> nn.Module:
    """A copy of `model` whose linears (but the head) are stored packed and unpacked at every step."""
    from course_lib.calibrate.targets import linears_of

    result = copy.deepcopy(model)
    for name, linear in linears_of(model).items():
        parent, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(parent), leaf, UnpackEachTime(quantize(linear.weight, scheme), linear.bias))
    return result


@contextmanager
def one_core() -> Iterator[None]:
    """torch on one thread and without gradients, then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def _multiply(x: Tensor, weights: Iterable[Tensor], onednn: bool) -> list[Tensor]:
    """x @ w.T for every w, with torch's use of oneDNN switched on or off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of Intel GPUs when this switch is touched
        with torch.backends.mkldnn.flags(enabled=onednn):
            return [x @ w.T for w in weights]


def _packed(q: QTensor) -> Tensor:
    return pack(q.codes, 4)


def _table() -> Tensor:
    """256 entries, each two bfloat16 numbers in one int32: what the two 4-bit codes of a byte stand for, z = 8."""
    byte = torch.arange(256)
    pairs = torch.stack((byte & 15, byte >> 4), -1) - 8
    return pairs.bfloat16().view(torch.int32).flatten()


def _fused(q: QTensor, copies: int) -> list[tuple[Tensor, Tensor]]:
    """Codes and scales as torch's own 4-bit CPU kernel wants them; empty where this torch has none."""
    scales = torch.stack((q.scale, torch.zeros_like(q.scale)), -1).transpose(0, 1).contiguous()  # (groups, out, 2)
    try:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.codes.int(), 1)
        torch.ops.aten._weight_int4pack_mm_for_cpu(torch.ones(1, q.shape[1]).bfloat16(), packed, GROUP, scales)
    except (AttributeError, NotImplementedError, RuntimeError):
        return []
    return [(packed.clone(), scales.clone()) for _ in range(copies)]
