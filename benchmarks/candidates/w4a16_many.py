"""A candidate for `course_lib.kernels.gemm` from 33 tokens on: one matrix product in a turn. Not timed yet.

    python benchmarks/candidates/w4a16_many.py table      what the machine code says, on any machine
    python benchmarks/candidates/w4a16_many.py compile    fill Triton's cache, on a machine with a GPU
    python benchmarks/candidates/w4a16_many.py run        check it, time it beside the present kernel and torch

A profile of the present kernel at 512 tokens (benchmarks/kernels_notes.md) shows warps that wait: for the next tile
(two stages: its loads are issued at the end of one turn and awaited at the start of the next), for the scales of a run,
and for each matrix instruction. Of a loop with four products Triton leaves only the last one running, and of this one
ptxas lets none run (its remark C7515). Here

- the four runs of a tile are joined into one operand of 4 C columns. In the layout of the matrix units its columns are
  the registers that the four hold already: nothing moves. The one product of a turn stays under way while the next
  weights are decoded. x is read in the same order, in runs of C columns;
- `tl.assume(first < end)`: a way around the loop would define the sums beside the running product, which is why ptxas
  made every matrix instruction wait for itself. `run` gives no program an empty part;
- the scales of the four runs are a tile (rows, 4): wide enough for an asynchronous copy, they arrive with the weights;
- tiles of 256 rows and 128 tokens, three stages: x is read from L2 n/256 times.

| tokens, rows × C, warps, stages | registers | shared memory | instructions a weight (present) |
|---|---|---|---|
| 128, 256 × 32, 16, 3 | 128 | 135 KB | 4.0 (3.6) |
| 128, 256 × 32, 8, 3 | 255 | 135 KB | 3.2 |
| 64, 256 × 32, 8, 4 | 210 | 121 KB | 3.0 (4.6) |
| 64, 128 × 64, 8, 3 | 177 | 133 KB | 3.2 |

Nothing spills but 2 to 10 registers of 16 warps that share rows in parts, outside the loop. Matrix instructions that
wait for themselves: none; 16 of 16 a turn in the present kernel. Triton 3.6 cuts the product into pieces of 16 columns
and keeps all but one of them under way, 3.7 into halves.

Expected µs (present, H200; torch): 512 tokens 330 (469; 304): the matrix units alone need 253 at 1.75 GHz, L2 gives
1.4 GB in 260, and instructions fill half of what can be issued. 256: 180 (235; 172), 128: 95 (121; 127), 64: 58 (88;
125): there 240 MB from L2 take 43, the weights from memory 29. The winner moves into `gemm`, where it replaces SCALED;
what is left here is deleted.
"""

from __future__ import annotations

import many
import torch
import triton
import triton.language as tl

from course_lib.kernels import packing
from course_lib.kernels.gemm import decode, finish
from course_lib.kernels.measure import families

VARIANTS = {
    512: [((128, 256, 32, 3, 16, 1), 330), ((128, 256, 32, 3, 8, 1), 340), ((256, 128, 32, 3, 8, 1), 370)],
    256: [((128, 256, 32, 3, 8, 2), 180), ((128, 256, 32, 3, 16, 2), 180)],
    128: [((128, 256, 32, 3, 8, 4), 95), ((128, 256, 32, 3, 16, 4), 95), ((64, 128, 64, 3, 8, 1), 120)],
    64: [((64, 256, 32, 4, 8, 4), 58), ((64, 128, 64, 3, 8, 2), 65), ((64, 128, 32, 4, 8, 4), 65)],
    32: [((32, 128, 64, 4, 8, 2), 52), ((32, 256, 32, 4, 8, 4), 48)],
    16: [((16, 64, 64, 4, 4, 3), 42), ((16, 128, 64, 4, 8, 2), 45)],
}


@triton.jit
def columns(tile):
    """The four columns of a tile (rows, 4)."""
    low, high = tl.split(tl.permute(tl.reshape(tile, (tile.shape[0], 2, 2)), (0, 2, 1)))
    a, b = tl.split(low)
    c, d = tl.split(high)
    return a[:, None], b[:, None], c[:, None], d[:, None]


@triton.jit
def wide(x, halves, scale, zero, y, partial, locks, m, n, k, R: tl.constexpr, RUNS: tl.constexpr,
         HAS_ZERO: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, C: tl.constexpr, STAGES: tl.constexpr,
         EVEN: tl.constexpr, SPLIT: tl.constexpr):  # fmt: skip
    """x (m, k), halves (blocks, n, R) -> y (m, n): C halfwords of BN rows, 4 C weights of each, in a turn.
    EVEN: whole blocks and whole tiles of rows."""
    dtype: tl.constexpr = x.dtype.element_ty
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    here = rows if EVEN else tl.minimum(rows, n - 1)  # rows beyond the last are read again, not stored
    tiles = tl.cdiv(k, 4 * R) * (R // C)
    each = tl.cdiv(tiles, tl.num_programs(2))
    first = tl.program_id(2) * each
    end = tl.minimum(first + each, tiles)
    tl.assume(first < end)
    within = here[:, None] * R + tl.arange(0, C)[None, :]
    spread = tl.arange(0, 4 * C) // C * R + tl.arange(0, 4 * C) % C
    acc = tl.zeros((BN, BM), tl.float32)
    for turn in tl.range(first, end, num_stages=STAGES):
        b, start = turn // (R // C), turn % (R // C) * C
        w = tl.load(halves + b * n * R + start + within)
        run = 4 * b + tl.arange(0, 4)
        at = (run if EVEN else tl.minimum(run, tl.cdiv(k, R) - 1)) // RUNS * n
        s0, s1, s2, s3 = columns(tl.load(scale + at[None, :] + here[:, None]))
        if HAS_ZERO:
            z0, z1, z2, z3 = columns(tl.load(zero + at[None, :] + here[:, None]))
        else:
            z0 = tl.full((1, 1), 8, tl.float16)
            z1, z2, z3 = z0, z0, z0
        low = tl.join(decode(w, 0, z0, s0, True, dtype), decode(w, 1, z1, s1, True, dtype))
        high = tl.join(decode(w, 2, z2, s2, True, dtype), decode(w, 3, z3, s3, True, dtype))
        weights = tl.reshape(tl.permute(tl.join(low, high), (0, 3, 2, 1)), (BN, 4 * C))
        column = b * 4 * R + start
        inside = (tokens < m)[None, :] if EVEN else (tokens < m)[None, :] & (column + spread < k)[:, None]
        v = tl.load(x + column + (tokens[None, :] * k + spread[:, None]), mask=inside, other=0.0)
        acc = tl.dot(weights, v, acc, input_precision="ieee")
    finish(acc, y, partial, locks, tokens, rows, m, n, SPLIT)


def run(x: torch.Tensor, packed: packing.PackedInt4, how: dict) -> torch.Tensor:
    """x (m, k) contiguous, bfloat16 or float16 -> y (m, n)."""
    m, (n, k), how = len(x), packed.shape, dict(how)
    how["C"] = min(how["C"], packed.run)
    rows, columns, parts = -(-n // how["BN"]), -(-m // how["BM"]), how.pop("parts")
    tiles = len(packed.words) * packed.run // how["C"]
    parts = -(-tiles // -(-tiles // parts)) if rows * columns <= len(packed.locks) else 1  # none of them empty
    y = x.new_empty((m, n))
    partial = y if parts == 1 else x.new_empty((parts, m, n), dtype=torch.float32)
    scale = packed.scale.to(x.dtype)
    wide[(columns, rows, parts)](
        x, packed.words.view(torch.int16), scale, scale if packed.zero is None else packed.zero, y, partial,
        packed.locks, m, n, k, **packing.arguments(packed), **how,
        EVEN=k % (4 * packed.run) == 0 and n % how["BN"] == 0, SPLIT=parts > 1)  # fmt: skip
    return y


def build(name: str, how: dict):
    from course_lib.kernels.compiled import builds

    known = {"R": 128, "RUNS": 1, "HAS_ZERO": False, "EVEN": True, "SPLIT": how["parts"] > 1}
    known |= {key: how[key] for key in ("BM", "BN", "C", "STAGES")}
    about = f"{name} {tuple(how.values())}"
    return builds.Build(about, "", builds.GEMM | builds.BF16, known, how["BN"] * 4 * how["C"], how["num_warps"], True)


def load() -> many.Candidate:
    found = {"w4a16-g128": families.int4("-g128")}
    return many.Candidate(wide, found, VARIANTS, run, build)


if __name__ == "__main__":
    many.main(load)
