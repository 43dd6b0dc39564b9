"""int4 kernels against float64, on the interpreter or on a GPU, one body for both."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from course_lib import Scheme, quantize
from course_lib.kernels import ON_GPU, gemm, packing, w4a16

DEVICE = "cuda" if ON_GPU else "cpu"
SCHEMES = {
    "symmetric g32": Scheme.int(4, group=32),
    "full g64": Scheme.int(4, symmetric="full", group=64),
    "asymmetric g128": Scheme.int(4, symmetric=False, group=128),
    "asymmetric g256": Scheme.int(4, symmetric=False, group=256),
    "asymmetric g32": Scheme.int(4, symmetric=False, group=32),
    "per channel": Scheme.int(4),
    "asymmetric channel": Scheme.int(4, symmetric=False),
}
KERNELS = ("gemv-1", "gemv-2", "gemv-3", "gemv-4", "gemv-5", "gemm")
PAIRS = [  # the versions before gemm take groups of 128 or more
    (scheme, kernel) for scheme in SCHEMES for kernel in KERNELS
    if kernel == "gemm" or SCHEMES[scheme].block[1] not in (32, 64)
]  # fmt: skip
UNIT = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-24}


def case(scheme, n=70, k=384, seed=0):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(n, k, generator=g) * torch.logspace(-2, 1, n)[:, None]
    return quantize(w, scheme)


def bound(x, q, dtype):
    """Rounding of y, and of a weight in groups below 128, to dtype; and that of a float32 sum of k products whose
    codes may be 2063 (version 4)."""
    magnitude = x.double().abs() @ q.dequantize().double().abs().T
    step = q.step.double().abs().amax(1)
    return (
        UNIT[dtype] * magnitude
        + 2**-24 * 2**11 * 8 * x.double().abs().amax(-1, keepdim=True) * step * q.shape[1] ** 0.5
    )


def run(x, q, kernel, dtype=torch.float32):
    packed = packing.pack(q, dtype).to(DEVICE)
    return w4a16.linear(x.to(DEVICE), packed, kernel).cpu()


@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize("scheme, kernel", PAIRS)
def test_a_kernel_multiplies_by_the_dequantized_weight(scheme, kernel, dtype):
    k = 768 if SCHEMES[scheme].block[1] == 256 else 384
    q = case(SCHEMES[scheme], k=k)
    x = torch.randn(3 if kernel == "gemm" else 1, k, generator=torch.Generator().manual_seed(1)).to(dtype)
    y = run(x, q, kernel)
    exact = x.double() @ q.dequantize().double().T
    assert y.dtype == dtype and y.shape == exact.shape
    assert ((y.double() - exact).abs() <= bound(x, q, dtype)).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 8), (1, 1000), (257, 136), (130, 24), (130, 160)])
def test_shapes_that_fill_no_tile(shape, kernel):
    q = case(Scheme.int(4, symmetric=False, group=None if kernel != "gemm" or shape[1] % 32 else 32), *shape)
    x = torch.randn(1, shape[1], generator=torch.Generator().manual_seed(2))
    exact = x.double() @ q.dequantize().double().T
    assert ((run(x, q, kernel).double() - exact).abs() <= bound(x, q, torch.float32)).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_bit_of_a_word_counts(kernel):
    """One weight of 15 among zeros, at each of 256 columns, against x = 1, 2, 4 …: each must come out alone."""
    k = 256
    codes = torch.zeros(k, k, dtype=torch.int32).fill_diagonal_(15)
    words = packing.pack_words(codes, 128, pairs=True)
    words = words.reshape(k, 2, 16).transpose(0, 1).contiguous()
    packed = packing.PackedInt4(words, torch.ones(2, k), torch.zeros(2, k).half(), (k, k), 128).to(DEVICE)
    x = torch.linspace(0.5, 2, k)
    y = w4a16.linear(x.to(DEVICE), packed, kernel).cpu()
    assert torch.allclose(y, 15 * x, rtol=1e-3)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("group, run", [(32, 32), (64, 64), (64, 32), (128, 128), (128, 64), (256, 128), (None, 128)])
def test_rows_in_parts_and_runs_and_tiles_of_any_length(group, run, wide):
    """k is not whole blocks of 128 runs; parts may be empty; locks are left open."""
    k = 768 if group == 256 else 640
    q = case(Scheme.int(4, symmetric=False, group=group), k=k)
    packed = packing.pack(q, torch.float32, run).to(DEVICE)
    x = torch.randn(20, k, generator=torch.Generator().manual_seed(5))
    exact = x.double() @ q.dequantize().double().T
    for how in (
        {"parts": 3, "BM": 16, "BN": 64, "U": 1, "C": 32},
        {"parts": 9, "BM": 32, "BN": 128, "U": 2, "C": min(run, 64)},
    ):
        how |= {"STAGES": 1}
        y = gemm.run(x.to(DEVICE), packed, {k: v for k, v in how.items() if k != "U" or not wide}).cpu()
        assert ((y.double() - exact).abs() <= bound(x, q, torch.float32)).all()
        assert not packed.locks.any()


def test_the_longest_run_that_suits():
    q = case(Scheme.int(4, group=64), k=768)
    packed = packing.pack(q, torch.float32, None)
    assert packed.run == 64 and torch.equal(packing.unpack(packed), q.dequantize())


def test_words_hold_all_32_bits_and_come_back():
    codes = torch.randint(0, 16, (64, 512), generator=torch.Generator().manual_seed(3))
    for block, pairs in itertools.product((8, 16, 32, 64, 128), (False, True)):
        words = packing.pack_words(codes, block, pairs)
        assert words.shape == (64, 64) and (words < 0).any()
        assert torch.equal(packing.unpack_words(words, block, pairs), codes.int())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_unpack_is_dequantize(scheme):
    q = case(SCHEMES[scheme], k=768)
    assert torch.equal(packing.unpack(packing.pack(q, torch.float32)), q.dequantize())


def test_act_order_columns_come_back_in_their_order():
    g = torch.Generator().manual_seed(4)
    q = case(Scheme.int(4, symmetric=False, group=32))
    order = torch.randperm(384, generator=g)
    g_idx = torch.empty(384, dtype=torch.int32)
    g_idx[order] = (torch.arange(384) // 32).int()
    from dataclasses import replace

    mixed = replace(q, codes=q.codes[:, torch.argsort(order)], g_idx=g_idx)
    x = torch.randn(1, 384, generator=g)
    exact = x.double() @ mixed.dequantize().double().T
    for kernel in ("torch", "gemm"):
        assert ((run(x, mixed, kernel).double() - exact).abs() <= bound(x, q, torch.float32)).all()


def test_leading_dimensions_views_and_no_tokens():
    q = case(SCHEMES["full g64"])
    x = torch.randn(2, 384, 3).transpose(1, 2)  # (2, 3, 384), strided
    assert run(x, q, "gemm").shape == (2, 3, 70)
    assert torch.allclose(run(x, q, "gemm"), run(x.contiguous(), q, "torch"), atol=1e-3, rtol=1e-4)
    assert run(x[:0], q, None).shape == (0, 3, 70)


def test_choose_says_which():
    packed = packing.pack(case(SCHEMES["full g64"]))
    assert [w4a16.choose(m, packed, "cuda") for m in (0, 1, 2)] == ["torch", "gemm", "gemm"]
    assert w4a16.choose(1, packed, "cpu") == "torch"


@pytest.mark.parametrize("major, processors", [(9, 132), (8, 108)])
def test_a_launch_fills_the_processors_once(major, processors, monkeypatch):
    about = SimpleNamespace(major=major, multi_processor_count=processors)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)
    monkeypatch.setattr(gemm, "ON_GPU", True)
    for n, k, run in [(4096, 4096, 128), (8192, 28672, 128), (8192, 28672, 32), (1000, 1152, 32)]:
        words = torch.empty(-(-k // (4 * run)), n, run // 2, dtype=torch.int32, device="meta")
        packed = packing.PackedInt4(words, torch.ones(k // 128, n), None, (n, k), 128, run)
        for m in (1, 8, 9, 17, 64, 65, 257, 2000):
            for how in gemm.launches(m, packed):
                programs = -(-n // how["BN"]) * -(-m // how["BM"])
                assert how["BM"] >= min(m, 64) and run % how["C"] == 0 and how["parts"] >= 1 and "fit" not in how
                assert how["parts"] == 1 or programs * how["parts"] <= 4 * processors
                assert "U" in how or major == 9


def test_errors_name_what_is_wrong():
    packed = packing.pack(case(SCHEMES["full g64"]))
    for call, words in [
        (lambda: w4a16.linear(torch.randn(100), packed), "x must have 384 columns"),
        (
            lambda: w4a16.linear(torch.ones(384, dtype=torch.int32), packed),
            "float16, bfloat16 or float32, got torch.int32",
        ),
        (lambda: w4a16.linear(torch.randn(2, 384), packed, "gemv-1"), "multiplies one token; x has 2"),
        (lambda: w4a16.linear(torch.randn(384), packed, "gemv-4"), "gemv-4 takes groups of 128 or more, got 64"),
        (lambda: w4a16.linear(torch.randn(384), packed, "marlin"), "kernel must be torch, gemv-1 to gemv-5"),
        (lambda: packing.pack(case(Scheme.int(3, group=32))), "q must be an int4 matrix"),
        (
            lambda: packing.pack(case(Scheme.int(4, group=48))),
            "group must be 32, 64 or a multiple of 128 to be packed, got 48",
        ),
        (lambda: packing.pack(quantize(torch.randn(2, 8, 16), Scheme.int(4, group=8))), "q must be an int4 matrix"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
