"""ggml's blocks byte for byte: against ggml's own C code for every type, kind of data, with and without importance."""

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from course_lib.formats import ggml
from course_lib.formats.ggml.fields import join_scales, split_scales
from tests import ggml_oracle

COLS = 1024
rng = np.random.default_rng(0)
GAUSS = rng.standard_normal((64, COLS)).astype(np.float32)
DATA = {
    "gaussian": GAUSS[:16] * 0.02,
    "heavy-tailed": (rng.standard_t(2, GAUSS.shape) * 0.05)[:16].astype(np.float32),
    "sparse": np.where(rng.random(GAUSS.shape) < 0.05, GAUSS, 0).astype(np.float32),  # all 64 rows: ties are rare
    "constant": np.full((2, COLS), 0.3, np.float32),
    "negative constant": np.full((2, COLS), -0.3, np.float32),
    "all-positive": np.abs(GAUSS[:16]),
    "zero": np.zeros((2, COLS), np.float32),
    "whole numbers": np.rint(4 * GAUSS[:16]),
    "huge": GAUSS[:8] * np.float32(1e30),
    "tiny": GAUSS[:8] * np.float32(1e-30),
    "subnormal": GAUSS[:8] * np.float32(1e-39),
    "all magnitudes": (GAUSS[:16] * np.exp(rng.uniform(-60, 60, (16, COLS)))).astype(np.float32),
}
TOO_LARGE = "huge", "all magnitudes"  # for some codebooks: ggml ends the process, ours says so
IMPORTANCE = rng.random(COLS).astype(np.float32) ** 4


def different_blocks(name, got, want):
    size = ggml.TYPES[name].block_bytes
    return int((got.reshape(-1, size) != want.reshape(-1, size)).any(1).sum())


def test_the_types_are_those_of_ggml():
    assert {name: t.type_id for name, t in ggml.TYPES.items()} == ggml_oracle.IDS
    for name, t in ggml.TYPES.items():
        if name != "Q2_0":  # younger than this gguf package
            assert (t.elements, t.block_bytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        assert t.row_bytes(COLS) == ggml_oracle.LIB.ggml_row_size(t.type_id, COLS)


@pytest.mark.parametrize("importance", [None, IMPORTANCE], ids=["plain", "imatrix"])
@pytest.mark.parametrize("name", ggml.WRITTEN)
def test_every_byte_is_that_of_ggml(name, importance):
    if importance is None and ggml.TYPES[name].needs_imatrix:
        with pytest.raises(ValueError, match=f"imatrix must be given for {name}"):
            ggml.quantize(DATA["gaussian"], name)
        return
    for kind, x in DATA.items():
        try:
            ours = ggml.quantize(x, name, importance)
        except ValueError as error:
            assert str(error).startswith(f"x must be smaller for {name}, got magnitudes up to ")
            assert kind in TOO_LARGE and ggml_oracle.ends(x, name, importance), kind
        else:
            assert different_blocks(name, ours, ggml_oracle.quantize(x, name, importance)) == 0, kind


@pytest.mark.parametrize("name", ggml.TYPES)
def test_every_number_comes_back_as_from_ggml(name):
    """Any bytes: scales that are infinite, not a number or subnormal among them."""
    data = np.random.default_rng(1).integers(0, 256, (64, ggml.TYPES[name].row_bytes(COLS)), dtype=np.uint8)
    ours = ggml.dequantize(data, name)
    assert np.array_equal(ours, ggml_oracle.dequantize(data, name, COLS), equal_nan=True)
    if name not in ("Q1_0", "Q2_0"):  # the package does not decode them
        assert np.array_equal(ours, gguf.dequantize(data, gguf.GGMLQuantizationType[name]), equal_nan=True)


ROWS = hnp.arrays(np.float32, (1, 256), elements=st.floats(-8, 8, width=32) | st.sampled_from([0.0, -0.0, 0.5, 1e-20]))


@pytest.mark.parametrize("name", ggml.WRITTEN)
@given(x=ROWS)
def test_any_row_is_that_of_ggml(name, x):
    importance = IMPORTANCE[:256] if ggml.TYPES[name].needs_imatrix else None
    assert different_blocks(name, ggml.quantize(x, name, importance), ggml_oracle.quantize(x, name, importance)) == 0


@pytest.mark.parametrize("name", ggml.WRITTEN)
def test_a_single_block_is_that_of_ggml(name):
    """One row of one block: NumPy adds up an array of one column in another order than one of several.

    Weighed, since the order is hardly ever seen where weights are alike.
    """
    size = ggml.TYPES[name].elements
    for x in np.random.default_rng(0).standard_normal((200, 1, size)).astype(np.float32):
        ours = ggml.quantize(x, name, IMPORTANCE[:size])
        assert different_blocks(name, ours, ggml_oracle.quantize(x, name, IMPORTANCE[:size])) == 0


def test_q4_0_by_hand():
    """-8 … 7 in steps of 1/2: the number of largest magnitude, -8, becomes code 0, so d = 1 and halves round up."""
    x = np.arange(-8, 8, 0.5, dtype=np.float32)[None]
    block = ggml.quantize(x, "Q4_0").view(ggml.TYPES["Q4_0"].dtype)[0, 0]
    assert block["d"] == 1.0
    assert (block["qs"] & 15).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8]
    assert (block["qs"] >> 4).tolist() == [8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 15]


def test_twelve_bytes_hold_sixteen_six_bit_numbers():
    sc, m = np.random.default_rng(2).integers(0, 64, (2, 8, 1000), dtype=np.uint8)
    back = split_scales(join_scales(sc, m))
    assert np.array_equal(back[0].T, sc) and np.array_equal(back[1].T, m)


def test_an_accepted_try_moves_the_minimum():
    """The search of Q4_K with a fixed minimum would give other bytes; this row tells the two apart."""
    from course_lib.formats.ggml import search

    x = np.ascontiguousarray(GAUSS.reshape(-1, 32).T)
    w = np.abs(x) + 1
    scale, minus_minimum, codes = search.affine(x, w, 15, -1.0, 0.1, 20)
    better = ((w * (scale * codes - minus_minimum - x) ** 2).sum(0)).mean()
    scale, minus_minimum, codes = search.affine(x, w, 15, -1.0, 0.1, 0)
    assert better < 0.95 * ((w * (scale * codes - minus_minimum - x) ** 2).sum(0)).mean()


def test_tensors_give_tensors_and_16_bit_weights_are_read():
    x = torch.randn(4, 512, dtype=torch.bfloat16)
    blocks = ggml.quantize(x, "q4_K")
    assert blocks.dtype == torch.uint8 and blocks.shape == (4, 288)
    assert np.array_equal(blocks.numpy(), ggml_oracle.quantize(x.float().numpy(), "Q4_K"))
    assert ggml.dequantize(blocks, "Q4_K").shape == (4, 512)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ggml.quantize(torch.ones(1, 100), "Q4_0"), "x must have rows of whole Q4_0 blocks, a multiple of 32"),
        (lambda: ggml.quantize(torch.ones(1, 64), "Q4_K"), "a multiple of 256 columns, got 64"),
        (lambda: ggml.quantize(torch.ones(64), "Q4_0"), "x must be a floating-point matrix"),
        (lambda: ggml.quantize(torch.ones(1, 64).int().numpy(), "Q4_0"), "x must be a floating-point matrix"),
        (lambda: ggml.quantize(torch.full((1, 32), torch.nan), "Q4_0"), "x must be finite"),
        (lambda: ggml.quantize(torch.ones(1, 32), "Q4_7"), "type must be one of Q4_0, "),
        (lambda: ggml.quantize(torch.ones(1, 32), 12), "type must be one of Q4_0, "),
        (lambda: ggml.quantize(torch.ones(1, 32), "Q4_0", torch.ones(31)), "imatrix must hold 32 finite numbers"),
        (lambda: ggml.quantize(torch.ones(1, 32), "Q4_0", -torch.ones(32)), "imatrix must hold 32 finite numbers"),
        (lambda: ggml.dequantize(torch.zeros(1, 17, dtype=torch.uint8), "Q4_0"), "a multiple of 18 bytes, got 17"),
        (lambda: ggml.dequantize(torch.zeros(1, 18), "Q4_0"), "blocks must be uint8"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        call()
