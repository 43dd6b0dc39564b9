"""ch05.int_matmul: codes with zero points, multiplied as stored and then corrected; the broken one passed a test."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import uint8


def int_matmul(qx, zx, qw, zw):
    product = qx.int() @ qw.int().T
    sum_x = qx.sum(dim=1, keepdim=True, dtype=torch.int32)  # (tokens, 1)
    sum_w = qw.sum(dim=1, dtype=torch.int32)  # (out,)
    return product - zx * sum_w - zw * sum_x + qx.shape[1] * zx * zw


def _as_it_was(qx, zx, qw, zw):
    product = qx.int() @ qw.int().T
    sum_x = qx.sum(dim=1, dtype=torch.int32)
    sum_w = qw.sum(dim=1, dtype=torch.int32)
    return product - zx * sum_w - zw * sum_x


def _terms(w=lambda zx, zw, sum_x, sum_w: zx * sum_w, x=lambda zx, zw, sum_x, sum_w: zw * sum_x, constant=None):
    """The reference with one of its terms made another way."""

    def variant(qx, zx, qw, zw):
        sum_x, sum_w = qx.sum(dim=1, keepdim=True, dtype=torch.int32), qw.sum(dim=1, dtype=torch.int32)
        last = qx.shape[1] * zx * zw if constant is None else constant(qx, zx, qw, zw)
        return qx.int() @ qw.int().T - w(zx, zw, sum_x, sum_w) - x(zx, zw, sum_x, sum_w) + last

    return variant


def _row_of_sums(qx, zx, qw, zw):
    return _as_it_was(qx, zx, qw, zw) + qx.shape[1] * zx * zw


def _sums_down_the_columns(qx, zx, qw, zw):
    sum_x, sum_w = qx.sum(dim=0, dtype=torch.int32), qw.sum(dim=0, dtype=torch.int32)
    return qx.int() @ qw.int().T - zx * sum_w - zw * sum_x + qx.shape[1] * zx * zw


def _eight_bits(qx, zx, qw, zw):
    short = (qx.int() @ qw.int().T) % 256
    return int_matmul(qx, zx, qw, zw) - qx.int() @ qw.int().T + short


def _zero_codes(got, qx, zx, qw, zw):
    """A token whose codes all equal zx stands for zeros: whatever the weights, its outputs are 0."""
    quiet = (qx.int() == zx).all(dim=1).nonzero().flatten()
    if len(quiet) == 0 or not got[quiet[0]].any():
        return True
    found = got[quiet[0]].tolist()
    return f"Token {quiet[0]} has the code zx = {zx} everywhere, so it is all zeros. Your outputs: {found}."


EXERCISE = Exercise(
    id="ch05.int_matmul",
    title="Repair the corrections",
    spec="int_matmul(qx, zx, qw, zw): int32 (tokens, out), the sums of (qx − zx)·(qw − zw), from the codes as stored.",
    kind="repair",
    stub='''
def int_matmul(qx, zx, qw, zw):
    """Sums of (qx - zx)·(qw - zw), int32 (tokens, out), for codes qx (tokens, in), qw (out, in), whole zx and zw."""
    product = qx.int() @ qw.int().T
    sum_x = qx.sum(dim=1, dtype=torch.int32)
    sum_w = qw.sum(dim=1, dtype=torch.int32)
    return product - zx * sum_w - zw * sum_x
''',
    reference=int_matmul,
    piece="int_matmul",
    cases=[
        Case("symmetric weights: this works already", uint8([10, 20]), 8, uint8([3, 1], [0, 2]), 0),
        Case("one token", uint8([10, 20]), 8, uint8([3, 1], [0, 2]), 1),
        Case("two tokens, two outputs", uint8([10, 20], [8, 9]), 8, uint8([3, 1], [0, 2]), 1),
        Case("a token of zeros", uint8([128, 128], [200, 7]), 128, uint8([90, 250], [13, 0]), 100),
        Case("three tokens, two outputs", uint8([1, 2], [3, 4], [255, 0]), 2, uint8([5, 6], [7, 8]), 3),
        Case("zx = 0", uint8([1, 2, 3], [4, 5, 6]), 0, uint8([7, 8, 9], [1, 0, 2]), 5),
        Case("three channels", uint8([255, 255, 255], [0, 1, 2]), 100, uint8([255, 255, 0], [9, 9, 9]), 50),
    ],
    properties=[
        law("a token of zeros gives zeros", _zero_codes, "The code z stands for exactly 0; then every product is 0."),
        equals_reference(why="Whole numbers: nothing may differ."),
    ],
    wrong=[
        Wrong(
            "as it was",
            _as_it_was,
            "Two faults that zw = 0 hides. Multiply (qx − zx)·(qw − zw) out: one term is missing. And Σqx belongs to a "
            "token, so it has to be a column.",
        ),
        Wrong(
            "the constant term missing",
            _terms(constant=lambda qx, zx, qw, zw: 0),
            "(−zx)·(−zw) is also part of every product, and there are `in` products in a sum: + in · zx · zw.",
        ),
        Wrong(
            "sums of a token laid along the outputs",
            _row_of_sums,
            "Σqx belongs to a token. As a row (tokens,) it is added along the outputs. keepdim=True makes it a column.",
        ),
        Wrong(
            "the constant term subtracted",
            _terms(constant=lambda qx, zx, qw, zw: -qx.shape[1] * zx * zw),
            "(−zx)·(−zw) is positive: the last term is added.",
        ),
        Wrong(
            "the constant term once",
            _terms(constant=lambda qx, zx, qw, zw: zx * zw),
            "zx · zw occurs in every one of the `in` products of a sum: multiply it by qx.shape[1].",
        ),
        Wrong(
            "counted with the outputs",
            _terms(constant=lambda qx, zx, qw, zw: qw.shape[0] * zx * zw),
            "The sum runs over the channels, `in` of them. You counted the outputs.",
        ),
        Wrong(
            "counted with the tokens",
            _terms(constant=lambda qx, zx, qw, zw: qx.shape[0] * zx * zw),
            "The sum runs over the channels, qx.shape[1] of them. qx.shape[0] counts the tokens.",
        ),
        Wrong(
            "counted with all codes",
            _terms(constant=lambda qx, zx, qw, zw: qx.numel() * zx * zw),
            "numel() counts tokens times channels. One sum runs over the channels: qx.shape[1] of them.",
        ),
        Wrong(
            "zero points swapped",
            _terms(lambda zx, zw, sx, sw: zw * sw, lambda zx, zw, sx, sw: zx * sx),
            "Each zero point multiplies the *other* side's sum: zx · Σqw and zw · Σqx.",
        ),
        Wrong(
            "sums over tokens and outputs",
            _sums_down_the_columns,
            "Σ runs over the channels, which are dim=1 of both tensors.",
        ),
        Wrong(
            "corrections added",
            _terms(lambda zx, zw, sx, sw: -zx * sw, lambda zx, zw, sx, sw: -zw * sx),
            "−zx·qw and −zw·qx carry a minus sign. Only the last term has a plus.",
        ),
        Wrong(
            "products in 8 bits",
            _eight_bits,
            "Codes are uint8, and so is their product unless you say .int() before the @. It wraps around at 256.",
        ),
        Wrong(
            "differences in 8 bits",
            lambda qx, zx, qw, zw: (qx - zx) @ (qw - zw).T,
            "Codes are uint8: q − z cannot go below 0 and wraps around, and so does the sum. Say .int() first.",
        ),
        Wrong(
            "everything in 8 bits",
            lambda qx, zx, qw, zw: ((qx - zx) @ (qw - zw).T).int(),
            "The codes are uint8: differences, products and sums wrap around at 256. `.int()` comes too late.",
        ),
    ],
    hints=[
        "Multiply (qx − zx)·(qw − zw) out on paper and sum over the channels. How many terms? What shape has each?",
        "qx = [10, 20], zx = 8, qw = [3, 1], zw = 1: (2·2 + 12·0) = 4. In terms: 50 − 8·4 − 1·30 + 2·8·1 = 4.",
        "    sum_x = qx.sum(dim=1, keepdim=____, dtype=torch.int32)\n    sum_w = qw.sum(dim=1, dtype=torch.int32)\n"
        "    return product - zx * sum_w - zw * sum_x + ____ * zx * zw",
    ],
    passed="Symmetric weights make two of the four terms vanish. That is why nearly every int8 kernel asks for zw = 0.",
)
