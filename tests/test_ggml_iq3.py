"""IQ3_S by hand: against ggml's dequantizer and the gguf package on random bytes, and every bit that counts."""

import ctypes

import gguf
import numpy as np
import pytest

from course_lib.formats.ggml import iq3
from tests.ggml_oracle import LIB

IQ3_S = iq3.DECODED


def in_c(data):
    """ggml's own dequantize_row_iq3_s."""
    function = LIB.dequantize_row_iq3_s
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    data = np.ascontiguousarray(data)
    out = np.zeros((len(data), data.shape[1] // 110 * 256), np.float32)
    function(data.ctypes.data, out.ctypes.data, out.size)
    return out


def blocks(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 110), dtype=np.uint8)


def with_scale(n, d=0.5, seed=0):
    data = blocks(n, seed)
    data[:, :2] = np.frombuffer(np.float16(d).tobytes(), np.uint8)
    return data


def test_the_block_is_that_of_ggml():
    assert (IQ3_S.elements, IQ3_S.block_bytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.IQ3_S]
    assert IQ3_S.type_id == gguf.GGMLQuantizationType.IQ3_S.value and IQ3_S.bits_per_weight == 3.4375


@pytest.mark.parametrize("shape", [(64, 110), (5, 440)])
def test_any_bytes_come_back_as_from_ggml(shape):
    """Scales that are infinite, not a number or subnormal among them."""
    data = blocks(shape[0] * shape[1] // 110, 1).reshape(shape)
    ours = IQ3_S.dequantize(data)
    assert np.array_equal(ours, in_c(data), equal_nan=True)
    with np.errstate(all="ignore"):
        theirs = gguf.dequantize(data, gguf.GGMLQuantizationType.IQ3_S)
    assert np.array_equal(ours, theirs, equal_nan=True)


def test_every_row_of_the_grid_is_reached():
    data = with_scale(8)
    data[:, 2:66] = np.arange(512).reshape(8, 64) % 256
    data[:, 66:74] = np.where(np.arange(8)[:, None] < 4, 0, 255)
    data[:, 74:] = 0
    ours = IQ3_S.dequantize(data)
    assert np.array_equal(ours, in_c(data))
    assert np.array_equal(ours.reshape(512, 4), 0.5 * iq3.grid())


def test_the_grid_holds_512_different_fours_of_odd_numbers():
    grid = iq3.grid()
    assert len({tuple(row) for row in grid.tolist()}) == 512
    assert set(grid.flatten().tolist()) == {1, 3, 5, 7, 9, 11, 13, 15}


def test_every_bit_after_the_scale_matters_and_ours_is_theirs():
    """Block k has bit k + 16 turned over."""
    data = with_scale(864)
    flipped = data.copy()
    bit = np.arange(16, 880)
    flipped[np.arange(864), bit // 8] ^= (1 << bit % 8).astype(np.uint8)
    before, after = IQ3_S.dequantize(data), IQ3_S.dequantize(flipped)
    assert (before != after).any(1).all() and np.array_equal(after, in_c(flipped))


def test_bytes_that_are_no_whole_blocks_are_refused():
    with pytest.raises(ValueError, match="a multiple of 110 bytes, got 109"):
        IQ3_S.dequantize(np.zeros((1, 109), np.uint8))
