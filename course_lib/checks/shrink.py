"""Make a counter-example small: where a function works number by number, one number shows the mistake."""

import torch

from course_lib.checks import compare
from course_lib.checks.verdict import Failed


class _OneNumber:
    """A case cut down to a single number of the same tensors."""

    def __init__(self, case, args):
        self.name, self.args, self.kwargs = f"{case.name}, one number of it", args, case.kwargs


def to_one_number(run, case, got, expected, tolerance):
    """(case, got, expected) cut to the first wrong number, if the function does the same there; else unchanged."""
    whole = case, got, expected
    if not isinstance(expected, torch.Tensor) or expected.numel() < 2:
        return whole
    at = tuple(int(i) for i in (~tolerance.allows(got, expected)).nonzero()[0])
    small = tuple(_cut(arg, expected.shape, at) for arg in case.args)
    if all(a is b for a, b in zip(small, case.args, strict=True)):
        return whole
    cut = _OneNumber(case, small)
    try:
        less = run(*small, **case.kwargs), run.reference(*small, **case.kwargs)
    except (Failed, ValueError, RuntimeError, IndexError, TypeError):
        return whole
    if any(not isinstance(t, torch.Tensor) or t.numel() != 1 for t in less):
        return whole
    same = all(compare.difference(t.reshape(()), w[at]) is None for t, w in zip(less, (got, expected), strict=True))
    return (cut, *less) if same else whole


def _cut(arg, shape, at):
    """A tensor argument that has the result's axes (or broadcasts along them), cut to the number at `at`."""
    if not isinstance(arg, torch.Tensor) or arg.ndim != len(shape):
        return arg
    if any(n not in (1, m) for n, m in zip(arg.shape, shape, strict=True)):
        return arg
    return arg[tuple(slice(i, i + 1) if n > 1 else slice(0, 1) for i, n in zip(at, arg.shape, strict=True))]
