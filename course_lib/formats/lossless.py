"""How many bits a number really carries: the entropy of its parts, and a Huffman code that comes near to it."""

from __future__ import annotations

import bisect
import heapq

import numpy as np
import torch
from torch import Tensor

_LONGEST = 32  # bits of a code word that encode and decode handle


def bfloat16_fields(w: Tensor) -> dict[str, np.ndarray]:
    """Sign (0 or 1), exponent (0 … 255) and mantissa (0 … 127) of every number of w, uint8, in its order.

    ValueError where w is not bfloat16 and would not survive being made so.

    >>> [field.item() for field in bfloat16_fields(torch.tensor([-0.375])).values()]  # -1.5 · 2^(125 - 127)
    [1, 125, 64]
    """
    if not isinstance(w, Tensor) or not torch.equal(w.bfloat16().to(w.dtype), w):
        kind = w.dtype if isinstance(w, Tensor) else type(w).__name__
        raise ValueError(f"w must hold numbers that bfloat16 has, got {kind} with others")
    bits = w.detach().cpu().bfloat16().contiguous().view(torch.int16).numpy().view(np.uint16).ravel()
    parts = {"sign": bits >> 15, "exponent": bits >> 7 & 255, "mantissa": bits & 127}
    return {name: part.astype(np.uint8) for name, part in parts.items()}


def entropy(counts) -> float:
    """H = Σ p log2(1/p) bits a symbol, p = counts / their sum: no code of one symbol at a time needs less on average.

    Shannon, "A Mathematical Theory of Communication" (1948), theorem 9. ValueError for counts below 0 or all 0.

    >>> entropy([4, 2, 1, 1])
    1.75
    """
    p = _checked(counts)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


def huffman(counts) -> np.ndarray:
    """Length in bits of each symbol's code word, int64 like counts, 0 where a symbol never comes.

    The two rarest are put together, again and again; each time all below them get one bit more (Huffman, 1952). No
    prefix code has a smaller mean, H <= mean < H + 1, and the lengths fill the tree: Σ 2^-length = 1. A single symbol
    gets one bit, since a word of none could not be counted.

    >>> huffman([4, 2, 0, 1, 1]).tolist()
    [1, 2, 0, 3, 3]
    """
    counts = _checked(counts)
    lengths = np.zeros(len(counts), dtype=np.int64)
    heap = [(count, k, [k]) for k, count in enumerate(counts.tolist()) if count > 0]
    heapq.heapify(heap)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    while len(heap) > 1:
        (one, k, low), (other, _, high) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[low + high] += 1
        heapq.heappush(heap, (one + other, k, low + high))
    return lengths


def mean_length(codes: Tensor) -> float:
    """Bits a code that Huffman's words take for whole numbers (n,) of any range, on average.

    >>> mean_length(torch.tensor([-1, 0, 0, 5]))
    1.5
    """
    counts = np.unique(codes.detach().cpu().numpy(), return_counts=True)[1]
    return float((counts * huffman(counts)).sum() / counts.sum())


def code_words(lengths) -> np.ndarray:
    """The canonical code word of each symbol as a whole number: by length, then by symbol, each one more than the last.

    So the lengths alone tell the reader which code it is. ValueError where no prefix code has them (Σ 2^-length > 1).

    >>> [f"{word:0{n}b}" for word, n in zip(code_words([1, 3, 2, 3]), [1, 3, 2, 3])]
    ['0', '110', '10', '111']
    """
    lengths = _lengths(lengths)
    words, word, last = np.zeros_like(lengths), 0, 0
    for k in np.lexsort((np.arange(len(lengths)), lengths)):
        if lengths[k]:
            word <<= int(lengths[k]) - last
            words[k], word, last = word, word + 1, int(lengths[k])
    return words


def encode(symbols, lengths) -> bytes:
    """The code words of symbols (n,) one after the other, first bit highest, the last byte filled with zeros.

    ValueError for a symbol without a word.

    >>> encode([0, 1, 3], [1, 2, 3, 3]).hex()  # 0 10 111 and two bits to spare
    '5c'
    """
    lengths, symbols = _lengths(lengths), np.asarray(symbols)
    if symbols.ndim != 1 or (len(symbols) and symbols.dtype.kind not in "iu"):
        raise ValueError(f"symbols must be whole numbers in one axis, got {symbols.dtype} of shape {symbols.shape}")
    symbols = symbols.astype(np.int64)
    if len(symbols) and (symbols.min() < 0 or symbols.max() >= len(lengths) or (lengths[symbols] == 0).any()):
        raise ValueError(f"symbols must each have a code word among the {len(lengths)} lengths, and one has none")
    size, word = lengths[symbols], code_words(lengths)[symbols]
    start = np.cumsum(size) - size
    bits = np.zeros(int(size.sum()), dtype=np.uint8)
    for k in range(int(size.max(initial=0))):  # bit k of all words that have one
        long = size > k
        bits[start[long] + k] = word[long] >> (size[long] - 1 - k) & 1
    return np.packbits(bits).tobytes()


def decode(data: bytes, lengths, n: int) -> np.ndarray:
    """The first n symbols of `encode`'s bytes, int64: where a word begins is known when the one before it has ended.

    ValueError where the data end too early or hold a word that no symbol has.

    >>> decode(bytes([0x5C]), [1, 2, 3, 3], 3).tolist()
    [0, 1, 3]
    """
    lengths = _lengths(lengths)
    order = np.lexsort((np.arange(len(lengths)), lengths))
    known = order[int((lengths == 0).sum()) :]  # the symbols that have a word, in the order of their words
    spare = _LONGEST - lengths[known]
    begins = (code_words(lengths)[known] << spare).tolist()  # each word as the first bits of 32
    end = begins[-1] + (1 << int(spare[-1])) if begins else 0
    symbols, sizes = known.tolist(), lengths[known].tolist()
    padded, found, at = bytes(data) + bytes(5), [], 0
    for i in range(n):
        if at >= 8 * len(data):
            raise ValueError(f"data must hold {n} symbols, and it ends after {i}")
        byte, bit = divmod(at, 8)
        window = int.from_bytes(padded[byte : byte + 5], "big") >> (8 - bit) & 0xFFFFFFFF
        if window >= end:
            raise ValueError(f"data must hold words of this code, and none begins at bit {at}")
        k = bisect.bisect_right(begins, window) - 1
        found.append(symbols[k])
        at += sizes[k]
    if at > 8 * len(data):
        raise ValueError(f"data must hold {n} symbols, and it ends within the last")
    return np.array(found, dtype=np.int64)


def _checked(counts) -> np.ndarray:
    """Counts as float64 in one axis."""
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum() > 0:
        raise ValueError("counts must be numbers in one axis, 0 or more and not all 0")
    return counts


def _lengths(lengths) -> np.ndarray:
    """Lengths as int64 in one axis, of a code that exists (Kraft, 1949)."""
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or ((lengths < 0) | (lengths > _LONGEST)).any():
        raise ValueError(f"lengths must be whole numbers of bits in one axis, from 0 to {_LONGEST}, got {lengths!r}")
    lengths = lengths.astype(np.int64)
    kraft = (0.5 ** lengths[lengths > 0]).sum()
    if kraft > 1:
        raise ValueError(f"lengths must be those of a prefix code, Σ 2^-length at most 1, got {kraft:g}")
    return lengths
