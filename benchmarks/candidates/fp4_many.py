"""A candidate for `course_lib.kernels.fp4`: one matrix product in a turn, NVFP4 in runs of 32. Not timed yet.

    python benchmarks/candidates/fp4_many.py table      what the machine code says, on any machine
    python benchmarks/candidates/fp4_many.py compile    fill Triton's cache, on a machine with a GPU
    python benchmarks/candidates/fp4_many.py run        check it, time it beside the present kernel and torch

What `w4a16_many` says holds here, too. A profile of the present kernel, NVFP4 and 64 tokens, shows a queue at the unit
that loads: x comes in tiles of 16 columns, 8 bytes a copy, 12 groups of copies a turn; and eight products, each waited
for. Here

- a block is one operand of 128 columns; x comes 16 bytes a copy, in 3 groups a turn;
- NVFP4's two scales of a run are a tile (rows, 2), spread over 2 × 16 columns by a broadcast and a reshape. For the
  matrix units a register belongs to one half, so nothing moves and nothing is chosen. With `tl.where` over the columns
  instead, the compiler laid out the joined tile first and moved it through shared memory;
- from 65 tokens on tiles of 256 rows and 128 tokens, rows in parts.

| tokens, rows, warps, stages | registers | instructions a weight, MXFP4, NVFP4 (present) |
|---|---|---|
| 64, 256, 8, 4 | 215, 221 | 4.2, 4.6 (5.1, 5.8) |
| 64, 128, 8, 4 | 119, 117 | 5.0, 5.5 |
| 128, 256, 8, 3 | 255, 255 | 4.5, 4.8 |
| 1, 64, 2, 4 | 92, 96 | 4.1, 4.5 (4.2, 4.7) |

Expected µs (present, H200; torch), MXFP4 and NVFP4: 64 tokens 65 and 68 (82, 124; 122): 4.2 instructions a weight take
34, x and weights from L2 43; 128 tokens 100 (274, 398; 127); 512 tokens 370 (torch 304); one token 46 and 49 (53, 61).
The winner moves into `fp4`; what is left here is deleted.
"""

from __future__ import annotations

import many
import torch
import triton
import triton.language as tl

from course_lib.kernels.fp4 import PackedFp4, decode
from course_lib.kernels.gemm import finish
from course_lib.kernels.measure import families

VARIANTS = {  # C is 32
    64: [((64, 256, 32, 4, 8, 4), 66), ((64, 128, 32, 4, 8, 4), 70), ((64, 64, 32, 4, 4, 3), 75)],
    128: [((128, 256, 32, 3, 8, 4), 100), ((64, 256, 32, 4, 8, 2), 115)],
    512: [((128, 256, 32, 3, 16, 1), 370), ((128, 256, 32, 3, 8, 1), 370)],
    16: [((16, 64, 32, 4, 4, 4), 50), ((16, 128, 32, 4, 8, 4), 50)],
    1: [((8, 64, 32, 4, 2, 8), 47), ((8, 128, 32, 4, 4, 8), 47), ((8, 64, 32, 4, 4, 4), 48)],
}


@triton.jit
def scale_of(four, j: tl.constexpr, MX: tl.constexpr, dtype: tl.constexpr):
    """As `fp4.run_scale`, in the shape of `four`."""
    byte = (four >> (8 * j)) & 255
    if MX:
        s = tl.where(byte == 255, float("nan"), (byte << 23).to(tl.float32, bitcast=True))
        s *= 2.0**117 if dtype == tl.bfloat16 else 2.0**14
    else:
        s = byte.to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float32)
        s *= 2.0**117 if dtype == tl.bfloat16 else 2.0**5
    return s.to(dtype)


@triton.jit
def decode_run(w, four, j: tl.constexpr, MX: tl.constexpr, dtype: tl.constexpr):
    """Run j of a block: halfwords (rows, 32), bytes of scales (rows, halves)."""
    s = scale_of(four, j, MX, dtype)
    s = tl.broadcast_to(s[:, :, None], (s.shape[0], s.shape[1], 32 // s.shape[1]))
    return decode(w, j, tl.reshape(s, w.shape), dtype)


@triton.jit
def wide(x, halves, scale, row, y, partial, locks, m, n, k, MX: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
         STAGES: tl.constexpr, EVEN: tl.constexpr, SPLIT: tl.constexpr):  # fmt: skip
    """x (m, k), halves (blocks, n, 32) -> y (m, n): a block of four runs in a turn of the loop.
    EVEN: whole blocks and whole tiles of rows."""
    dtype: tl.constexpr = x.dtype.element_ty
    HALVES: tl.constexpr = 1 if MX else 2
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    here = rows if EVEN else tl.minimum(rows, n - 1)  # rows beyond the last are read again, not stored
    blocks = tl.cdiv(k, 128)
    each = tl.cdiv(blocks, tl.num_programs(2))
    first = tl.program_id(2) * each
    end = tl.minimum(first + each, blocks)
    tl.assume(first < end)  # or every matrix instruction waits for itself
    within = here[:, None] * 32 + tl.arange(0, 32)[None, :]
    scales = tl.arange(0, HALVES)[None, :] * n + here[:, None]
    acc = tl.zeros((BN, BM), tl.float32)
    for b in tl.range(first, end, num_stages=STAGES):
        w = tl.load(halves + b * n * 32 + within)
        four = tl.load(scale + b * n * HALVES + scales)
        low = tl.join(decode_run(w, four, 0, MX, dtype), decode_run(w, four, 1, MX, dtype))
        high = tl.join(decode_run(w, four, 2, MX, dtype), decode_run(w, four, 3, MX, dtype))
        weights = tl.reshape(tl.permute(tl.join(low, high), (0, 3, 2, 1)), (BN, 128))
        c = tl.arange(0, 128)
        inside = (tokens < m)[None, :] if EVEN else (tokens < m)[None, :] & (b * 128 + c < k)[:, None]
        v = tl.load(x + b * 128 + (tokens[None, :] * k + c[:, None]), mask=inside, other=0.0)
        acc = tl.dot(weights, v, acc, input_precision="ieee")
    acc *= tl.load(row + here)[:, None] * (2.0**9 if dtype == tl.bfloat16 or not MX else 1.0)
    finish(acc, y, partial, locks, tokens, rows, m, n, SPLIT)


def run(x: torch.Tensor, packed: PackedFp4, how: dict) -> torch.Tensor:
    """x (m, k) contiguous, bfloat16 or float16 -> y (m, n)."""
    m, (n, k), how = len(x), packed.shape, {key: value for key, value in how.items() if key != "C"}
    rows, columns, blocks, parts = -(-n // how["BN"]), -(-m // how["BM"]), -(-k // 128), how.pop("parts")
    parts = -(-blocks // -(-blocks // parts)) if rows * columns <= len(packed.locks) else 1  # none of them empty
    y = x.new_empty((m, n))
    partial = y if parts == 1 else x.new_empty((parts, m, n), dtype=torch.float32)
    wide[(columns, rows, parts)](
        x, packed.words.view(torch.int16), packed.scale, packed.row, y, partial, packed.locks, m, n, k,
        MX=packed.block == 32, **how, EVEN=k % 128 == 0 and n % how["BN"] == 0, SPLIT=parts > 1)  # fmt: skip
    return y


def build(name: str, how: dict):
    from course_lib.kernels.compiled import builds

    known = {key: how[key] for key in ("BM", "BN", "STAGES")}
    known |= {"MX": name == "mxfp4", "EVEN": True, "SPLIT": how["parts"] > 1}
    signature = builds.GEMM | builds.BF16 | {"scale": "*i32", "row": "*fp32"}
    del signature["zero"]
    about = f"{name} {tuple(how.values())}"
    return builds.Build(about, "", signature, known, how["BN"] * 128, how["num_warps"], True)


def load() -> many.Candidate:
    found = {name: families.four_bit_floats(name, block) for name, block in (("mxfp4", 32), ("nvfp4", 16))}
    return many.Candidate(wide, found, VARIANTS, run, build)


if __name__ == "__main__":
    many.main(load)
