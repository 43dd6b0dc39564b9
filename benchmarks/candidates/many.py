"""What the two candidates for many tokens share: the table of their machine code, how they are compiled and timed."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

if "table" in sys.argv[1:]:
    os.environ["TRITON_INTERPRET"] = "0"

import torch
from torch import Tensor

from course_lib.kernels.measure import clock, families

N, K = 8192, 28672
NAMES = ("BM", "BN", "C", "STAGES", "num_warps", "parts")  # C: halfwords of a run in a tile


@dataclass(frozen=True)
class Candidate:
    """A kernel, and the launches that are to be tried: {tokens: [(the values of NAMES, expected µs), …]}."""

    kernel: object
    families: dict[str, families.Family]  # whose `run` is the present kernel
    variants: dict[int, list[tuple[tuple, float]]]
    run: Callable[[Tensor, object, dict], Tensor]  # x, weight, launch -> y
    build: Callable[[str, dict], object]  # family, launch -> Build

    def jobs(self) -> list[tuple[str, int, dict, float]]:
        """(family, tokens, launch, expected), the most hopeful of each first."""
        made = [(at, name, m, dict(zip(NAMES, how, strict=True)), expected) for m, ways in self.variants.items()
                for at, (how, expected) in enumerate(ways) for name in self.families]  # fmt: skip
        return [job[1:] for job in sorted(made, key=lambda job: job[0])]


def table(candidate: Candidate) -> list:
    """Each launch compiled ahead of time for sm_90."""
    from course_lib.kernels.compiled import aot

    found = []
    for name, m, how, _ in candidate.jobs():
        found.append(aot.compile_kernel(candidate.kernel, candidate.build(name, how), "sm_90"))
        print(f"{m:4} {found[-1].row}", flush=True)
    return found


def error(candidate: Candidate, name: str, m: int, how: dict, weight) -> float:
    """Relative error against float64, outputs poisoned."""
    family = candidate.families[name]
    x = torch.randn(m, weight.shape[1], dtype=family.dtype, device=families.DEVICE)
    with families.poisoned():
        return families.close(candidate.run(x, weight, how), family.exact(x, weight))


def small(job: tuple) -> str:
    """Compile one launch and check it on a small weight; what is wrong, in words."""
    load, at = job
    candidate = load()
    name, m, how, _ = candidate.jobs()[at]
    try:
        off = error(candidate, name, m, how, candidate.families[name].draw(1024, 4096))
        return "" if off < families.limit(torch.bfloat16) else f"{name} {m} {how}: error {off:.4f}"
    except Exception as wrong:
        return f"{name} {m} {how}: {wrong!r}"[:160]


def compile_all(load: Callable[[], Candidate]) -> None:
    candidate = load()
    with multiprocessing.get_context("spawn").Pool(12) as pool:
        for words in pool.imap_unordered(small, [(load, i) for i in range(len(candidate.jobs()))]):
            if words:
                print(words, flush=True)


def microseconds(call: Callable[[Tensor, object], Tensor], x: Tensor, weights: list) -> float:
    return clock.microseconds([partial(call, x, weight) for weight in weights], budget_ms=15.0, repeats=5)


def run(candidate: Candidate) -> None:
    """Check at full size, then time beside the present kernel and torch's bf16 product."""
    dense = [torch.randn(N, K, dtype=torch.bfloat16, device="cuda")]  # far larger than the cache
    weights = {name: families.in_rotation(family.draw(N, K)) for name, family in candidate.families.items()}
    for m in candidate.variants:
        x = torch.randn(m, K, dtype=torch.bfloat16, device="cuda")
        best = microseconds(torch.nn.functional.linear, x, dense)
        print(f"{m} tokens: torch {best:.1f} us", flush=True)
        for name, lying in weights.items():
            us = microseconds(candidate.families[name].run, x, lying)
            print(f"  {name:12} present {us:35.1f} {best / us:5.2f}", flush=True)
            for _, _, how, expected in (job for job in candidate.jobs() if job[:2] == (name, m)):
                words = f"  {name:12} {str(tuple(how.values())):34}"
                try:
                    off = error(candidate, name, m, how, lying[0])
                    us = microseconds(partial(candidate.run, how=how), x, lying)
                    print(f"{words} {us:8.1f} {best / us:5.2f}, expected {expected}, error {off:.4f}", flush=True)
                except Exception as wrong:
                    print(words, repr(wrong)[:80], flush=True)


def main(load: Callable[[], Candidate]) -> None:
    """`load`, a function at the top of a module, makes the candidate: processes that compile call it, too.
    Numbers of tokens behind `table` or `run` choose among the launches."""
    if sys.argv[1:] == ["compile"]:
        compile_all(load)
    else:
        candidate = load()
        chosen = {m: ways for m, ways in candidate.variants.items() if str(m) in sys.argv[2:] or not sys.argv[2:]}
        {"table": table, "run": run}[sys.argv[1]](replace(candidate, variants=chosen))
