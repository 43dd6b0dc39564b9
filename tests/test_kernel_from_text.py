"""A kernel that was typed, not imported, runs in the interpreter, and its masks are held to what they must do."""

import linecache

import pytest
import torch
import triton
import triton.language as tl

from course_lib.checks.kernel import Known
from course_lib.kernels import ON_GPU, interpreter  # noqa: F401 - importing it mends the interpreter

pytestmark = pytest.mark.skipif(ON_GPU, reason="bounds and poison are the interpreter's")

ROW_SUM = """
@triton.jit
def row_sum(x, y, k, B: tl.constexpr):
    row = tl.program_id(0)
    total = 0.0
    for start in range(0, k, B):
        i = start + tl.arange(0, B)
        total += tl.sum(tl.load(x + row * k + i{mask}), axis=0)
    tl.store(y + row, total)
"""


def row_sums(mask, k):
    """Compile the text with its lines in linecache, where triton looks for them; return its sums and the true ones."""
    source, name = ROW_SUM.replace("{mask}", mask), f"<row_sum{mask}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space = {"triton": triton, "tl": tl}
    exec(compile(source, name, "exec"), space)
    x, y = torch.randn(4, k), torch.full((4,), 7.0)
    space["row_sum"][(4,)](x, y, k, B=64)
    return y, x.sum(1)


@pytest.mark.parametrize("mask", ["", ", mask=i < k", ", mask=i < k, other=0.0"])
def test_every_mask_is_right_where_the_tile_divides_the_row(mask):
    torch.testing.assert_close(*row_sums(mask, 256))


def test_no_mask_is_named_where_it_does_not():
    with pytest.raises(triton.runtime.errors.InterpreterError, match="outside 'x'.*is a mask missing"):
        row_sums("", 255)


def test_a_masked_lane_without_other_is_poison():
    assert row_sums(", mask=i < k", 255)[0].isnan().all()


def test_a_mask_with_other_is_right_everywhere():
    torch.testing.assert_close(*row_sums(", mask=i < k, other=0.0", 255))


LANES = """
@triton.jit
def lanes(x, y, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(y + i, tl.load(x + i, mask=i > B, other=0.0))
"""


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_single_masked_lane_takes_its_zero_too(lanes):
    name = f"<lanes {lanes}>"
    linecache.cache[name] = (len(LANES), None, LANES.splitlines(True), name)
    space = {"triton": triton, "tl": tl}
    exec(compile(LANES, name, "exec"), space)
    y = torch.full((lanes,), 7.0)
    space["lanes"][(1,)](torch.ones(lanes), y, B=lanes)
    assert not y.any()


def test_a_kernel_of_the_course_is_launched_once_for_the_same_arguments():
    launches = []

    def launch(kernel, x, k):
        launches.append(k)
        if k == 2:
            x += 1  # this one changes its argument, so it must not be kept
        return x + k

    known = Known("@triton.jit\ndef add(x):\n    pass\n", launch)
    x = torch.zeros(2, dtype=torch.bfloat16)
    known(x, 1).fill_(7)
    assert known(x, 1).tolist() == [1, 1] and known(torch.zeros(2), 1).dtype == torch.float32
    assert launches == [1, 1]
    assert known(x, 2).tolist() == [3, 3] and known(torch.zeros_like(x), 2).tolist() == [3, 3]
    assert launches == [1, 1, 2, 2] and x.tolist() == [1, 1]
