"""y = W x for one token, where W is a trellis: levels are computed from the bits of a stream, none is looked up.

A weight's *window* of L bits is shifted out of the stream and cut; where two windows of a word lie 16 bits apart, one
shift serves both. Its *level* is computed from the window, then converted and multiplied. Codes of `formats.trellis`:

    1mad          multiply-add, the four bytes and −510 added by `dp4a`; 1/147.8 waits until the row is summed
    3inst, mcg    multiply-add, one operation for AND and XOR, the two halves of the result added as float16
    mul1          multiply, bytes and 0x6400 added by `dp4a`: the bits of 1024 + their sum in float16; multiply-add

An H200 may spend 1.7 instructions on a weight of two bits (`measure.recorded.budget(2.0)`). These spend more than three
times that (`course bench sass`), so arithmetic bounds them, not memory. They were never timed.

A tile of 16 × 16 weights is one tail-biting stream. Word i of all streams in a row of tiles lie side by side, and so do
the inputs of column j of all tiles: lanes read neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from course_lib.formats import trellis as formats
from course_lib.formats.trellis import TILE
from course_lib.kernels import ON_GPU, interpreter  # noqa: F401  interpreter is mended by its import
from course_lib.kernels.digits import ASM, dot4
from course_lib.kernels.measure.tune import quickest
from course_lib.kernels.pieces import fits

DEVIATION = tl.constexpr(147.800537109375)
SIGNS = tl.constexpr("lop3.b32 $0, $1, 0x8FFF8FFF, 0x3B603B60, 0x6A;")  # (x & …) ^ …: LLVM makes two of it


@triton.jit
def level(s, CODE: tl.constexpr, ASM: tl.constexpr):
    """C(s) in float32 for states s, int32; that of 1mad times DEVIATION, a whole number."""
    if CODE == "1mad":
        out = dot4(s * 34038481 + 76625530, tl.full(s.shape, 0x01010101, tl.int32), -510, False, ASM).to(tl.float32)
    elif CODE == "mul1":
        sum_ = dot4(s * (0x83DCD12D - 2**32), tl.full(s.shape, 0x01010101, tl.int32), 0x6400, False, ASM)
        total = sum_.to(tl.int16).to(tl.float16, bitcast=True)
        factor = tl.full(s.shape, 0x1EEE, tl.int16).to(tl.float16, bitcast=True)
        bias = tl.full(s.shape, 0xC931 - 2**16, tl.int16).to(tl.float16, bitcast=True)
        out = tl.fma(total, factor, bias).to(tl.float32)  # rounded once
    else:
        x = s * 89226354 + 64248484 if CODE == "3inst" else s * (0xCBAC1FED - 2**32)
        if ASM:
            x = tl.inline_asm_elementwise(SIGNS, "=r,r", [x], dtype=tl.int32, is_pure=True, pack=1)
        else:
            x = (x & (0x8FFF8FFF - 2**32)) ^ 0x3B603B60
        low = x.to(tl.int16).to(tl.float16, bitcast=True)
        high = (x >> 16).to(tl.int16).to(tl.float16, bitcast=True)
        if ASM:  # LLVM would add two weights' halves at once, and spend more on moving them together
            out = tl.inline_asm_elementwise("add.f16 $0, $1, $2;", "=h,h,h", [low, high], tl.float16, True, 1)
        else:
            out = low + high
        out = out.to(tl.float32)
    return out


@triton.jit
def funnel(high, low, by: tl.constexpr):
    """32 bits of high and low, uint32, from bit `by` of high on; highest first."""
    return (high << by) | (low >> (32 - by)) if by > 0 else high


@triton.jit
def three_words(words, rows, column, tiles, inside, K: tl.constexpr, EVEN: tl.constexpr):
    """The bits of a tile's row and those behind it, uint32, from the first bit of w0 on."""
    first = rows % 16 * K // 2  # if K is odd, every second row begins in the middle of a word
    at = words + (rows // 16 * (8 * K) * tiles)[:, None] + column[None, :]
    at1, at2 = at + ((first + 1) % (8 * K) * tiles)[:, None], at + ((first + 2) % (8 * K) * tiles)[:, None]
    other = None if EVEN else 0
    w0 = tl.load(at + (first * tiles)[:, None], mask=inside, other=other).to(tl.uint32, bitcast=True)
    w1 = tl.load(at1, mask=inside, other=other).to(tl.uint32, bitcast=True)
    w2 = tl.load(at2, mask=inside, other=other).to(tl.uint32, bitcast=True) if K > 2 else w1
    if K % 2:
        odd = (rows % 2 == 1)[:, None]
        w0, w1 = tl.where(odd, funnel(w0, w1, 16), w0), tl.where(odd, funnel(w1, w2, 16), w1)
    return w0, w1, w2


@triton.jit
def product(x, words, scale, y, n, tiles, K: tl.constexpr, L: tl.constexpr, CODE: tl.constexpr, ASM: tl.constexpr,
            BN: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """x (turns, 16, BC) float32, 0 beyond the row's end; words (rows of tiles, 8K, tiles): y (n,)."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    c = tl.arange(0, BC)
    acc = tl.zeros((BN, BC), tl.float32)
    PAIR: tl.constexpr = 16 // K if K == 2 or K == 4 else 16  # the weight whose window lies 16 bits further on
    for b in range(0, tiles, BC):
        inside = None if EVEN else (rows < n)[:, None] & (b + c < tiles)[None, :]
        w0, w1, w2 = three_words(words, rows, b + c, tiles, inside, K, EVEN)
        for j in tl.static_range(16):
            if j // PAIR % 2 == 0:
                bits = funnel(w0 if j * K < 32 else w1, w1 if j * K < 32 else w2, j * K % 32)
                level_j = level((bits >> (32 - L)).to(tl.int32), CODE, ASM)
                acc += level_j * tl.load(x + b * 16 + j * BC + c)[None, :]
                if PAIR < 16:
                    level_j = level((bits >> (16 - L) & ((1 << L) - 1)).to(tl.int32), CODE, ASM)
                    acc += level_j * tl.load(x + b * 16 + (j + PAIR) * BC + c)[None, :]
    total = tl.sum(acc, axis=1)
    if CODE == "1mad":
        total = total / DEVIATION
    tl.store(y + rows, (total * tl.load(scale)).to(y.dtype.element_ty), mask=rows < n)


@triton.jit
def decode(words, scale, w, n, k, tiles, K: tl.constexpr, L: tl.constexpr, CODE: tl.constexpr, ASM: tl.constexpr,
           BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """w (n, k): every weight reads the two words that hold its window."""
    rows = (tl.program_id(0) * BN + tl.arange(0, BN))[:, None]
    columns = (tl.program_id(1) * BK + tl.arange(0, BK))[None, :]
    inside = (rows < n) & (columns < k)
    begin = (rows % 16 * 16 + columns % 16) * K
    at = words + rows // 16 * (8 * K) * tiles + columns // 16
    high = tl.load(at + begin // 32 * tiles, mask=inside, other=0).to(tl.uint32, bitcast=True)
    low = tl.load(at + (begin // 32 + 1) % (8 * K) * tiles, mask=inside, other=0).to(tl.uint32, bitcast=True)
    by = (begin % 32).to(tl.uint32)
    bits = (high << by) | (low >> 1 >> (31 - by))
    c = level((bits >> (32 - L)).to(tl.int32), CODE, ASM)
    if CODE == "1mad":
        c = tl.div_rn(c, tl.full(c.shape, DEVIATION, tl.float32))
    tl.store(w + rows * k + columns, (tl.load(scale) * c).to(w.dtype.element_ty), mask=inside)


@dataclass(frozen=True, eq=False)
class PackedTrellis:
    """ŵ[n, k] = scale · C(a window of its tile's stream); code, bits and L as in `formats.trellis`.

    words  (rows of tiles, 8·bits, tiles) int32: word i of a stream, whose first bit is the highest
    scale  () float32
    shape  (n, k) of the weight; its last tiles may be cut
    """

    words: Tensor
    scale: Tensor
    shape: tuple[int, int]
    bits: int
    code: str
    L: int

    @property
    def constants(self) -> dict:
        return {"K": self.bits, "L": self.L, "CODE": self.code, "ASM": ASM}


def pack(streams: Tensor, scale: Tensor, shape: tuple[int, int], bits: int, code: str, L: int) -> PackedTrellis:
    """Lay out the streams of a weight's tiles, (tiles, 32·bits) uint8, tiles row by row; ValueError says what is amiss.

    >>> pack(torch.zeros(6, 64, dtype=torch.uint8), torch.tensor(1.0), (32, 48), 2, "1mad", 16).words.shape
    torch.Size([2, 16, 3])
    """
    if code not in formats.CODES or bits not in (1, 2, 3, 4) or L not in range(bits + 1, 17):
        raise ValueError(f"code must be one of {', '.join(formats.CODES)}, bits 1 to 4, and L above bits, up to 16,"
                         f" got {code!r}, {bits!r} and {L!r}")  # fmt: skip
    fits("the weight", shape)
    rows, columns = (-(-size // TILE) for size in shape)
    if streams.dtype != torch.uint8 or tuple(streams.shape) != (rows * columns, 32 * bits):
        raise ValueError(f"streams must be uint8 ({rows * columns}, {32 * bits}), one row a tile of {tuple(shape)},"
                         f" got {streams.dtype} {tuple(streams.shape)}")  # fmt: skip
    words = streams.reshape(rows, columns, 8 * bits, 4).flip(-1).contiguous().view(torch.int32)[..., 0]
    return PackedTrellis(words.transpose(1, 2).contiguous(), scale.float(), tuple(shape), bits, code, L)


def streams_of(packed: PackedTrellis) -> Tensor:
    """The streams that `pack` took."""
    words = packed.words.transpose(1, 2).contiguous()[..., None]
    return words.view(torch.uint8).flip(-1).reshape(-1, 32 * packed.bits)


TILES = [(2, 128, 1), (4, 128, 1), (4, 512, 4)]  # rows, tiles of columns and warps of a program: quickest on this GPU


def gemv(x: Tensor, packed: PackedTrellis) -> Tensor:
    """y (n,) = ŵ · x for x (k,), summed in float32, in x's dtype; `reference` is the same in torch.

    >>> packed = pack(torch.zeros(1, 64, dtype=torch.uint8), torch.tensor(0.5), (16, 16), 2, "1mad", 16)
    >>> gemv(torch.ones(16), packed)[0]  # 16 times half of level 0, -1.2517
    tensor(-10.0135)
    """
    n, k = packed.shape
    if x.dim() != 1 or len(x) != k or not x.dtype.is_floating_point or x.device != packed.words.device:
        raise ValueError(f"x must be {k} floats on {packed.words.device}, got {x.dtype} {tuple(x.shape)} on {x.device}")
    tiles, y = packed.words.shape[2], x.new_empty(n)

    def run(tile: dict) -> None:
        bn, bc = tile["BN"], tile["BC"]
        turns = F.pad(x.float(), (0, -len(x) % (TILE * bc))).view(-1, bc, TILE).transpose(1, 2).contiguous()
        even = n % bn == 0 and tiles % bc == 0
        product[(-(-n // bn),)](turns, packed.words, packed.scale, y, n, tiles, **packed.constants, **tile, EVEN=even)

    choices = [dict(zip(("BN", "BC", "num_warps"), tile, strict=True)) for tile in TILES]
    here = {"BN": 128, "BC": min(64, triton.next_power_of_2(tiles))}
    run(quickest(("trellis", n, k, *packed.constants.values()), choices, run) if ON_GPU else here)
    return y


def dequantize(packed: PackedTrellis, dtype: torch.dtype = torch.float32) -> Tensor:
    """ŵ (n, k), scale · level rounded to float32 and then to dtype; in float32 bit for bit `unpack`."""
    n, k = packed.shape
    w = torch.empty((n, k), dtype=dtype, device=packed.words.device)
    rows, columns = (8, 256) if ON_GPU else (64, 1024)
    grid, tiles = (-(-n // rows), -(-k // columns)), packed.words.shape[2]
    decode[grid](packed.words, packed.scale, w, n, k, tiles, **packed.constants, BN=rows, BK=columns)
    return w


def unpack(packed: PackedTrellis) -> Tensor:
    """ŵ (n, k) float32 by `formats.trellis`: what `dequantize` must equal."""
    levels = formats.matrix(streams_of(packed), packed.shape, packed.bits, packed.code, packed.L)
    return (packed.scale.cpu() * levels).to(packed.words.device)


def reference(x: Tensor, packed: PackedTrellis) -> Tensor:
    """What `gemv` must equal, but for the order of sums."""
    return (unpack(packed) @ x.float()).to(x.dtype)
