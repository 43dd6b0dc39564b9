"""Times on a GPU: medians of CUDA graphs, and the two ceilings of the same run (copy bandwidth, bf16 matmul)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch

ROTATE = 200e6  # bytes that the calls of one graph read in turn: several times the L2 cache of an H200 (60 MB)


def microseconds(calls: Sequence[Callable[[], object]], budget_ms: float = 30.0, repeats: int = 9) -> float:
    """Median over `repeats` graphs' replays of the time of one call, in µs; each replay runs all calls in turn.

    A graph leaves out the time that Python and the launches take: what remains is the kernels and the gaps between
    them. Give calls that read different weights, more than ROTATE bytes in all, or the cache is what is measured.
    """
    graph = captured(calls)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def replay(times: int) -> float:
        start.record()
        for _ in range(times):
            graph.replay()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / times

    once = replay(1)
    times = max(1, int(budget_ms / repeats / max(once, 1e-3)))
    return 1e3 * statistics.median(replay(times) for _ in range(repeats)) / len(calls)


def captured(calls: Sequence[Callable[[], object]]) -> torch.cuda.CUDAGraph:
    """The calls as one graph, after each has run once outside of it (compilation, autotuning)."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())  # what the calls read may still be in the making
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def copy_bandwidth(size: int = 2**31) -> float:
    """Bytes a second, read and written, of the quicker of two ways to copy `size` bytes on the device.

    The driver's copy and a kernel that negates: inside a graph the first reached 2.8 TB/s on an H200, where reading
    weights ran at 4.1.
    """
    source = torch.randint(0, 255, (size // 4,), dtype=torch.int32, device="cuda")
    target = torch.empty_like(source)
    ways = [lambda: target.copy_(source), lambda: torch.neg(source, out=target)]
    return 2 * size / (min(microseconds([way]) for way in ways) * 1e-6)


def matmul_flops(n: int = 8192) -> float:
    """Operations a second of a bf16 product of two random n × n matrices in torch."""
    a, b = (torch.randn(n, n, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / (microseconds([lambda: torch.mm(a, b, out=out)]) * 1e-6)
