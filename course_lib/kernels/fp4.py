"""y = x Wᵀ with W in MXFP4 or NVFP4 on a GPU that has no FP4 units: decode to 16 bits on the way, multiply as usual.

E2M1 has a sign, two exponent bits and one bit of mantissa. Placed where a 16-bit float keeps its own, they mean the
same number times 2⁻¹⁴ (float16) or 2⁻¹²⁶ (bfloat16), subnormal 0.5 included: two shifts and two `lop3` for two
neighbours, and one multiplication by the scale, which brings the power of two back. The products are exact. A block of
128 columns is one operand of the matrix units, as in `gemm.wide`. MXFP4's scales are bytes of exponent: they are stored
relative to their row's largest, so that a weight in float16 neither overflows nor vanishes; NVFP4's are E4M3, and one
float32 for the tensor goes into every row's factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from course_lib.kernels import ON_GPU, interpreter, packing  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.measure.tune import quickest
from course_lib.kernels.parts import counted, finish
from course_lib.kernels.pieces import in_pieces
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme


@dataclass(frozen=True, eq=False)
class PackedFp4:
    """An MXFP4 or NVFP4 matrix in blocks of 128 columns, four runs of 32.

    ========  ====================  =========================================================================
    words     (blocks, n, 16) i32   nibble j of halfword h of a block: its column 32·j + h, as in `packing`
    scale     (blocks, h, n) int32  byte j for run j: E8M0 relative to the row's largest; or E4M3, h halves of it
    row       (n,) float32          a factor of each row
    locks     (tiles,) int32        zeros, where programs that share a tile count themselves
    ========  ====================  =========================================================================
    """

    words: Tensor
    scale: Tensor
    row: Tensor
    locks: Tensor
    shape: tuple[int, int]
    block: int  # columns that share a scale; 32: MXFP4, scales E8M0; 16: NVFP4, scales E4M3

    def to(self, device) -> PackedFp4:
        moved = (t.to(device) for t in (self.words, self.scale, self.row, self.locks))
        return PackedFp4(*moved, self.shape, self.block)


def pack(q: QTensor) -> PackedFp4:
    """Pack an MXFP4 or NVFP4 QTensor (n, k); ValueError for another.

    >>> from course_lib.formats import microscaling
    >>> pack(microscaling.quantize(torch.randn(8, 64), "nvfp4")).words.shape
    torch.Size([1, 8, 16])
    """
    known = {(1, 32): torch.float8_e8m0fnu, (1, 16): torch.float8_e4m3fn}
    if q.scheme.format != "e2m1" or known.get(q.scheme.block) != q.scheme.scale_dtype or len(q.shape) != 2:
        raise ValueError(f"q must be an MXFP4 or NVFP4 matrix, as microscaling.quantize makes them, got {q!r}")
    block = q.scheme.block[1]
    row = torch.ones(q.shape[0], device=q.codes.device)
    scale = q.scale.view(torch.uint8)
    if block == 32:
        top = scale.amax(1, keepdim=True).int()
        row = torch.ldexp(row, top[:, 0] - 127)
        scale = torch.where(scale == 255, scale.int(), (scale.int() - top + 127).clamp(min=0)).to(torch.uint8)
    row = row if q.tensor_scale is None else row * q.tensor_scale
    n, halves = q.shape[0], 32 // block
    words = packing.pack_words(q.codes.int(), 128, pairs=True).reshape(n, -1, 16).transpose(0, 1).contiguous()
    bytes_ = F.pad(scale, (0, -scale.shape[1] % (4 * halves))).reshape(n, -1, 4, halves)
    scale = bytes_.permute(1, 3, 0, 2).clone(memory_format=torch.contiguous_format).view(torch.int32)[..., 0]
    locks = torch.zeros(4 * -(-n // 32), dtype=torch.int32, device=q.codes.device)
    return PackedFp4(words, scale, row, locks, tuple(q.shape), block)


def codes_and_scales(packed: PackedFp4) -> tuple[Tensor, Tensor]:
    """(codes (n, k) int32, scales (n, k / block) uint8 as they are stored)."""
    n, k = packed.shape
    codes = packing.unpack_words(packed.words.transpose(0, 1).reshape(n, -1), 128, pairs=True)[:, :k]
    bytes_ = packed.scale.contiguous()[..., None].view(torch.uint8).permute(2, 0, 3, 1).reshape(n, -1)
    return codes, bytes_[:, : k // packed.block]


def unpack(packed: PackedFp4) -> Tensor:
    """The weight (n, k) in float32."""
    codes, scale = codes_and_scales(packed)
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], device=codes.device)
    kind = torch.float8_e8m0fnu if packed.block == 32 else torch.float8_e4m3fn
    scale = scale.contiguous().view(kind).float().repeat_interleave(packed.block, 1)
    return values[codes.long()] * scale * packed.row[:, None]


def restored(packed: PackedFp4, scheme: Scheme) -> QTensor:
    """The QTensor that `pack` took, unless a row's scales lie more than 2¹²⁷ apart."""
    codes, scale = codes_and_scales(packed)
    third = packed.row[0] if packed.block == 16 else None
    if packed.block == 32:
        top = torch.frexp(packed.row).exponent[:, None] + 126
        scale = torch.where(scale == 255, scale, (scale.int() + top - 127).to(torch.uint8))
    scale = scale.contiguous().view(scheme.scale_dtype)
    return QTensor(codes.to(torch.uint8), scale, None, scheme, packed.shape, tensor_scale=third)


def text(kind: str, up: int, j: int) -> str:
    """PTX: $0 = E2M1 of nibble j of both halfwords in $1, its three bits moved to bit `up`, times $2."""
    move = f"shl.b32 t, $1, {up - 4 * j};" if 4 * j < up else f"shr.u32 t, $1, {4 * j - up};"
    mask = f"0x{7 << up:04X}{7 << up:04X}"
    return (f"{{ .reg .b32 s, t, z; shl.b32 s, $1, {12 - 4 * j}; and.b32 s, s, 0x80008000; {move} "
            f"lop3.b32 t, t, {mask}, s, 0xEA; mov.b32 z, 0x80008000; fma.rn.{kind} $0, t, $2, z; }}")  # fmt: skip


HALF = tl.constexpr([text("f16x2", 9, j) for j in range(4)])
BFLOAT = tl.constexpr([text("bf16x2", 6, j) for j in range(4)])  # plus -0: sm_80 cannot mul.bf16x2


@triton.jit
def decode(w, j: tl.constexpr, s, dtype: tl.constexpr):
    """E2M1 of nibble j of each halfword, times 2⁻¹⁴ (bfloat16: 2⁻¹²⁶) and s."""
    if dtype == tl.float16:
        return tl.inline_asm_elementwise(HALF[j], "=r,r,r", [w, tl.broadcast_to(s, w.shape)], tl.float16, True, 2)
    elif dtype == tl.bfloat16:
        return tl.inline_asm_elementwise(BFLOAT[j], "=r,r,r", [w, tl.broadcast_to(s, w.shape)], tl.bfloat16, True, 2)
    else:
        q = w.to(tl.int32) >> (4 * j)
        return (((q & 7) << 9) | ((q & 8) << 12)).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32) * s


@triton.jit
def scale_of(four, j: tl.constexpr, MX: tl.constexpr, dtype: tl.constexpr):
    """The scale in byte j, times what `decode` is short of; NVFP4 and bfloat16 leave 2⁹ of it to the row's factor, so
    that 448 fits."""
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
def gemm(x, halves, scale, row, y, partial, locks, m, n, k, MX: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
         STAGES: tl.constexpr, EVEN: tl.constexpr, SPLIT: tl.constexpr):  # fmt: skip
    """x (m, k), halves (blocks, n, 32) -> y (m, n): yᵀ = W xᵀ, a block of four runs in a turn, joined into one operand
    of 128 columns, as in `gemm.wide`. EVEN: whole blocks and whole tiles of rows."""
    dtype: tl.constexpr = x.dtype.element_ty
    HALVES: tl.constexpr = 1 if MX else 2
    tokens = tl.program_id(0) * BM + tl.arange(0, BM)
    rows = tl.program_id(1) * BN + tl.arange(0, BN)
    here = rows if EVEN else tl.minimum(rows, n - 1)  # rows beyond the last are read again, not stored
    blocks = tl.cdiv(k, 128)
    each = tl.cdiv(blocks, tl.num_programs(2))
    first = tl.program_id(2) * each
    end = tl.minimum(first + each, blocks)
    tl.assume(first < end)  # or every matrix instruction waits for itself: see gemm.wide
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


NAMES = ("BM", "BN", "STAGES", "num_warps", "fit")  # fit: programs that a Hopper processor holds at once
TILES = {  # tokens up to; the quickest on the GPU that is here
    8: [(8, 128, 4, 4, 4), (8, 64, 4, 2, 8)],
    16: [(16, 64, 4, 4, 6), (16, 64, 4, 2, 8)],
    32: [(32, 128, 4, 8, 2), (32, 64, 4, 4, 4)],
    64: [(64, 128, 4, 8, 2), (64, 256, 4, 8, 1)],
    128: [(128, 128, 3, 8, 1), (128, 256, 3, 8, 1)],
    1 << 30: [(256, 128, 3, 8, 1), (128, 256, 3, 16, 1)],
}


def tiles(m: int, packed: PackedFp4, dtype: torch.dtype) -> list[dict]:
    """Ways to launch for m tokens: tile sizes, stages, warps, and parts of a row, so that all programs run at once."""
    if not ON_GPU:
        return [{"BM": 16 if m <= 16 else 64, "BN": 256, "STAGES": 1, "num_warps": 4, "parts": 2}]
    about = torch.cuda.get_device_properties(packed.words.device)
    most = {8: 64, 9: 1 << 30}.get(about.major, 8)  # of Blackwell's wide tiles Triton 3.7 makes a trap
    rows = TILES[min(at for at in TILES if min(m, most if dtype != torch.float32 else 8) <= at)]
    ways = [dict(zip(NAMES, row, strict=True)) for row in rows]
    for way in ways:
        programs = -(-packed.shape[0] // way["BN"]) * -(-m // way["BM"])
        way["parts"] = max(1, min(way.pop("fit") * about.multi_processor_count // programs, len(packed.words) // 2))
    return ways


def linear(x: Tensor, packed: PackedFp4) -> Tensor:
    """y (..., n) = x (..., k) · W_hatᵀ in x's dtype (float16, bfloat16 or float32).

    ValueError where x's columns, dtype or device do not match.
    """
    n, k = packed.shape
    floats = (torch.float16, torch.bfloat16, torch.float32)
    if x.dim() == 0 or x.shape[-1] != k or x.dtype not in floats or x.device != packed.words.device:
        raise ValueError(
            f"x must be (..., {k}) floats on {packed.words.device}, got {x.dtype} {tuple(x.shape)} on {x.device}"
        )
    y = in_pieces(lambda rows: product(rows.contiguous(), packed), x.reshape(-1, k), n)
    return y.reshape(*x.shape[:-1], n)


def product(x: Tensor, packed: PackedFp4) -> Tensor:
    """x (m, k) contiguous -> y (m, n), in the quickest of the ways of `tiles`."""
    m, (n, k) = len(x), packed.shape
    y = x.new_empty((m, n))

    def run(how: dict) -> None:
        how = dict(how)
        rows, columns, blocks, parts = -(-n // how["BN"]), -(-m // how["BM"]), -(-k // 128), how.pop("parts")
        parts = -(-blocks // -(-blocks // parts)) if rows * columns <= len(packed.locks) else 1  # none of them empty
        partial = y if parts == 1 else x.new_empty((parts, m, n), dtype=torch.float32)
        with counted(packed.locks):
            gemm[(columns, rows, parts)](
                x, packed.words.view(torch.int16), packed.scale, packed.row, y, partial, packed.locks, m, n, k,
                MX=packed.block == 32, **how, EVEN=k % 128 == 0 and n % how["BN"] == 0, SPLIT=parts > 1)  # fmt: skip

    if m:
        run(quickest(("fp4", packed.block, triton.next_power_of_2(m), n, k, x.dtype), tiles(m, packed, x.dtype), run))
    return y
