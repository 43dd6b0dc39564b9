"""y = x Wᵀ on the matrix units, W in int4, for one token or many: W is unpacked in registers, where the units take it.

A matrix instruction takes its left operand from registers, 16 bits a number; so the weights are the left one and the
product is yᵀ = W xᵀ, which needs no more than 8 tokens on the right. A tile of packed halfwords is read as it lies;
nibble j of all of them is a tile of weights, and two neighbours share a register. `lop3` takes the nibbles of both and
puts them into the mantissa of 1024 in one instruction, (w & 0x000F000F) | 0x64006400; a multiply-add takes 1024 + z off
again, exactly: two instructions for two weights. bfloat16 has 7 bits of mantissa, so its nibbles go into 128's.

`gemm` sums the products of a group, then scales them. `wide`, for short groups, and for many tokens, where sums are
more than weights, scales each weight first: scale and weight are rounded to x's dtype, as those of a 16-bit model are.
Where there are few tiles, the row is cut into `parts`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from course_lib.kernels import ON_GPU, interpreter, packing  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.measure.tune import quickest
from course_lib.kernels.parts import counted, finish


def text(kind: str, shift: int, mask: int, magic: int, factor: int, less: str, scale: str) -> str:
    """PTX: $0 = (the nibbles of $1 under mask, in the mantissa of magic) · factor + less, times scale, if any."""
    m, a, f = (f"0x{value:04X}{value:04X}" for value in (mask, magic, factor))
    times = f"mov.b32 f, 0x80008000; fma.rn.{kind} $0, t, {scale}, f;"  # plus -0: sm_80 cannot mul.bf16x2
    return (
        f"{{ .reg .b32 t, f, z; shr.u32 t, $1, {shift}; lop3.b32 t, t, {m}, {a}, 0xEA; mov.b32 z, {less}; "
        f"mov.b32 f, {f}; fma.rn.{kind} {'t' if scale else '$0'}, t, f, z; {times if scale else ''} }}"
    )


def texts(scaled: bool, eight: bool = False) -> tuple[list[str], list[str]]:
    """A text for each nibble: float16 multiplies by 1 or 1/16, bfloat16 by 1. $2 is what comes off, and $3 the scale;
    with `eight` 1024 + 8 comes off (or 64 + 8, 128 + 8), and $2 is the scale."""
    scale, less = "$3" if scaled else "", ("$2",) * 3
    if eight:
        scale, less = "$2", ("0xE408E408", "0xD480D480", "0xC308C308")
    low, high = (0x000F, 0x6400, 0x3C00, less[0], scale), (0x00F0, 0x6400, 0x2C00, less[1], scale)
    half = [text("f16x2", shift, *which) for shift, which in ((0, low), (0, high), (8, low), (8, high))]
    return half, [text("bf16x2", 4 * j, 0x000F, 0x4300, 0x3F80, less[2], scale) for j in range(4)]


HALF, BFLOAT = (tl.constexpr(found) for found in texts(False))
HALF_SCALED, BFLOAT_SCALED = (tl.constexpr(found) for found in texts(True))
HALF_EIGHT, BFLOAT_EIGHT = (tl.constexpr(found) for found in texts(True, eight=True))


@triton.jit
def decode(w, j: tl.constexpr, z, dtype: tl.constexpr):
    """Nibble j of each halfword, less z, exactly."""
    if dtype == tl.float16:
        less = (-(1024 if j % 2 == 0 else 64) - z).to(tl.float16)  # the second, where the nibble counts sixteenfold
        return tl.inline_asm_elementwise(HALF[j], "=r,r,r", [w, less], tl.float16, True, 2)
    elif dtype == tl.bfloat16:
        return tl.inline_asm_elementwise(BFLOAT[j], "=r,r,r", [w, (-128 - z).to(tl.bfloat16)], tl.bfloat16, True, 2)
    else:
        return ((w.to(tl.int32) >> (4 * j)) & 15).to(tl.float32) - z  # 32 bits: see dequantize.int4


@triton.jit
def scaled(w, j: tl.constexpr, z, s, HAS_ZERO: tl.constexpr, dtype: tl.constexpr):
    """Nibble j of each halfword, less z (less 8 without zero points: a constant would fix a layout), times s."""
    if dtype == tl.float16:
        if HAS_ZERO:
            less = (-(1024 if j % 2 == 0 else 64) - z).to(tl.float16)
            return tl.inline_asm_elementwise(HALF_SCALED[j], "=r,r,r,r", [w, less, s], tl.float16, True, 2)
        else:
            return tl.inline_asm_elementwise(HALF_EIGHT[j], "=r,r,r", [w, s], tl.float16, True, 2)
    elif dtype == tl.bfloat16:
        if HAS_ZERO:
            less = (-128 - z).to(tl.bfloat16)
            return tl.inline_asm_elementwise(BFLOAT_SCALED[j], "=r,r,r,r", [w, less, s], tl.bfloat16, True, 2)
        else:
            return tl.inline_asm_elementwise(BFLOAT_EIGHT[j], "=r,r,r", [w, s], tl.bfloat16, True, 2)
    else:
        return decode(w, j, z if HAS_ZERO else 8.0, dtype) * s


@triton.jit
def load_group(scale, zero, run, rows, n, k, R: tl.constexpr, RUNS: tl.constexpr, HAS_ZERO: tl.constexpr):
    """Scale and zero of each row in the group of a run of R columns; beyond the row's end, those of its last."""
    at = tl.minimum(run, tl.cdiv(k, R) - 1) // RUNS * n + rows
    s = tl.load(scale + at)[:, None]
    z = tl.load(zero + at)[:, None] if HAS_ZERO else tl.full((1, 1), 8, tl.float16)
    return s, z


@triton.jit
def gemm(x, halves, scale, zero, y, partial, locks, m, n, k, R: tl.constexpr, RUNS: tl.constexpr,
         HAS_ZERO: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, C: tl.constexpr, U: tl.constexpr,
         STAGES: tl.constexpr, EVEN: tl.constexpr, SPLIT: tl.constexpr):  # fmt: skip
    """x (m, k), halves (blocks, n, R) -> y (m, n): C halfwords of BN rows at a time, U such tiles in a turn.
    EVEN: turns end where the row ends, so that no column needs a mask."""
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    here = tl.minimum(rows, n - 1)  # rows beyond the last are read again, not stored
    tiles = tl.cdiv(k, 4 * R) * (R // C)
    each = tl.cdiv(tiles, tl.num_programs(2) * U) * U
    first = tl.program_id(2) * each
    acc = tl.zeros((BN, BM), tl.float32)
    s, z = load_group(scale, zero, first // (R // C) * 4, here, n, k, R, RUNS, HAS_ZERO)
    for turn in tl.range(first, tl.minimum(first + each, tiles), U, num_stages=STAGES):
        for u in tl.static_range(U):
            b = (turn + u) // (R // C)
            c = (turn + u) % (R // C) * C + tl.arange(0, C)
            at = (b * n + here)[:, None] * R + c[None, :]
            w = tl.load(halves + at) if EVEN else tl.load(halves + at, mask=turn + u < tiles, other=0)
            for j in tl.static_range(4):
                if j % RUNS == 0:  # a group begins: the next one's numbers are on their way while it is multiplied
                    part = tl.zeros((BN, BM), tl.float32)
                    after = 4 * b + j + RUNS if j + RUNS < 4 else (turn + u + 1) // (R // C) * 4
                    s_next, z_next = load_group(scale, zero, after, here, n, k, R, RUNS, HAS_ZERO)
                column = (4 * b + j) * R + c
                inside = (tokens < m)[None, :] if EVEN else (tokens < m)[None, :] & (column < k)[:, None]
                v = tl.load(x + tokens[None, :] * k + column[:, None], mask=inside, other=0.0)
                part = tl.dot(decode(w, j, z, x.dtype.element_ty), v, part, input_precision="ieee")
                if (j + 1) % RUNS == 0 or j == 3:
                    acc += part * s.to(tl.float32)
                    s, z = s_next, z_next
    finish(acc, y, partial, locks, tokens, rows, m, n, SPLIT)


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
    """As `gemm`, but weights are scaled, and the four runs of a tile are joined into one operand of 4 C columns: its
    registers are those that the four hold, nothing moves. EVEN: whole blocks and whole tiles of rows.

    One product in a turn is what Triton leaves running while the next weights are decoded; of several, each is waited
    for. The assumption is for ptxas: on a way around the loop, sums would be defined beside the running product, and
    then it makes every matrix instruction wait for itself. Scales come as tiles, wide enough for asynchronous copies.
    """
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
            z0, z1, z2, z3 = s0, s1, s2, s3  # not used
        low = tl.join(scaled(w, 0, z0, s0, HAS_ZERO, dtype), scaled(w, 1, z1, s1, HAS_ZERO, dtype))
        high = tl.join(scaled(w, 2, z2, s2, HAS_ZERO, dtype), scaled(w, 3, z3, s3, HAS_ZERO, dtype))
        weights = tl.reshape(tl.permute(tl.join(low, high), (0, 3, 2, 1)), (BN, 4 * C))
        column = b * 4 * R + start
        inside = (tokens < m)[None, :] if EVEN else (tokens < m)[None, :] & (column + spread < k)[:, None]
        v = tl.load(x + column + (tokens[None, :] * k + spread[:, None]), mask=inside, other=0.0)
        acc = tl.dot(weights, v, acc, input_precision="ieee")
    finish(acc, y, partial, locks, tokens, rows, m, n, SPLIT)


# Ways to launch for at most so many tokens: the quickest of those tried on an H200 (benchmarks/kernels_notes.md). C is
# halfwords of a run in a tile, `fit` how many such programs a Hopper processor holds at once. Without U: `wide`.
NAMES = ("BM", "BN", "C", "STAGES", "num_warps", "fit", "U")
LAUNCHES = {
    8: [(8, 64, 128, 3, 4, 4, 1)],
    16: [(16, 64, 64, 4, 4, 3), (16, 64, 64, 3, 4, 4, 1)],
    32: [(32, 128, 64, 3, 8, 2), (32, 64, 64, 3, 4, 3, 1)],
    64: [(64, 64, 64, 3, 4, 2), (64, 128, 32, 4, 8, 2)],
    128: [(128, 256, 32, 3, 8, 1), (128, 128, 32, 3, 8, 1)],
    1 << 30: [(256, 128, 32, 3, 8, 1), (128, 256, 32, 3, 8, 1)],
}
SHORT = [(8, 128, 32, 4, 4, 4), (8, 64, 64, 4, 4, 4)]  # and these, where groups are short or have zero points
PLAIN = (64, 128, 32, 3, 8, 2, 1)  # for many tokens on other GPUs


def launches(m: int, packed, dtype: torch.dtype = torch.bfloat16) -> list[dict]:
    """Tiles, warps, stages, and parts of a row, so that all programs run at once: a second wave takes as long again."""
    if not ON_GPU:
        how = {"BM": 16 if m <= 16 else 64, "BN": 256, "C": 32, "STAGES": 1, "parts": 1}
        return [how if m > 64 else how | {"U": 1}]
    about = torch.cuda.get_device_properties(packed.words.device)
    rows = LAUNCHES[min(most for most in LAUNCHES if m <= most)]
    if m <= 8 and (packed.run < 128 or packed.zero is not None):
        rows = SHORT + rows
    if about.major != 9 or dtype == torch.float32:  # less shared memory, or other matrix units
        rows = [row for row in rows if len(row) == len(NAMES)] or [PLAIN]
    return [filled(dict(zip(NAMES, row, strict=False)), m, packed, about.multi_processor_count) for row in rows]


def filled(how: dict, m: int, packed, processors: int) -> dict:
    """The launch for this weight: parts in place of `fit`, and C no longer than a run."""
    how["C"] = min(how["C"], packed.run)
    if packed.run == 32 and how["BM"] <= 32 and "U" in how:  # short tiles: more of them under way
        how |= {"U": 2 if m <= 8 else 1, "STAGES": 4}
    programs = -(-packed.shape[0] // how["BN"]) * -(-m // how["BM"])
    tiles = len(packed.words) * packed.run // how["C"]
    return how | {"parts": max(1, min(how.pop("fit") * processors // programs, tiles // 2))}


def run(x, packed, how: dict | None = None):
    """x (m, k) contiguous -> y (m, n), launched as `how` says, or in the quickest of the ways of `launches`."""
    ways, layout = [how] if how else launches(len(x), packed, x.dtype), packing.arguments(packed)
    key = ("w4a16", triton.next_power_of_2(len(x)), *packed.shape, x.dtype, *layout.values())
    return start(x, packed, quickest(key, ways, lambda way: start(x, packed, way)))


def start(x, packed, how: dict):
    m, (n, k), how = len(x), packed.shape, dict(how)
    rows, columns, parts = -(-n // how["BN"]), -(-m // how["BM"]), how.pop("parts")
    tiles = len(packed.words) * packed.run // how["C"]
    parts = -(-tiles // -(-tiles // parts)) if rows * columns <= len(packed.locks) else 1  # none of them empty
    even = k % (4 * packed.run) == 0 and (n % how["BN"] == 0 if "U" not in how else tiles % how["U"] == 0)
    y = x.new_empty((m, n))
    partial = y if parts == 1 else x.new_empty((parts, m, n), dtype=torch.float32)
    scale = packed.scale if "U" in how else packed.scale.to(x.dtype)
    with counted(packed.locks):
        (gemm if "U" in how else wide)[(columns, rows, parts)](
            x, packed.words.view(torch.int16), scale, scale if packed.zero is None else packed.zero, y, partial,
            packed.locks, m, n, k, **packing.arguments(packed), **how, EVEN=even, SPLIT=parts > 1)  # fmt: skip
    return y
