"""How small numbers share bytes: nibbles, pairs of bits, and the six-bit scales of the K-quants."""

from __future__ import annotations

import numpy as np

BITS = np.arange(8, dtype=np.uint8)


def join_nibbles(codes: np.ndarray) -> np.ndarray:
    """Low four bits of codes, (2n, blocks) -> bytes (blocks, n): first half of a block low, second half high."""
    half = len(codes) // 2
    return ((codes[:half] & 15) | (codes[half:] << 4)).T


def split_nibbles(qs: np.ndarray) -> np.ndarray:
    """Bytes (blocks, n) -> codes (blocks, 2n): all low nibbles, then all high ones."""
    return np.concatenate([qs & 0x0F, qs >> 4], axis=1)


def pack_2_bits(codes: np.ndarray) -> np.ndarray:
    """Codes 0…3, (256, n) -> bytes (n, 64): byte l of a half holds weights l, l+32, l+64, l+96 of that half."""
    q = codes.reshape(2, 4, 32, -1)
    return (q[:, 0] | (q[:, 1] << 2) | (q[:, 2] << 4) | (q[:, 3] << 6)).reshape(64, -1).T


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Numbers 0 and 1, (8n, blocks) -> bytes (blocks, n): the first of eight is the lowest bit."""
    return np.bitwise_or.reduce(bits.reshape(-1, 8, bits.shape[1]) << BITS[:, None], axis=1).T


def pack_high_bits(bits: np.ndarray) -> np.ndarray:
    """Numbers 0 and 1, (256, n) -> bytes (n, 32): byte l holds those of weights l, l+32, l+64, …, l+224."""
    return np.bitwise_or.reduce(bits.reshape(8, 32, -1) << BITS[:, None, None], axis=0).T


def unpack_2_bits(qs: np.ndarray) -> np.ndarray:
    """Bytes (n, 64) -> codes (n, 256)."""
    q = qs.reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    return (q & 3).reshape(-1, 256)


def join_scales(sc: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Eight 6-bit scales and eight 6-bit minima, each (8, n) -> bytes (n, 12).

    Bytes 0-3 and 4-7 hold scales 0-3 and minima 0-3 in their low six bits; bytes 8-11 the low nibbles of scales and
    minima 4-7, whose top two bits fill up bytes 0-7.
    """
    first = sc[:4] | ((sc[4:] >> 4) << 6)
    second = m[:4] | ((m[4:] >> 4) << 6)
    return np.concatenate([first, second, (sc[4:] & 15) | ((m[4:] & 15) << 4)]).T


def split_scales(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (n, 12) -> scales and minima, each (n, 8); the way back from join_scales."""
    first, second, third = data[:, :4], data[:, 4:8], data[:, 8:]
    sc = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    return sc, np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
