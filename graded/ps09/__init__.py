"""ps09, Triton kernels: references, cases, properties and known wrong answers. Interpreted on a GPU machine, too."""

import functools
import os
from unittest import mock

from triton.runtime.errors import InterpreterError

from course_lib.grading import scorer
from course_lib.kernels import interpreter

with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):  # it is read when a kernel is decorated
    from graded.ps09 import q1, q2, q3, q4, q5

interpreter.mend()

SEED = 39_510_883
SUMS = tuple(  # what the kernels are there for; a deterrent
    f"torch.{owner}{name}"
    for owner in ("", "Tensor.")
    for name in "sum mean cumsum softmax log_softmax logsumexp matmul mm mv bmm dot inner addmm addmv".split()
) + ("torch.Tensor.__matmul__", "torch.Tensor.__rmatmul__", "torch.einsum", "torch.tensordot", "torch.nn.functional")
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib
MASKS = {
    "q1": SUMS,
    "q2": ("course_lib.kernels.gemv", "course_lib.kernels.w4a16", "course_lib.kernels.gemm", *SUMS),
    "q3": ("course_lib.kernels.w8a8", "course_lib.kernels.w8a8_tiles", *SUMS),
    "q4": ("course_lib.kernels.kv", *SUMS),
    "q5": ("course_lib.capacity.roofline",),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


graded = scorer(build, SEED)


def score(name, answer, *more, **values):
    """`scorer`'s score; an error inside a kernel counts as itself, not as the interpreter's."""
    return graded(name, plain_errors(answer) if callable(answer) else answer, *more, **values)


def plain_errors(answer):
    """The function, raising what stopped its kernel."""

    @functools.wraps(answer)
    def call(*args, **kwargs):
        try:
            return answer(*args, **kwargs)
        except InterpreterError as error:
            raise (error.__cause__ or error) from None

    return call
