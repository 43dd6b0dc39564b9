"""The codebooks below three bits and IQ3_S: every row, sign, scale and bit against ggml's C and the gguf package."""

import gguf
import numpy as np
import pytest
import torch

from course_lib.formats import ggml
from course_lib.formats.ggml import codebook
from course_lib.formats.ggml.block import BlockType
from tests import ggml_oracle

NAMES = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
ROWS = {"IQ1_S": 2048, "IQ2_XXS": 256, "IQ2_XS": 512, "IQ2_S": 1024, "IQ3_XXS": 256, "IQ3_S": 512}
ODD = {8: 1, 25: 3, 43: 5}
D = 0.7163  # as fp16; its last bits show in every product


def blocks(name, n, seed=0):
    """n blocks of random bytes under a finite d."""
    kind = ggml.TYPES[name]
    data = np.random.default_rng(seed).integers(0, 256, (n, kind.block_bytes), dtype=np.uint8)
    records = data.reshape(-1).view(kind.dtype)
    if name == "IQ1_M":  # the nibbles of d lie at the top of four words
        words, d = records["scales"].copy().view("<u2"), int(np.float16(D).view(np.uint16))
        records["scales"] = ((words & 0x0FFF) | np.uint16([d << 12 - 4 * k & 0xF000 for k in range(4)])).view(np.uint8)
    else:
        records["d"] = D
    return data


def same_bits(ours, theirs):
    return np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize("name", NAMES)
def test_every_row_sign_and_scale_is_ggml_s(name):
    """Enough random blocks that each row of the grid, each pattern of signs and each scale has been read."""
    kind, data = ggml.TYPES[name], blocks(name, 3000)
    ours, records = kind.dequantize(data), data.reshape(-1).view(kind.dtype)
    assert same_bits(ours, ggml_oracle.dequantize(data, name, 256))
    assert same_bits(ours, np.ascontiguousarray(gguf.dequantize(data, gguf.GGMLQuantizationType[name])))
    scales = 8 if name.startswith("IQ1") else 16
    assert len(np.unique(kind.scales(records))) == scales
    if name.startswith("IQ1"):
        index = records["qs"] | kind.high(records).astype(np.uint16) << 8
        assert np.array_equal(np.unique(index), np.arange(2048)) and len(np.unique(kind.minus(records))) == 2
    else:
        assert np.array_equal(np.unique(kind.index(records)), np.arange(ROWS[name]))
        signs = kind.signs(records).reshape(-1, 8)
        assert len(np.unique(signs, axis=0)) == (128 if name in ("IQ2_XXS", "IQ2_XS", "IQ3_XXS") else 256)


@pytest.mark.parametrize("name", NAMES)
def test_every_bit_matters_and_ours_is_theirs(name):
    """Block k has bit k turned over."""
    bits = 8 * ggml.TYPES[name].block_bytes
    data = np.repeat(blocks(name, 24)[:, None], bits, 1).reshape(24 * bits, -1)
    flipped = data.copy()
    bit = np.tile(np.arange(bits), 24)
    flipped[np.arange(len(bit)), bit // 8] ^= (1 << bit % 8).astype(np.uint8)
    before, after = (ggml.dequantize(rows, name) for rows in (data, flipped))
    assert np.array_equal(after, ggml_oracle.dequantize(flipped, name, 256), equal_nan=True)
    assert (before != after).any(1).reshape(24, bits).any(0).all()  # a grid's rows may share the weights of one block


@pytest.mark.parametrize("name", ROWS)
def test_a_grid_holds_different_rows(name):
    grid = codebook.grid(name)
    assert grid.shape == (ROWS[name], 4 if name.startswith("IQ3") else 8)
    assert len(np.unique(grid, axis=0)) == ROWS[name]


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ2_XS", "IQ2_S"])
def test_rows_under_an_even_number_of_signs_are_points_of_e8(name):
    """E8: eight halves of odd numbers (or eight whole numbers) whose sum is even; here all are doubled."""
    rows = np.vectorize(ODD.get)(codebook.grid(name).astype(int))
    points = (rows[:, None] * codebook.SIGNS[None]).reshape(-1, 8)
    assert (points % 2 == 1).all() and (points.sum(1) % 4 == 0).all()
    assert len(np.unique(points, axis=0)) == 128 * len(rows)
    assert ((points * [-1, 1, 1, 1, 1, 1, 1, 1]).sum(1) % 4 == 2).all()  # one sign more, and it is none


def test_the_rows_of_iq3_xxs_are_points_of_d4():
    """D4: four whole numbers with an even sum, here moved by the halves that make them odd."""
    grid = codebook.grid("IQ3_XXS").astype(int)
    rows = np.where(grid == 62, 60, grid) // 4
    assert set(rows.ravel().tolist()) == {1, 3, 5, 7, 9, 11, 13, 15} and (rows.sum(1) % 4 == 0).all()


def test_seven_bits_give_eight_signs():
    assert (codebook.SIGNS.prod(1) == 1).all() and len(np.unique(codebook.SIGNS, axis=0)) == 128
    assert codebook.SIGNS[0b1011].tolist() == [-1, -1, 1, -1, 1, 1, 1, -1]
    stored = np.frombuffer(gguf.quants.IQ2_XXS.ksigns, np.uint8)[:, None]
    assert np.array_equal(codebook.SIGNS, codebook.of_bits(stored))


def test_the_grid_of_iq3_s_holds_all_odd_numbers_up_to_15():
    assert set(codebook.grid("IQ3_S").flatten().tolist()) == {1, 3, 5, 7, 9, 11, 13, 15}


def test_every_type_is_written_and_one_that_were_not_would_be_refused(monkeypatch):
    """Types are read before they are written; ggml's next one will be, too."""
    assert ggml.WRITTEN == tuple(ggml.TYPES) and ggml.block_type("iq2_xs").name == "IQ2_XS"
    monkeypatch.setattr(type(ggml.TYPES["IQ2_XS"]), "encode", BlockType.encode)
    with pytest.raises(ValueError, match="got IQ2_XS, which llama.cpp writes: `llama-quantize --imatrix FILE`"):
        ggml.quantize(torch.ones(1, 256), "IQ2_XS")


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_are_no_whole_blocks_are_refused(name):
    size = ggml.TYPES[name].block_bytes
    with pytest.raises(ValueError, match=f"a multiple of {size} bytes, got {size - 1}"):
        ggml.dequantize(np.zeros((1, size - 1), np.uint8), name)
