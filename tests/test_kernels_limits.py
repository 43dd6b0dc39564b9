"""What a launch cannot take whole, what an interrupted one leaves behind, and what ptxas must not be shown."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import triton
import triton.language as tl

from course_lib import Scheme, quantize
from course_lib.formats import microscaling
from course_lib.kernels import ON_GPU, dispatch, fp4, ggml, interpreter, packing, pieces, tokens, w4a16, w8a8, weights

DEVICE = "cuda" if ON_GPU else "cpu"


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def products():
    """Name -> y (m, 24) of x (m, 64)."""
    w = normal(24, 64)
    int4 = packing.pack(quantize(w, Scheme.int(4, group=32))).to(DEVICE)
    mx = fp4.pack(microscaling.quantize(w, "mxfp4")).to(DEVICE)
    codes, scale = quantize(w, Scheme.int(8)).codes.to(DEVICE), torch.ones(24, 1, device=DEVICE)
    return {
        "w4a16": lambda x: w4a16.linear(x, int4, "gemm"),
        "mxfp4": lambda x: fp4.linear(x, mx),
        "int8": lambda x: w8a8.int8_linear(x, codes, scale),
        "fp8": lambda x: w8a8.fp8_linear(x, codes.float().to(torch.float8_e4m3fn), scale),
    }


@pytest.mark.parametrize("name", ["w4a16", "mxfp4", "int8", "fp8"])
def test_more_tokens_than_one_launch_counts_go_in_pieces(name, monkeypatch):
    multiply, x = products()[name], normal(9, 64, seed=1).to(DEVICE)
    whole = multiply(x)
    monkeypatch.setattr(pieces, "LIMIT", 4 * 64 + 1)
    monkeypatch.setattr(w8a8, "fits", lambda *_: None)  # of the weight
    seen = []
    split = pieces.in_pieces
    for module in (w4a16, fp4, w8a8):
        monkeypatch.setattr(module, "in_pieces", lambda f, x, n: split(lambda part: seen.append(len(part)) or f(part),
                                                                       x, n))  # fmt: skip
    y = multiply(x)
    assert seen == [4, 4, 1]
    torch.testing.assert_close(y, whole, rtol=0, atol=1e-3 * whole.abs().max().item())  # one token sums otherwise


def test_a_weight_of_too_many_numbers_has_no_kernel():
    class Large:
        """As much of a GGUF weight as is looked at."""

        blocks, kind = torch.empty(256_000, 10_080, dtype=torch.uint8, device="meta"), "Q6_K"

    with pytest.raises(ValueError, match=r"blocks must have less than 2\^31 numbers, .* got \(256000, 10080\)"):
        weights.of(Large(), None)
    with pytest.raises(ValueError, match=r"blocks must have less"):
        ggml.gemv(torch.empty(12_288), Large.blocks, "Q6_K")
    codes = torch.empty(262_144, 8192, dtype=torch.int8, device="meta")
    with pytest.raises(ValueError, match=r"codes must have less than 2\^31 numbers, .* got \(262144, 8192\)"):
        w8a8.int8_linear(torch.empty(1, 8192), codes, torch.ones(262_144))
    with pytest.raises(ValueError, match="x must have less"):
        w8a8.quantize_tokens(torch.empty(262_144, 8192, device="meta"))


@pytest.mark.skipif(ON_GPU, reason="only an interpreted launch can be interrupted")
def test_an_interrupted_launch_leaves_its_counters_at_zero():
    packed, x = fp4.pack(microscaling.quantize(normal(24, 256), "mxfp4")), normal(3, 256, seed=2)
    whole = fp4.linear(x, packed)

    def stop(access):
        if access.program[2] == 1:  # the first part has been counted
            raise KeyboardInterrupt

    with interpreter.watch(stop), pytest.raises(KeyboardInterrupt):
        fp4.linear(x, packed)
    assert not packed.locks.any()
    assert torch.equal(fp4.linear(x, packed), whole)


@pytest.mark.parametrize("many", [False, True], ids=["pieces", "whole"])
@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_a_token_with_nan_gives_nan_and_no_other_token_does(kind, many, monkeypatch):
    monkeypatch.setattr(tokens, "MANY", 1 if many else 1000)
    x = normal(3, 64, seed=3)
    x[1, 5] = float("nan")
    _, scale, _ = w8a8.quantize_tokens(x.to(DEVICE), kind)
    assert scale.isnan().flatten().tolist() == [False, True, False]
    y = products()["int8" if kind == torch.int8 else "fp8"](x.to(DEVICE))
    assert y.isnan().all(1).tolist() == [False, True, False] and not y[[0, 2]].isnan().any()


@triton.jit
def least(x, y, z, B: tl.constexpr):
    i = tl.arange(0, B)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(z + i, tl.minimum(a, b))
    tl.store(z + B + i, tl.maximum(a, b))
    tl.store(z + 2 * B + i, tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_of_nan_and_a_number_the_number_is_least_and_largest(dtype):
    nan = float("nan")
    x, y = (torch.tensor(v, device=DEVICE, dtype=dtype) for v in ([1.0, nan, 2.0, nan], [nan, 3.0, 1.0, nan]))
    z = torch.zeros(3, 4, device=DEVICE, dtype=dtype)
    least[(1,)](x, y, z, B=4)
    assert str(z.tolist()) == "[[1.0, 3.0, 1.0, nan], [1.0, 3.0, 2.0, nan], [nan, nan, 1.0, nan]]"


def test_a_tensor_on_another_gpu_than_the_current_one_has_no_kernel(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    x = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 1))
    assert dispatch.unavailable(x).startswith("x is on cuda:1 and kernels start on cuda:0")
    x = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0), dtype=torch.float16, requires_grad=False)
    assert dispatch.unavailable(x) == ""


def test_int4_is_decoded_without_the_addition_that_ptxas_gets_wrong():
    """What the interpreter cannot see; `compiled.sass` refuses such machine code of any kernel."""
    script = (
        "import triton; from course_lib.kernels.compiled import aot, builds; kept = []; real = triton.compile;"
        "triton.compile = lambda *a, **k: kept.append(real(*a, **k)) or kept[-1];"
        "aot.compile_build(builds.DEQUANTIZE, 'sm_90'); ptx = kept[-1].asm['ptx'];"
        "print(ptx.count('cvt.rn.f32'), ptx.count('add.s16x2'))"
    )
    env = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["64", "0"], done.stderr
