"""Trellis-coded quantization: a weight is a window of L bits into a stream, and the next one lies k bits further on.

    ŵ_t = C(s_t)        s_t = bits k·t … k·t + L - 1 of the stream        s_{t+1} = (2^k · s_t mod 2^L) + k new bits

Each weight costs k bits and is told apart by L: C may have 2^16 values at 2 bits a weight. The price is that
neighbours share L - k bits, so that a whole sequence has to be chosen at once, by Viterbi's algorithm.

Tseng et al., "QTIP" (2024), arXiv 2406.11235: the *bitshift* trellis, computed codes, and the order of the bits.
Marcellin and Fischer, "Trellis Coded Quantization" (1990) is the idea.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

TILE = 16  # rows and columns of a tile of a matrix, which is one tail-biting sequence of 256 weights
WORK = 2**16  # costs in one step of Viterbi's algorithm: sequences times states


def _bytes_of(x: np.ndarray) -> np.ndarray:
    """The sum of the four bytes of 32-bit numbers: by the central limit theorem nearly Gaussian."""
    return sum((x >> shift) & 255 for shift in (0, 8, 16, 24))


def _one_mad(s: np.ndarray) -> np.ndarray:
    """1MAD of QTIP: a multiply-add mixes the bits, the sum of the bytes is centred and divided by its deviation."""
    total = _bytes_of((s * 34038481 + 76625530) & 0xFFFFFFFF)
    return (total - 510).astype(np.float32) / np.float32(147.800537109375)


def _three_inst(s: np.ndarray, a: int = 89226354, b: int = 64248484) -> np.ndarray:
    """3INST of QTIP: sign and low bits of two float16 are random, the rest of them is that of 0.922; their sum."""
    x = ((s * a + b) & 0x8FFF8FFF) ^ 0x3B603B60
    low, high = ((x >> shift & 0xFFFF).astype(np.uint16).view(np.float16) for shift in (0, 16))
    return (low + high).astype(np.float32)


def _mul1(s: np.ndarray) -> np.ndarray:
    """exllamav3's "mul1": 1MAD without the addition, as one float16 multiply-add that rounds once."""
    total = 1024 + _bytes_of((s * 0x83DCD12D) & 0xFFFFFFFF)
    factor, bias = np.array([0x1EEE, 0xC931], dtype=np.uint16).view(np.float16).astype(np.float64)
    return (total * factor + bias).astype(np.float16).astype(np.float32)  # exact in float64, then rounded


CODES = {
    "1mad": _one_mad,
    "3inst": _three_inst,
    "mcg": functools.partial(_three_inst, a=0xCBAC1FED, b=0),  # exllamav3's other one
    "mul1": _mul1,
}


@functools.lru_cache(maxsize=8)
def levels(code: str, L: int) -> Tensor:
    """C(0) … C(2^L - 1), float32, nearly N(0, 1) (3inst and mcg: N(0, 1.24²)); nothing of it need be stored.

    code  "1mad" or "3inst" (QTIP, section 3.1), "mcg" or "mul1" (exllamav3's format EXL3)
    L     bits of a state, 2 … 16. ValueError for others.

    >>> levels("1mad", 16)[:3]
    tensor([-1.2517, -0.8390, -0.4263])
    """
    if code not in CODES:
        raise ValueError(f"code must be one of {', '.join(map(repr, CODES))}, got {code!r}")
    if not isinstance(L, int) or isinstance(L, bool) or not 2 <= L <= 16:
        raise ValueError(f"L must be a whole number of bits from 2 to 16, got {L!r}")
    return torch.from_numpy(CODES[code](np.arange(2**L, dtype=np.int64)))


def encode(x: Tensor, table: Tensor, bits: int, tail_biting: bool = True, memory: Tensor | None = None) -> Tensor:
    """States (n, T), int64, of a path through the trellis whose levels come near x (n, T) in squared error.

    table (2^L) is `levels(…)` or any other code, bits is k. With tail_biting the last windows end in the first bits, so
    that T weights take exactly T·k bits. The best such path is hard to find; QTIP's two passes find a good one: a free
    path over x turned by half its length says which L - k bits to share, then the best path that shares them.
    Without, the path is the best of all, and its stream is L - k bits longer.

    Cost: T · 2^L comparisons a sequence and pass. Memory: `room(T)`, which may be used again for the next call, since
    asking for it takes a good part of the time. ValueError for what does not fit.

    >>> table = torch.tensor([0.5, -1.0, 1.5, -0.5])  # states 00, 01, 10, 11
    >>> states = encode(torch.tensor([[-1.1, 1.4, -0.9, -0.4]]), table, bits=1)
    >>> states.tolist(), table[states].tolist()
    ([[3, 2, 1, 3]], [[-0.5, 1.5, -1.0, -0.5]])
    """
    L = _check(x, table, bits, tail_biting)
    x, half, found = x.detach().float(), x.shape[1] // 2, []
    costs = room(x.shape[1]) if memory is None else memory
    for part in x.split(max(1, WORK >> L)):
        shared = viterbi(part.roll(half, 1), table, bits, costs)[:, half] >> bits if tail_biting else None
        found.append(viterbi(part, table, bits, costs, shared))
    return torch.cat(found)


def room(T: int) -> Tensor:
    """Memory for the costs of sequences of T weights, float32: T · 2^16 numbers."""
    return torch.empty(T * WORK)


def viterbi(x: Tensor, table: Tensor, bits: int, costs: Tensor, shared: Tensor | None = None) -> Tensor:
    """States (n, T) of the path with the least squared error; shared (n,) are L - k bits that begin and end it.

    costs is memory, T · n · 2^L numbers or more. To each state lead 2^k others, those that differ in the bits which
    leave; only the cheapest of them can be on the best path (Viterbi, 1967). On the way back the same comparison says
    which it was.
    """
    n, T = x.shape
    fan, kept = 2**bits, len(table) >> bits
    new = table.view(kept, fan)  # by the bits that a state shares with the one before, and by its new ones
    square, states = new.square(), torch.arange(len(table), device=x.device)
    costs = costs[: T * n * len(table)].view(T, n, len(table))  # of the best path to each state
    costs[0] = table * (table - 2 * x[:, :1])
    if shared is not None:
        costs[0][states >> bits != shared[:, None]] = math.inf
    for t in range(1, T):
        best = costs[t - 1].view(n, fan, kept).amin(1)  # (ŵ - x)² less x², which is the same for all paths
        torch.addcmul(square, new, -2 * x[:, t, None, None], out=costs[t].view(n, kept, fan)).add_(best[:, :, None])
    if shared is not None:
        costs[-1][states % kept != shared[:, None]] = math.inf
    path = torch.empty(T, n, dtype=torch.int64, device=x.device)
    path[-1] = costs[-1].argmin(1)
    leaving = kept * torch.arange(fan, device=x.device)
    for t in range(T - 1, 0, -1):
        before = leaving + (path[t] >> bits)[:, None]  # (n, fan)
        path[t - 1] = before.gather(1, costs[t - 1].gather(1, before).argmin(1, keepdim=True))[:, 0]
    return path.T.contiguous()


def pack(states: Tensor, bits: int, L: int) -> Tensor:
    """The stream of tail-biting states (n, T) as bytes (n, T·k/8), highest bit first: the first k bits of each state.

    Read as big-endian 16-bit words these are those of QTIP's `pack_trellis`. ValueError where T·k is no multiple of 8
    or a state does not follow from the one before it (the first from the last).

    >>> pack(torch.tensor([[0, 1, 2, 0, 1, 3, 2, 0]]), bits=1, L=2).tolist()  # 0 0 1 0 0 1 1 0
    [[38]]
    """
    if states.dim() != 2 or states.shape[1] * bits % 8 or states.shape[1] * bits < L:
        raise ValueError(f"states must be (n, T) with T·{bits} a multiple of 8 and at least L = {L},"
                         f" got shape {tuple(states.shape)}")  # fmt: skip
    kept = 2 ** (L - bits)
    if int(states.min()) < 0 or int(states.max()) >= 2**L or (states % kept != states.roll(-1, 1) >> bits).any():
        raise ValueError(f"states must share {L - bits} bits with their neighbours, the last with the first")
    new = (states >> (L - bits)).to(torch.uint8).numpy()
    stream = np.unpackbits(new[..., None], axis=-1)[..., 8 - bits :].reshape(len(states), -1)
    return torch.from_numpy(np.packbits(stream, axis=-1))


def unpack(packed: Tensor, bits: int, L: int) -> Tensor:
    """States (n, T), int64, that `pack` made of them: each is a window of the stream, which goes round.

    >>> unpack(torch.tensor([[38]], dtype=torch.uint8), bits=1, L=2).tolist()
    [[0, 1, 2, 0, 1, 3, 2, 0]]
    """
    if packed.dtype != torch.uint8 or packed.dim() != 2 or packed.shape[1] * 8 % bits or packed.shape[1] * 8 < L:
        raise ValueError(f"packed must be bytes (n, T·{bits}/8) that hold at least L = {L} bits, got {packed.dtype}"
                         f" of shape {tuple(packed.shape)}")  # fmt: skip
    stream = torch.from_numpy(np.unpackbits(packed.cpu().numpy(), axis=-1)).long()
    states = torch.zeros(len(packed), packed.shape[1] * 8 // bits, dtype=torch.int64)
    for i in range(L):
        states = 2 * states + stream.roll(-i, 1)[:, ::bits]
    return states


def matrix(packed: Tensor, shape: tuple[int, int], bits: int, code: str, L: int) -> Tensor:
    """C of every window, float32 (rows, cols): packed is a stream for each tile, row by row; the last may be cut.

    >>> matrix(torch.zeros(6, 64, dtype=torch.uint8), (32, 40), 2, "1mad", 16).shape
    torch.Size([32, 40])
    """
    rows, cols = shape
    tiles = levels(code, L)[unpack(packed, bits, L)].view(-(-rows // TILE), -(-cols // TILE), TILE, TILE)
    return tiles.transpose(1, 2).reshape(TILE * tiles.shape[0], -1)[:rows, :cols]


def _check(x, table, bits, tail_biting) -> int:
    """L, or one sentence about what does not fit."""
    L = len(table).bit_length() - 1
    if table.dim() != 1 or len(table) != 2**L:
        raise ValueError(f"table must hold 2^L levels, one a state, got shape {tuple(table.shape)}")
    if not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits < L or bits > 8:
        raise ValueError(f"bits must be a whole number from 1 to {min(L - 1, 8)}, below L = {L}, got {bits!r}")
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point() or not x.numel():
        raise ValueError(f"x must be floating-point sequences (n, T), got {_said(x)}")
    if not torch.isfinite(x).all():
        raise ValueError("x must be finite, got NaN or infinity")
    if tail_biting and x.shape[1] * bits < L:
        raise ValueError(f"a tail-biting stream must hold at least L = {L} bits, got {x.shape[1]} weights of {bits}")
    return L


def _said(value) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
