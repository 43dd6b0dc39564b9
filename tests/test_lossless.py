"""bfloat16's fields against ml_dtypes; Huffman between the entropy and one bit more, beside zlib, bz2 and lzma."""

import bz2
import itertools
import lzma
import zlib

import ml_dtypes
import numpy as np
import pytest
import torch

from course_lib.formats import lossless
from course_lib.formats.lossless import bfloat16_fields, code_words, decode, encode, entropy, huffman


def drawn(seed, n=4000, symbols=30, much=2.0):
    """Symbols of very different frequency, and how often each one comes."""
    g = np.random.default_rng(seed)
    p = np.exp(-much * np.abs(np.arange(symbols) - symbols / 2) * g.random())
    found = g.choice(symbols, size=n, p=p / p.sum())
    return found, np.bincount(found, minlength=symbols)


# fields


def test_every_bfloat16_number_is_what_its_fields_say():
    """All 65,536 patterns; those of NaN do not equal themselves and are refused."""
    every = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    numbers = every[np.isfinite(every)]
    f = {name: field.astype(np.float64) for name, field in bfloat16_fields(torch.from_numpy(numbers)).items()}
    normal = f["exponent"] > 0
    size = np.where(normal, 1 + f["mantissa"] / 128, f["mantissa"] / 64) * 2.0 ** (f["exponent"] - 127)
    assert np.array_equal((1 - 2 * f["sign"]) * size, numbers.astype(np.float64))
    assert np.array_equal(np.signbit(numbers), f["sign"] == 1)  # -0, too


def test_what_bfloat16_cannot_hold_is_refused():
    for bad in (torch.tensor([0.1]), torch.tensor([float("nan")]), [1.0]):
        with pytest.raises(ValueError, match="w must hold numbers that bfloat16 has"):
            bfloat16_fields(bad)
    assert bfloat16_fields(torch.tensor([0.1], dtype=torch.bfloat16))["exponent"] == 123


# entropy and Huffman's code


@pytest.mark.parametrize("seed", range(10))
def test_entropy_is_that_of_torch(seed):
    _, counts = drawn(seed)
    theirs = torch.distributions.Categorical(torch.from_numpy(counts / counts.sum())).entropy() / np.log(2)
    assert entropy(counts) == pytest.approx(theirs.item(), rel=1e-9)


def test_entropy_of_equal_shares_and_of_one():
    assert entropy([7] * 32) == 5.0 and entropy([0, 9]) == 0.0 and str(entropy([3])) == "0.0"


@pytest.mark.parametrize("seed", range(20))
def test_the_laws_of_a_code(seed):
    found, counts = drawn(seed, symbols=2 + seed * 5, much=0.1 * seed)
    lengths = huffman(counts)
    mean = (counts * lengths).sum() / counts.sum()
    assert entropy(counts) - 1e-9 <= mean < entropy(counts) + 1
    assert ((lengths > 0) == (counts > 0)).all() and (0.5 ** lengths[lengths > 0]).sum() == 1.0
    words = [f"{w:0{n}b}" for w, n in zip(code_words(lengths), lengths, strict=True) if n]
    assert not any(b.startswith(a) for a, b in itertools.permutations(words, 2))
    data = encode(found, lengths)
    assert len(data) == -(-(counts * lengths).sum() // 8)
    assert np.array_equal(decode(data, lengths, len(found)), found)


def test_no_other_prefix_code_is_shorter():
    """All lengths of five symbols that a prefix code may have (Kraft), tried one by one."""
    for seed in range(5):
        counts = np.random.default_rng(seed).integers(1, 40, 5)
        best = min(np.dot(counts, n) for n in itertools.product(range(1, 5), repeat=5) if sum(0.5**k for k in n) <= 1)
        assert (counts * huffman(counts)).sum() == best


def test_the_words_are_those_of_the_standard():
    """RFC 1951, section 3.2.2: the example with lengths 3 3 3 3 3 2 4 4."""
    words = code_words([3, 3, 3, 3, 3, 2, 4, 4])
    assert words.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


def test_zlib_writes_its_own_lengths_for_the_same_counts():
    """zlib, told to use Huffman's code alone, comes to the same size; its header and its end take some bytes."""
    found, counts = drawn(3, n=60_000, symbols=27, much=0.8)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    theirs = squeezer.compress(found.astype(np.uint8).tobytes()) + squeezer.flush()
    ours = len(encode(found, huffman(counts)))
    assert 0 <= len(theirs) - ours < 0.01 * ours + 100


def test_general_coders_stay_above_the_entropy_of_independent_symbols():
    found, counts = drawn(4, n=100_000, symbols=20, much=0.7)
    raw = found.astype(np.uint8).tobytes()
    least = entropy(counts) * len(found) / 8
    for squeeze in (zlib.compress, bz2.compress, lzma.compress):
        assert least < len(squeeze(raw)) < len(raw)
    assert least <= len(encode(found, huffman(counts))) <= least + len(found) / 8


def test_a_single_symbol_takes_a_bit():
    assert huffman([0, 5]).tolist() == [0, 1]
    assert decode(encode([1] * 9, [0, 1]), [0, 1], 9).tolist() == [1] * 9
    assert encode([], [1, 1]) == b"" and decode(b"", [1, 1], 0).tolist() == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: entropy([0, 0]), "counts must be numbers in one axis, 0 or more and not all 0"),
        (lambda: huffman([1, -1]), "counts must be"),
        (lambda: huffman([[1, 1]]), "counts must be"),
        (lambda: entropy([1, float("nan")]), "counts must be"),
        (lambda: code_words([1, 1, 1]), "Σ 2\\^-length at most 1, got 1.5"),
        (lambda: code_words([33, 1]), "from 0 to 32"),
        (lambda: code_words([0.5]), "whole numbers of bits"),
        (lambda: encode([2], [1, 1]), "symbols must each have a code word"),
        (lambda: encode([1], [1, 0]), "symbols must each have a code word"),
        (lambda: encode([0.5], [1, 1]), "symbols must be whole numbers in one axis, got float64"),
        (lambda: encode([[0]], [1, 1]), "symbols must be whole numbers in one axis"),
        (lambda: decode(b"\x00", [1, 1], 9), "data must hold 9 symbols, and it ends after 8"),
        (lambda: decode(b"\xff", [1, 3, 3, 3, 3], 3), "data must hold 3 symbols, and it ends within the last"),
        (lambda: decode(b"\x80", [1, 0], 1), "none begins at bit 0"),
    ],
)
def test_bad_input_hears_one_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("seed", range(50))
def test_broken_data_is_refused_or_gives_symbols_of_the_code(seed):
    g = np.random.default_rng(seed)
    _, counts = drawn(seed % 7)
    lengths = huffman(counts)
    data = g.integers(0, 256, 40, dtype=np.uint8).tobytes()
    try:
        found = decode(data, lengths, 60)
    except ValueError as error:
        assert "data must hold" in str(error)
    else:
        assert (lengths[found] > 0).all() and encode(found, lengths)[:-1] == data[: len(encode(found, lengths)) - 1]


def test_the_bundled_weights_come_back_bit_for_bit():
    from course_lib import models

    model, _ = models.load("bundled")
    w = model.model.layers[1].self_attn.v_proj.weight.detach()
    f = bfloat16_fields(w)
    lengths = huffman(np.bincount(f["exponent"], minlength=256))
    exponent = decode(encode(f["exponent"], lengths), lengths, w.numel())
    bits = f["sign"].astype(np.uint16) << 15 | exponent.astype(np.uint16) << 7 | f["mantissa"]
    assert torch.equal(torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().reshape(w.shape), w)
    assert lossless.entropy(np.bincount(f["exponent"])) < 4
