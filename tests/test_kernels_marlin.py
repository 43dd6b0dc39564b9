"""Marlin's order of weights: the bytes that its own Layer.pack makes, and the registers that the instruction wants."""

import hashlib

import pytest
import torch

from course_lib.kernels import marlin


def drawn(n=256, k=128):
    row, column = torch.arange(n)[:, None], torch.arange(k)[None]
    return (7 * row + 3 * column + row * column // 5) % 16


def test_the_bytes_are_marlins():
    """SHA-256 of Layer.pack's words at IST-DASLab/marlin 0f102e1, for the same codes."""
    words = marlin.pack(drawn()).numpy().astype("<i4")
    assert words.shape == (8, 512)
    found = hashlib.sha256(words.tobytes()).hexdigest()
    assert found == "5983e5cec1f86cde6925432d337f0182b33d90cea709b1fc5c225b401d56a76f"


def test_all_codes_come_back():
    codes = torch.randint(0, 16, (128, 48), generator=torch.Generator().manual_seed(0))
    assert torch.equal(marlin.unpack(marlin.pack(codes)), codes.int())


def test_a_thread_finds_its_operand_in_its_16_bytes():
    """PTX: thread t of mma.m16n8k16 holds b[2(t % 4) + {0, 1, 8, 9}] of column t // 4, two to a register."""
    codes = drawn()
    words = marlin.pack(codes).view(8, 4, 32, 4)  # 16 rows, 64 columns, thread, tile
    for thread, tile in ((0, 0), (5, 1), (31, 3)):
        word = words[2, 1, thread, tile].item() & 0xFFFFFFFF
        for half in range(2):
            n = 64 + 16 * tile + 8 * half + thread // 4
            for below in range(2):
                pair = word >> (8 * half + 4 * below) & 0x000F000F  # what one lop3 takes
                k = 32 + 8 * below + 2 * (thread % 4)
                assert pair == codes[n, k] | codes[n, k + 1] << 16


def test_shapes_that_do_not_fill_a_strip():
    with pytest.raises(ValueError, match="a multiple of 64, a multiple of 16"):
        marlin.pack(torch.zeros(32, 16, dtype=torch.int32))
