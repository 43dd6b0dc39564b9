"""Packing is one bit stream: equal to Python's big integers, to GPTQ's own words, and undone by unpack."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.formats.packing import pack, unpack

WORDS = {torch.uint8: (8, np.uint8), torch.int32: (32, np.uint32)}


def random_codes(shape, bits, seed=0):
    return torch.randint(0, 2**bits, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def big_integer_words(codes, bits, width):
    """The stream as one Python integer, cut into words: no shifts inside words, no masks."""
    stream = sum(int(c) << (i * bits) for i, c in enumerate(codes))
    return [(stream >> (width * j)) % 2**width for j in range(-(-len(codes) * bits // width))]


def gptq_qweight_3bit(codes):
    """GPTQ's published 3-bit layout (its quant.py): 32 codes in three words, codes 10 and 21 cut in two."""
    codes = [int(c) for c in codes]
    words = [sum(codes[i] << (3 * i) for i in range(10)), 0, 0]
    words[0] |= (codes[10] & 0b011) << 30
    words[1] |= codes[10] >> 2
    words[1] |= sum(codes[11 + i] << (3 * i + 1) for i in range(10))
    words[1] |= (codes[21] & 0b001) << 31
    words[2] |= codes[21] >> 1
    words[2] |= sum(codes[22 + i] << (3 * i + 2) for i in range(10))
    return words


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(1, 8), st.sampled_from(list(WORDS)))
def test_words_are_those_of_one_big_integer(data, bits, word):
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=70))
    packed = pack(torch.tensor(codes), bits, word=word)
    width, unsigned = WORDS[word]
    assert packed.dtype == word
    assert packed.numpy().view(unsigned).tolist() == big_integer_words(codes, bits, width)


@settings(deadline=None, max_examples=150)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    bits=st.integers(1, 8),
    axis=st.integers(-3, 2),
    word=st.sampled_from(list(WORDS)),
    signed=st.booleans(),
)
def test_unpack_undoes_pack_along_any_axis(shape, bits, axis, word, signed):
    axis = axis % len(shape)
    codes, offset = random_codes(shape, bits), 2 ** (bits - 1) if signed else 0
    codes = (codes.short() - offset).to(torch.int8) if signed else codes
    packed = pack(codes, bits, axis, word, offset=offset)
    back = unpack(packed, bits, shape[axis], axis, offset=offset)
    assert back.dtype == codes.dtype and torch.equal(back, codes)
    assert packed.shape[axis] == -(-shape[axis] * bits // WORDS[word][0])


def test_gptq_3bit_words():
    codes = random_codes((64, 5), 3)
    packed = pack(codes, 3, axis=0, word=torch.int32).numpy().view(np.uint32)
    assert packed.shape == (6, 5)
    for column in range(5):
        want = gptq_qweight_3bit(codes[:32, column]) + gptq_qweight_3bit(codes[32:, column])
        assert packed[:, column].tolist() == want


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gptq_words_of_bits_that_divide_32(bits):
    """qweight[r, c] = sum of codes[r * 32/b + i, c] << (b * i), with in_features along axis 0."""
    codes = random_codes((64, 7), bits)
    per = 32 // bits
    want = sum(codes.numpy().astype(np.uint32)[i::per] << np.uint32(bits * i) for i in range(per))
    assert np.array_equal(pack(codes, bits, axis=0, word=torch.int32).numpy().view(np.uint32), want)


def test_worked_examples():
    assert pack(torch.tensor([1, 2, 15, 4]), 4).tolist() == [0x21, 0x4F]
    assert pack(torch.tensor([0, 1, 2, 3]), 2).tolist() == [0b11100100]
    assert pack(torch.arange(8), 3).tolist() == [0b10001000, 0b11000110, 0b11111010]  # 76543210, three bits each
    assert pack(torch.tensor([15] * 8), 4, word=torch.int32).tolist() == [-1]
    assert pack(torch.tensor([5]), 3).tolist() == [5]  # bits left over are zero


def test_bytes_are_the_words_of_a_little_endian_file():
    codes = random_codes((3, 64), 3)
    assert torch.equal(pack(codes, 3, word=torch.int32).view(torch.uint8), pack(codes, 3))


def test_input_is_left_alone_and_result_owns_its_memory():
    codes = random_codes((4, 32), 8)
    kept, packed = codes.clone(), pack(codes, 8)
    packed.zero_()
    assert torch.equal(codes, kept)
    words = pack(codes, 8)
    unpack(words, 8, 32).zero_()
    assert torch.equal(words, kept)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: pack(torch.tensor([-7, 7], dtype=torch.int8), 4), r"in 0…15 for 4 bits, got -7…7: pass offset=8"),
        (lambda: pack(torch.tensor([16]), 4), "in 0…15 for 4 bits, got 16…16"),
        (lambda: pack(torch.tensor([9], dtype=torch.int8), 4, offset=8), "got 17…17"),
        (lambda: pack(torch.tensor([1.0]), 4), "codes must be a tensor of whole numbers, got torch.float32"),
        (lambda: pack([1, 2], 4), "codes must be a tensor, got list"),
        (lambda: pack(torch.tensor(1), 4), "codes must hold at least one code"),
        (lambda: pack(torch.empty(0, 4).byte(), 4), "codes must hold at least one code"),
        (lambda: pack(torch.tensor([1]), 0), "bits must be a whole number from 1 to 8, got 0"),
        (lambda: pack(torch.tensor([1]), 9), "bits must be .* got 9"),
        (lambda: pack(torch.tensor([1]), 4, axis=1), "axis must be one of the 1 axes of codes, got 1"),
        (lambda: pack(torch.tensor([1]), 4, word=torch.int64), "words must be torch.uint8 or torch.int32, got .*int64"),
        (lambda: pack(torch.tensor([1]), 4, offset=7), r"offset must be 0 or 8 \(half of the 4-bit range\), got 7"),
        (lambda: unpack(torch.tensor([1], dtype=torch.uint8), 4, 5), "5 codes of 4 bits fill 3 words .* has 1"),
        (lambda: unpack(torch.tensor([1, 2], dtype=torch.uint8), 4, 2), "2 codes of 4 bits fill 1 words .* has 2"),
        (lambda: unpack(torch.tensor([1]), 4, 2), "words must be torch.uint8 or torch.int32, got torch.int64"),
    ],
)
def test_bad_input_is_one_clear_sentence(call, says):
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
