"""Which weights hang on which bit of a block: turn every bit over and see what ggml's decoders say. Ours beside C's."""

import numpy as np
import pytest
import torch

from course_lib.formats import ggml
from course_lib.formats.ggml import anatomy, layouts, native
from tests import ggml_oracle


def blocks_of(name):
    """Random blocks whose shared numbers are finite and not zero."""
    kind, rng = ggml.block_type(name), np.random.default_rng(0)
    data = np.stack([rng.permutation(256).astype(np.uint8) for _ in range(kind.block_bytes)], axis=1)
    records = data.reshape(-1).view(kind.dtype)
    for field in {"d", "dmin", "m"} & set(kind.dtype.names):
        if kind.dtype[field] == np.float16:
            records[field] = 1.37
    if "e" in kind.dtype.names:
        records["e"] = 0b1000101
    if name == "IQ1_M":  # d lies in the top nibbles of four words: 0x3d7b is 1.37
        data[:, -7::2] = data[:, -7::2] & 15 | np.uint8([0xB0, 0x70, 0xD0, 0x30])
    if name == "NVFP4":  # a scale of 255 reads as 480, one of 127 as 0: let no code of 0 hide that
        records["qs"][(records["d"] & 127 == 127).any(axis=1)] = 0x22
    return data


def test_all_types_are_described():
    assert set(anatomy.DESCRIBED) == set(ggml_oracle.IDS) == set(ggml.TYPES) and len(anatomy.DESCRIBED) == 25
    assert {run.role for runs in layouts.LAYOUTS.values() for run in runs} == set(layouts.ROLES)


@pytest.mark.parametrize("name", anatomy.DESCRIBED)
def test_every_bit_of_a_block_belongs_to_exactly_one_number(name):
    """Counted from the table itself, so that `pieces` cannot hide a bit that two runs name."""
    kind = ggml.block_type(name)
    taken = np.zeros(8 * kind.block_bytes, int)
    for run in layouts.LAYOUTS[name]:
        starts = np.zeros(1, int)
        for count, distance in run.steps:
            starts = (starts[:, None] + distance * np.arange(count)).ravel()
        inside = (starts[:, None] + run.start + np.arange(run.width)).ravel()
        assert inside.min() >= 0 and inside.max() < 8 * kind.dtype[run.field].itemsize, run
        taken[8 * kind.dtype.fields[run.field][1] + inside] += 1
    assert (taken == 1).all()
    for byte in range(kind.block_bytes):
        found = anatomy.pieces(name, byte)
        assert [p.low for p in found] == list(np.cumsum([0, *(p.width for p in found)])[:-1])
        assert sum(p.width for p in found) == 8


def held(p, bit):
    """The weights that one bit of a piece may move: seven signs tell the eighth, so that each moves two."""
    return {p.weights[bit - p.low + p.shift], p.weights[7]} if p.role == "signs" else set(p.weights)


@pytest.mark.parametrize("name", anatomy.DESCRIBED)
def test_a_bit_turned_over_moves_the_weights_that_it_is_said_to_hold(name):
    """Never another weight, and each of them in at least one of the blocks (a code of 0 hides its scale).

    Two rows of a codebook may share a weight; there all bits of a row's number together move all of its weights.
    """
    data, elements, by_row = blocks_of(name), ggml.block_type(name).elements, {}
    before = ggml_oracle.dequantize(data, name, elements)
    for byte in range(data.shape[1]):
        for piece in anatomy.pieces(name, byte):
            for bit in range(piece.low, piece.low + piece.width):
                flipped = data.copy()
                flipped[:, byte] ^= 1 << bit
                with np.errstate(all="ignore"):
                    moved = set(np.flatnonzero((ggml_oracle.dequantize(flipped, name, elements) != before).any(0)))
                if piece.role == "row":
                    assert moved and moved <= set(piece.weights), (name, byte, bit)
                    by_row.setdefault((piece.index, piece.weights), set()).update(moved)
                else:
                    assert moved == held(piece, bit), (name, byte, bit)
    assert all(moved == set(weights) for (_, weights), moved in by_row.items())


@pytest.mark.parametrize("name", anatomy.DESCRIBED)
def test_the_numbers_put_together_give_ggml_s_weights_exactly(name):
    """Each step of a formula is exact in float64 but the last sum, which C rounds, too."""
    data, elements = blocks_of(name)[:12], ggml.block_type(name).elements
    for block, weights in zip(data, ggml_oracle.dequantize(data, name, elements), strict=True):
        found = anatomy.numbers(name, block)
        for j, want in enumerate(weights.tolist()):
            text = anatomy.FORMULAS[name].format(**anatomy.terms(name, found, j))
            text = text.replace("−", "-").replace("·", "*").replace("2^-", "2.0**-").replace("2^", "2.0**")
            assert np.float32(eval(text)) == want, (name, j, text)


@pytest.mark.parametrize("name", anatomy.DESCRIBED)
def test_every_number_has_all_of_its_bits_once_and_every_weight_its_numbers(name):
    bits = {}
    for byte in range(ggml.block_type(name).block_bytes):
        for p in anatomy.pieces(name, byte):
            bits.setdefault((p.role, p.index), []).extend(range(p.shift, p.shift + p.width))
    assert all(sorted(found) == list(range(len(found))) for found in bits.values())
    assert len({(role, len(found)) for (role, _), found in bits.items()}) == len({role for role, _ in bits})
    for role in {role for role, _ in bits}:
        indices = sorted(index for r, index in bits if r == role)
        assert indices == list(range(len(indices)))
        of = [p.weights for p in _pieces(name) if p.role == role]
        assert {j for weights in of for j in weights} == set(range(ggml.block_type(name).elements))


def _pieces(name):
    return [p for byte in range(ggml.block_type(name).block_bytes) for p in anatomy.pieces(name, byte)]


def test_the_seven_bits_of_a_sign_may_lie_in_two_bytes():
    found = [p for p in _pieces("IQ2_XXS") if (p.role, p.index) == ("signs", 1)]
    assert [(p.low, p.width, p.shift) for p in found] == [(7, 1, 0), (0, 6, 1)]
    assert found[0].weights == range(8, 16)
    assert anatomy.pieces("TQ1_0", 33)[0].weights == range(161, 240, 16)


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
