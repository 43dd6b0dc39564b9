"""A candidate for `course_lib.kernels.kv`: decode attention whose loads run ahead. Not timed yet.

    python benchmarks/candidates/kv.py table      what the machine code says, on any machine
    python benchmarks/candidates/kv.py compile    fill Triton's cache, on a machine with a GPU
    python benchmarks/candidates/kv.py run        check against float64, then time beside the present kernel and torch

A profile of the present kernel on an H200 (benchmarks/kernels_notes_other.md) shows warps that wait for global memory:
a third of their time at 8 bits, more than half at 4. A tile's loads are issued at the end of the turn before, into the
one buffer that is free only then, and an instruction right behind them waits. Here

- two tiles are on their way while one is worked on (STAGES=3). The page comes from the turn before, so that no load
  waits for a load; values are read in the order in which the matrix units take them, so that they go to shared memory
  packed, by asynchronous copies as keys do, and not through registers;
- a fifth to a third fewer instructions. Zeros and lifts are taken off sums, once a page or a token, not off codes; log2
  of a value's scale rides on the score; 4 query heads stand twice in the 8 columns of a matrix instruction, and the
  softmax takes one of each pair; exp2, log2 and 1/x are one instruction each;
- the tokens of a head lie together (`by_head`; pages are seen as before, but lie as (pages, heads, size, …)): a tile is
  one piece, and the scales of 64 values are 8 sectors of 32 bytes, not 64. The kernel reads either order;
- the kernel that adds the parts has four times the programs, and is launched while the last parts are computed.

| one turn, sm_90, Triton 3.7.1 | warps | registers | shared memory | instructions a code |
|---|---|---|---|---|
| present, fp8: 64 tokens, two stages | 2 | 231 | 18.9 KB | 3.9 |
| present, int4: 32 tokens, one stage | 1 | 248 | 2.0 KB | 3.4 |
| fp8, int8: 32 tokens | 1 | 215 | 20.0 KB | 3.0 |
| fp8, int8: 64 tokens | 2 | 217 | 36.9 KB | 2.8 |
| int4: 32 tokens | 1 | 188 | 11.3 KB | 2.7 |
| int4: 64 tokens | 1 | 251 | 20.5 KB | 2.3 |
| int4: 64 tokens | 2 | 143 | 20.5 KB | 2.7 |

Nothing spills. With Triton 3.6 the loops are up to 7 % longer. Copy speed leaves 7 instructions a byte, 3.5 a nibble.

Expected µs (present, H200): 8 × 32k tokens fp8 148 (183), int4 92 (163); 1 × 32k 25 (33), 18 (33); 1 × 128k 80 (97), 50
(107). The bytes alone take 139, 75; 17, 9; 69, 38 at a copy's 4.23 TB/s; launches and the parts of 1 × 32k take 5 to 8.
The winner moves into course_lib/kernels, `by_head` into `kvcache.page_store`, `kv_contest.draw` and the decode bench's
pages; what is left here is deleted.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from dataclasses import replace

if "table" in sys.argv[1:]:
    os.environ["TRITON_INTERPRET"] = "0"

import torch
import triton
from kv_kernel import attend, together
from torch import Tensor

from course_lib.kernels import digits, fused, kv
from course_lib.kernels.kv_pages import KINDS, Pages
from course_lib.kernels.measure import clock, families, kv_contest

BYTES, NIBBLES = ("kv_fp8", "kv_int8"), ("kv_int4",)
VARIANTS = {  # tokens at a time, stages, warps, programs on a multiprocessor
    name: (kinds, dict(zip(("T", "STAGES", "num_warps", "resident"), how, strict=True)) | more)
    for name, kinds, how, more in (
        ("32 tokens", BYTES + NIBBLES, (32, 3, 1, 9), {}),
        ("32 tokens, three ahead", BYTES, (32, 4, 1, 7), {}),
        ("64 tokens, two warps", BYTES, (64, 3, 2, 5), {}),
        ("64 tokens", NIBBLES, (64, 3, 1, 8), {}),
        ("64 tokens, two warps, 4 bits", NIBBLES, (64, 3, 2, 6), {}),
        ("32 tokens, 168 registers", NIBBLES, (32, 3, 1, 12), {"maxnreg": 168}),
    )
}
PRESENT = {BYTES: {"T": 64, "STAGES": 2, "num_warps": 2, "resident": 4},
           NIBBLES: {"T": 32, "STAGES": 1, "num_warps": 1, "resident": 12}}  # fmt: skip
POINTS = ((1, 32768), (1, 131072), (8, 32768))


def by_head(pages: Pages) -> Pages:
    """The same pages, with the tokens of a head together in memory."""
    named = ("keys", "values", "value_scale", "value_zero")
    return replace(pages, **{n: getattr(pages, n).transpose(1, 2).contiguous().transpose(1, 2) for n in named})


def constants(pages: Pages, shared: int, asm: bool, pdl: bool) -> dict:
    _, size, heads, stored = pages.keys.shape
    bits = KINDS[pages.keys.dtype]
    return {"HEADS": heads, "SHARED": shared, "G": 4 if shared <= 4 else max(8, triton.next_power_of_2(shared)),
            "D": stored * 8 // bits, "SIZE": size, "BITS": bits, "SIGNED": pages.keys.dtype == torch.float8_e4m3fn,
            "BY_HEAD": pages.keys.transpose(1, 2).is_contiguous(), "ASM": asm, "PDL": pdl}  # fmt: skip


def attention(q: Tensor, pages: Pages, tile: dict, window: int | None = None, parts: int | None = None) -> Tensor:
    """What `kv.decode_attention` gives, for pages that lie in either order."""
    (sequences, query_heads, width), (count, size, heads, _) = q.shape, pages.keys.shape
    most = pages.table.shape[1]
    tile = tile | {"T": min(tile["T"], size)}
    parts = parts or kv.split(sequences * heads, most, 132 * tile["resident"])
    del tile["resident"]
    out = torch.empty((sequences, query_heads, parts, width), dtype=torch.float32, device=q.device)
    top, total = (torch.empty(out.shape[:-1], dtype=torch.float32, device=q.device) for _ in range(2))
    y = torch.empty_like(q)
    attend[(sequences, heads, parts)](
        q, pages.keys.view(torch.int16), pages.values.view(torch.int16), pages.key_scale, pages.key_zero,
        pages.value_scale, pages.value_zero, pages.table, pages.lengths, out, top, total, most, count, window or 2**30,
        math.log2(math.e) / math.sqrt(width), **constants(pages, query_heads // heads, digits.ASM, fused.PDL), **tile,
    )  # fmt: skip
    together[(sequences * query_heads, width // 32)](
        out, top, total, y, parts, P=triton.next_power_of_2(parts), D=width, C=32, PDL=fused.PDL, **fused.launch()
    )
    return y


def table() -> list:
    """Each variant compiled ahead of time for sm_90; the order of tokens and heads changes next to nothing."""
    from course_lib.kernels.compiled import aot, builds

    found = []
    for name, (kinds, tile) in VARIANTS.items():
        for kind in kinds:
            pages = by_head(kv_contest.draw(kind, 1, 64))
            build = builds.kv(kind[3:], KINDS[pages.keys.dtype])
            known = constants(pages, 4, True, True) | {"T": tile["T"], "STAGES": tile["STAGES"]}
            signature = {n: t for n, t in build.signature.items() if n != "heads"}
            about = replace(build, name=f"{kind[3:]}, {name}", signature=signature, constants=known,
                            weights=2 * 128 * tile["T"], warps=tile["num_warps"])  # fmt: skip
            found.append(aot.compile_kernel(attend, about, "sm_90"))
            print(found[-1].row, flush=True)
    return found


def compile_one(job: tuple[str, str, bool]) -> None:
    name, kind, order = job
    pages = kv_contest.draw(kind, 1, 4096)
    for parts in (4, 16, 18, 79):
        q = torch.randn(1, 32, 128, dtype=torch.bfloat16, device="cuda")
        attention(q, by_head(pages) if order else pages, VARIANTS[name][1], parts=parts)


def jobs() -> list[tuple[str, str, bool]]:
    return [(name, kind, order) for name, (kinds, _) in VARIANTS.items() for kind in kinds for order in (True, False)]


def compile_all() -> None:
    with multiprocessing.get_context("spawn").Pool(12) as pool:
        pool.map(compile_one, jobs(), chunksize=1)


def right(kind: str) -> list[tuple[str, str, bool]]:
    """The jobs of this kind that agree with float64; the others are printed."""
    torch.manual_seed(1)
    found = []
    with families.poisoned():
        pages = kv_contest.draw(kind, 3, 5000)
        pages.lengths.copy_(5000 - torch.arange(3, device="cuda") * 1300)
        q = torch.randn(3, 32, 128, dtype=torch.bfloat16, device="cuda")
        exact = kv_contest.exact(q, pages, kind)
        for name, _, order in (job for job in jobs() if job[1] == kind):
            error = families.close(attention(q, by_head(pages) if order else pages, VARIANTS[name][1]), exact)
            found += [(name, kind, order)] if error < 2**-6 else []
            print(f"{kind} {name}, {'by head' if order else 'by token'}: error {error:.4f}", flush=True)
    return found


def run() -> None:
    good = {kind: right(kind) for kind in BYTES + NIBBLES}
    for point in POINTS:
        time_at(good, *point)


def time_at(good: dict, sequences: int, tokens: int) -> None:
    q = torch.randn(sequences, 32, 128, dtype=torch.bfloat16, device="cuda")
    best, way = kv_contest.time_torch(sequences, tokens)
    print(f"{sequences} x {tokens} tokens: torch ({way}) {best:.1f} us", flush=True)
    for kinds, tile in PRESENT.items():
        for kind in kinds:
            lying = families.in_rotation(kv_contest.draw(kind, sequences, tokens))
            calls = [lambda p=p, tile=tile: kv.launch(q, p, None, None, dict(tile)) for p in lying]
            print(f"  {kind:8} present {clock.microseconds(calls):26.1f}", flush=True)
            turned = families.in_rotation(by_head(lying[0]))
            for name, _, order in good[kind]:
                how = VARIANTS[name][1]
                calls = [lambda p=p, how=how: attention(q, p, how) for p in (turned if order else lying)]
                us = clock.microseconds(calls, budget_ms=15, repeats=5)
                print(f"  {kind:8} {name:28}{us:7.1f} {best / us:5.2f} {'by head' if order else ''}", flush=True)


if __name__ == "__main__":
    {"table": table, "compile": compile_all, "run": run}[sys.argv[1]]()
