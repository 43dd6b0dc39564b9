"""The mended interpreter: what a kernel computes on a CPU is what torch computes, in every dtype, or an error."""

import math

import pytest
import torch
import triton
import triton.language as tl

from course_lib.kernels import interpreter

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
DTYPES = (*FLOATS, *FP8, *INTEGERS)


def patterns(dtype):
    """Every bit pattern of up to 16 bits; 65,536 random ones, and the edges, of more."""
    g = torch.Generator().manual_seed(1)
    if dtype.itemsize == 1:
        return torch.arange(256, dtype=torch.uint8).view(dtype)
    if dtype.itemsize == 2:
        return torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)
    integer = {4: torch.int32, 8: torch.int64}[dtype.itemsize]
    raw = torch.randint(torch.iinfo(integer).min, torch.iinfo(integer).max, (32768,), generator=g, dtype=integer)
    if dtype.is_floating_point:
        near = torch.randn(32768, generator=g, dtype=dtype) * torch.logspace(-8, 6, 32768, dtype=dtype)
        ties = torch.arange(-4096, 4096, dtype=dtype) / 16
        edges = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 448, 464, 465, 480, 61440, 65519, 65520])
        return torch.cat([raw.view(dtype), near, ties, edges.to(dtype)])
    return torch.cat([raw, torch.arange(-32768, 32768, dtype=integer)])


@triton.jit
def cast(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    value = tl.load(x + i, mask=i < n)
    tl.store(y + i, value.to(y.dtype.element_ty), mask=i < n)


def run_cast(x, dtype):
    y = torch.zeros(len(x), dtype=dtype)
    cast[(triton.cdiv(len(x), 16384),)](x, y, len(x), B=16384)
    return y


def same(a, b):
    """Equal bit for bit, any NaN being as good as another."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.dtype.itemsize]
    nan = a.float().isnan() & b.float().isnan() if a.dtype.is_floating_point else torch.zeros(a.shape, dtype=torch.bool)
    return (a.view(integer) == b.view(integer)) | nan


@pytest.mark.parametrize("target", DTYPES, ids=str)
@pytest.mark.parametrize("source", DTYPES, ids=str)
def test_every_cast_is_torchs(source, target):
    x = patterns(source)
    if target in INTEGERS and source.is_floating_point:  # outside the range torch promises nothing, a GPU clamps
        info, wide = torch.iinfo(target), x.double()
        x = x[(wide > info.min - 1.0) & (wide < (info.max if target == torch.int64 else info.max + 1.0))]
    if {source, target} & set(FP8) and {source, target} & set(INTEGERS):
        with pytest.raises(Exception, match="cannot cast"):  # Triton itself wants a float between
            run_cast(x, target)
        return
    expected = x.to(target)
    if target == torch.float8_e5m2 and source != target:  # torch overflows to inf, a GPU saturates
        expected = x.to(torch.float32).clamp(-57344, 57344).to(target)
    got = run_cast(x, target)
    wrong = ~same(got, expected)
    if source == torch.float64:  # torch rounds twice, to float32 and on
        wrong &= (x - got.double()).abs() >= (x - expected.double()).abs()
    assert not wrong.any(), (
        f"{int(wrong.sum())} differ, first {x[wrong][0]!r}: {got[wrong][0]!r}, {expected[wrong][0]!r}"
    )


def test_float_to_integer_clamps_and_nan_is_zero():
    x = torch.tensor([math.nan, math.inf, -math.inf, 300.0, -300.0, 127.9, -128.9])
    assert run_cast(x, torch.int8).tolist() == [0, 127, -128, 127, -128, 127, -128]
    assert run_cast(x, torch.int64).tolist()[1:3] == [2**63 - 1, -(2**63)]


@triton.jit
def toward_zero(x, y, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(y + i, tl.load(x + i).to(tl.bfloat16, fp_downcast_rounding="rtz"))


def test_rounding_toward_zero_cuts_the_bits():
    x, y = torch.randn(1024), torch.zeros(1024, dtype=torch.bfloat16)
    toward_zero[(1,)](x, y, B=1024)
    assert torch.equal(y.view(torch.int16).int(), x.view(torch.int32) >> 16)


@triton.jit
def arithmetic(a, b, out, n, OP: tl.constexpr, B: tl.constexpr):
    i = tl.arange(0, B)
    x, y = tl.load(a + i, mask=i < n), tl.load(b + i, mask=i < n)
    if OP == "add":
        z = x + y
    elif OP == "mul":
        z = x * y
    elif OP == "sub":
        z = x - y
    elif OP == "div":
        z = (x / y).to(x.dtype)
    elif OP == "less":
        z = tl.where(x < y, x, y)
    elif OP == "abs":
        z = tl.abs(x)
    elif OP == "max":
        z = tl.maximum(x, y)
    else:
        z = -x
    tl.store(out + i, z, mask=i < n)


OPERATIONS = {
    "add": torch.add,
    "mul": torch.mul,
    "sub": torch.sub,
    "div": torch.div,
    "less": lambda a, b: torch.where(a < b, a, b),
    "abs": lambda a, b: a.abs(),
    "max": torch.maximum,
    "neg": lambda a, b: -a,
}


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_arithmetic_is_torchs(dtype, op):
    g = torch.Generator().manual_seed(2)
    a, b = (torch.randn(1000, generator=g).to(dtype) for _ in range(2))
    out = torch.zeros_like(a)
    arithmetic[(1,)](a, b, out, 1000, OP=op, B=1024)
    assert torch.equal(out, OPERATIONS[op](a, b))


@triton.jit
def matmul(a, b, c, K, M: tl.constexpr, N: tl.constexpr, BK: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    acc = tl.zeros((M, N), c.dtype.element_ty)
    for k in range(0, K, BK):
        i = k + tl.arange(0, BK)
        x = tl.load(a + m[:, None] * K + i[None, :], mask=i[None, :] < K, other=0.0)
        y = tl.load(b + i[:, None] * N + n[None, :], mask=i[:, None] < K, other=0.0)
        acc = tl.dot(x, y, acc, input_precision="ieee", out_dtype=acc.dtype)
    tl.store(c + m[:, None] * N + n[None, :], acc)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, *FP8, torch.int8], ids=str)
def test_dot_is_torchs(dtype):
    g = torch.Generator().manual_seed(3)
    a, b = (torch.randn(shape, generator=g) * 20 for shape in ((16, 100), (100, 32)))
    a, b = a.to(dtype), b.to(dtype)
    c = torch.zeros(16, 32, dtype=torch.int32 if dtype == torch.int8 else torch.float32)
    matmul[(1,)](a, b, c, 100, M=16, N=32, BK=32)
    exact = a.double() @ b.double()
    assert (c - exact).abs().max() <= 100 * 2**-24 * (a.double().abs() @ b.double().abs()).max()


@triton.jit
def summed(x, out, B: tl.constexpr):
    value = tl.load(x + tl.arange(0, B))
    tl.store(out, tl.sum(value, axis=0))
    tl.store(out + 1, tl.max(value, axis=0).to(tl.float32))


def test_reductions_of_bf16_are_sums_of_its_values():
    x, out = torch.randn(256, generator=torch.Generator().manual_seed(4)).bfloat16(), torch.zeros(2)
    summed[(1,)](x, out, B=256)
    assert (
        abs(out[0] - x.double().sum()) <= 255 * 2**-9 * x.double().abs().sum()
    )  # in whatever order, rounded each time
    assert out[1] == x.float().max()


@triton.jit
def copy(x, y, shift, n, MASK: tl.constexpr, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    inside = i < (n if MASK else n + B)
    tl.store(y + i, tl.load(x + i + shift, mask=inside), mask=i < n)


def test_a_load_past_the_end_names_the_argument():
    x, y = torch.arange(100.0), torch.zeros(100)
    copy[(1,)](x, y, 0, 100, MASK=True, B=128)
    assert torch.equal(x, y)
    with pytest.raises(
        Exception, match="load outside 'x' in program .0, 0, 0.: 400 bytes from its start, it is 400 bytes long"
    ):
        copy[(1,)](x, y, 0, 100, MASK=False, B=128)
    with pytest.raises(Exception, match="load outside 'x' .*4 bytes before its start"):
        copy[(1,)](x, y, -1, 100, MASK=True, B=128)


def test_a_view_is_guarded_where_it_ends_not_where_its_storage_does():
    whole, y = torch.arange(200.0), torch.zeros(100)
    with pytest.raises(Exception, match="load outside 'x'"):
        copy[(1,)](whole[:100], y, 0, 100, MASK=False, B=128)


def test_an_empty_tensor_may_not_be_read():
    with pytest.raises(Exception, match="load outside"):
        copy[(1,)](torch.zeros(0), torch.zeros(4), 0, 4, MASK=True, B=4)


def test_watch_sees_every_access():
    x, y, seen = torch.arange(6.0), torch.zeros(6), []
    with interpreter.watch(seen.append):
        copy[(2,)](x, y, 0, 6, MASK=True, B=4)
    assert [(a.program[0], a.kind, a.argument) for a in seen] == [
        (0, "load", "x"), (0, "store", "y"), (1, "load", "x"), (1, "store", "y"),
    ]  # fmt: skip
    assert seen[2].offsets.tolist() == [16, 20, -1, -1]


@triton.autotune(configs=[triton.Config({"B": 128}), triton.Config({"B": 256})], key=["n"])
@triton.jit
def tuned(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(y + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)


def test_autotuning_takes_a_configuration_and_goes_on():
    x, y = torch.arange(300.0), torch.zeros(300)
    tuned[lambda meta: (triton.cdiv(300, meta["B"]),)](x, y, 300)
    assert torch.equal(y, 2 * x)


@triton.jit
def atomic(x, out, B: tl.constexpr):
    tl.atomic_add(out, tl.load(x + tl.program_id(0) * B))


def test_atomics_add_in_float32_and_are_refused_where_they_would_add_bit_patterns():
    x, out = torch.arange(8.0), torch.zeros(1)
    atomic[(8,)](x, out, B=1)
    assert out.item() == 28
    with pytest.raises(Exception, match="atomic on bfloat16 cannot be interpreted"):
        atomic[(8,)](x.bfloat16(), out.bfloat16(), B=1)


@triton.jit
def careless(x, y, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(y, tl.sum(tl.load(x + i, mask=i < n), axis=0))


def test_a_masked_lane_without_a_value_is_not_zero():
    out = torch.zeros(1)
    careless[(1,)](torch.ones(100), out, 100, B=128)
    assert out.isnan().all()
    total = torch.zeros(1, dtype=torch.int32)
    careless[(1,)](torch.ones(100, dtype=torch.int32), total, 100, B=128)
    assert total.item() == 100 + 28 * 90
