"""Which weights hang on which bit of a block: turn every bit over and see what ggml's decoders say. Ours beside C's."""

import numpy as np
import pytest
import torch

from course_lib.formats import ggml
from course_lib.formats.ggml import anatomy, native
from tests import ggml_oracle

BLOCKS = 24


def blocks_of(name):
    """Random blocks whose shared numbers are finite and not zero."""
    kind = ggml.block_type(name)
    data = np.random.default_rng(0).integers(0, 256, (BLOCKS, kind.block_bytes), dtype=np.uint8)
    records = data.reshape(-1).view(kind.dtype)
    for field in {"d", "dmin"} & set(kind.dtype.names):
        records[field] = 1.37
    if "e" in kind.dtype.names:
        records["e"] = 0b1000101
    return data


@pytest.mark.parametrize("name", anatomy.DESCRIBED)
def test_a_bit_turned_over_moves_the_weights_that_it_is_said_to_hold(name):
    """Never another weight, and each of them in at least one of the blocks (a code of 0 hides its scale)."""
    data, elements = blocks_of(name), ggml.block_type(name).elements
    before = ggml_oracle.dequantize(data, name, elements)
    for byte in range(data.shape[1]):
        found = anatomy.pieces(name, byte)
        assert [p.low for p in found] == list(np.cumsum([0, *(p.width for p in found)])[:-1])
        assert sum(p.width for p in found) == 8
        for piece in found:
            for bit in range(piece.low, piece.low + piece.width):
                flipped = data.copy()
                flipped[:, byte] ^= 1 << bit
                with np.errstate(all="ignore"):
                    moved = ggml_oracle.dequantize(flipped, name, elements) != before
                assert set(np.flatnonzero(moved.any(0))) == set(piece.weights), (name, byte, bit)


@pytest.mark.parametrize("name", anatomy.DESCRIBED)
def test_every_number_has_all_of_its_bits_once(name):
    bits = {}
    for byte in range(ggml.block_type(name).block_bytes):
        for p in anatomy.pieces(name, byte):
            bits.setdefault((p.role, p.index), []).extend(range(p.shift, p.shift + p.width))
    wide = {"d": 16, "dmin": 16, "e": 8, "scale": 6, "minimum": 6, "code": {"Q8_0": 8, "Q6_K": 6}.get(name, 4)}
    wide |= {"scale": 8} if name == "Q6_K" else {}
    assert all(sorted(found) == list(range(wide[role])) for (role, _), found in bits.items())
    assert sum(role == "code" for role, _ in bits) == ggml.block_type(name).elements


def test_the_fields_are_ggml_s():
    assert [anatomy.field_of("Q6_K", k) for k in (0, 127, 128, 192, 208, 209)] == [
        ("ql", 0), ("ql", 127), ("qh", 0), ("scales", 0), ("d", 0), ("d", 1)]  # fmt: skip
    with pytest.raises(ValueError, match="byte must be 0 … 17 in a block of Q4_0, got 18"):
        anatomy.pieces("Q4_0", 18)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_K", "IQ4_XS"])
def test_ggml_itself_writes_the_bytes_that_ours_does(name):
    x, w = torch.randn(4, 512, generator=torch.Generator().manual_seed(1)), torch.rand(512)
    assert torch.equal(native.quantize(x, name), ggml.quantize(x, name))
    assert torch.equal(native.quantize(x, name, w), ggml.quantize(x, name, w))


def test_bad_input_to_ggml_itself_is_refused_before_it_gets_there():
    for x in (torch.ones(1, 100), torch.ones(256), torch.full((1, 256), torch.nan)):
        with pytest.raises(ValueError, match=r"x must be finite \(rows, cols\) with cols a multiple of 256"):
            native.quantize(x, "IQ3_S")
    with pytest.raises(ValueError, match="imatrix must hold 256 numbers"):
        native.quantize(torch.ones(1, 256), "IQ3_S", torch.ones(255))
    for name in ("IQ2_XXS", "IQ2_XS", "IQ1_S"):  # ggml would end the process
        with pytest.raises(ValueError, match=f"imatrix must be given for {name}"):
            native.quantize(torch.ones(1, 256), name)
