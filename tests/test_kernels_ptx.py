"""Inline PTX in NumPy: integers against NumPy's own, 16-bit floats against torch on every pattern, bytes by hand."""

import numpy as np
import pytest
import torch

from course_lib.kernels import gemm
from course_lib.kernels.interpreter import ptx
from course_lib.kernels.packing import pack_words

ALL = np.arange(65536, dtype=np.uint16)
TORCH = {"f16x2": torch.float16, "bf16x2": torch.bfloat16}


def as_torch(patterns, kind):
    return torch.from_numpy(patterns.view(np.int16)).view(TORCH[kind])


def evaluate(text, *patterns):
    """Run `text` on pairs of 16-bit elements."""
    return ptx.evaluate(text, [p.view(np.int16) for p in patterns], [np.int16], 2)[0].view(np.uint16)


def same(found, wanted, kind):
    found = as_torch(found, kind)
    return bool(((found == wanted) | (found.isnan() & wanted.isnan())).all())


@pytest.mark.parametrize("kind", TORCH)
@pytest.mark.parametrize("verb", ["add", "sub", "mul"])
def test_arithmetic_is_torchs_on_every_pattern(verb, kind):
    for other in (0x0001, 0x3C55, 0x8000, 0x4300, 0xE408, 0x7C00):
        b = np.full_like(ALL, other)
        wanted = getattr(torch, verb)(as_torch(ALL, kind), as_torch(b, kind))
        assert same(evaluate(f"{verb}.{kind} $0, $1, $2;", ALL, b), wanted, kind)


@pytest.mark.parametrize("kind", TORCH)
def test_fma_rounds_once_to_nearest_even(kind):
    """Neither neighbour of the result is nearer to a·b + c, and on a tie the result is the even one."""
    a, b, c = ALL, np.roll(ALL, 12345), np.roll(ALL, 777)
    found = evaluate(f"fma.rn.{kind} $0, $1, $2, $3;", a, b, c)
    a, b, c = (as_torch(v, kind).double() for v in (a, b, c))
    exact, number = a * b + c, as_torch(found, kind).double()
    finite = number.isfinite() & (torch.from_numpy(found.astype(int)) & 0x7FFF > 0)
    assert finite.sum() > 20000
    for step in (1, -1):
        away = (as_torch(found + np.uint16(step & 0xFFFF), kind).double() - exact).abs()
        here, odd = (number - exact).abs(), torch.from_numpy(found & 1).bool()
        assert ((here < away) | ((here == away) & ~odd) | away.isnan())[finite].all()


def test_bfloat16_is_rounded_once_though_by_way_of_float32():
    just_over = np.array([1 + 2**-8 + 2**-40, 1 + 2**-8, 1 + 2**-8 - 2**-40, 1 + 3 * 2**-8])
    assert ptx.round_to(just_over, ptx.HALVES["bf16x2"]).tolist() == [1 + 2**-7, 1.0, 1.0, 1 + 2**-6]


def test_lop3_is_any_function_of_three_bits():
    a, b, c = np.random.default_rng(0).integers(0, 2**32, (3, 100), dtype=np.uint32)
    for table, wanted in [(0xEA, (a & b) | c), (0x96, a ^ b ^ c), (0xCA, (a & b) | (~a & c)), (0xF0, a), (0, 0 * a)]:
        assert np.array_equal(ptx.lop3(a, b, c, table), wanted)


def test_shifts_and_bytes():
    word = [np.array([0x89ABCDEF], np.uint32)]
    for text, wanted in [
        ("shr.u32 $0, $1, 8;", 0x0089ABCD),
        ("shl.b32 $0, $1, 32;", 0),
        ("{ .reg .b32 t; mov.b32 t, 0x01234567; prmt.b32 $0, $1, t, 0x5410; } // low halves", 0x4567CDEF),
        ("xor.b32 $0, $1, 0xFFFFFFFF;", 0x76543210),
    ]:
        assert ptx.evaluate(text, word, [np.uint32], 1)[0].tolist() == [wanted]


def test_what_it_does_not_know_it_says():
    word = [np.zeros(4, np.int32)]
    with pytest.raises(NotImplementedError, match="sad.u32 cannot be interpreted"):
        ptx.evaluate("sad.u32 $0, $1, $1, $1;", word, [np.int32], 1)
    with pytest.raises(ValueError, match="'t' is read before"):
        ptx.evaluate("mov.b32 $0, t;", word, [np.int32], 1)
    with pytest.raises(ValueError, match="pack must fill registers"):
        ptx.evaluate("mov.b32 $0, $1;", [np.zeros(4, np.int8)], [np.int32], 1)


@pytest.mark.parametrize("scaled, eight", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("dtype", TORCH)
def test_our_texts_decode_every_halfword(dtype, scaled, eight):
    """Nibble j of all 65536 halfwords, less a zero point of 0…15, or 8, exactly; times a scale, rounded once."""
    texts = gemm.texts(scaled, eight)[dtype == "bf16x2"]
    codes = (ALL.astype(int)[:, None] >> (4 * np.arange(4))) & 15
    zero = np.full_like(ALL, 8) if eight else ALL % 16
    for j, text in enumerate(texts):
        bias = 128 if dtype == "bf16x2" else (1024, 64, 1024, 64)[j]
        less = (-bias - torch.from_numpy(zero.astype(np.float32))).to(TORCH[dtype])
        scale = torch.linspace(-3, 3, 65536).to(TORCH[dtype])
        operands = [scale] if eight else [less, scale] if scaled else [less]
        operands = [v.view(torch.int16).numpy().view(np.uint16) for v in operands]
        wanted = torch.from_numpy(codes[:, j] - zero.astype(int)).to(TORCH[dtype])
        assert same(evaluate(text, ALL, *operands), wanted * scale if scaled else wanted, dtype)


def test_neighbours_lie_sixteen_bits_apart():
    """What the halfword order is for: (w & 0x000F000F) is columns 0 and 1, by hand."""
    word = pack_words(torch.arange(8)[None], 8, pairs=True)
    assert hex(word.item() & 0xFFFFFFFF) == "0x75316420"
