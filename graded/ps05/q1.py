"""ps05.q1: whole-number sums with groups"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def grouped_product(qx, sx, qw, sw):
    """x @ w.T from int8 codes and scales of n groups a row (or 1): y, float32 (tokens, out), and the number of sums."""
    n = max(sx.shape[1], sw.shape[1])
    a = qx.int().reshape(len(qx), 1, n, -1)
    b = qw.int().reshape(1, len(qw), n, -1)
    whole = (a * b).sum(dim=-1)  # (tokens, out, n)
    y = (whole * sx[:, None] * sw[None]).sum(dim=-1)
    return {"y": y, "sums": whole.numel()}


def _groups(q, n):
    return q.reshape(len(q), n, -1)


def _product(qx, sx, qw, sw, split=_groups, wide=torch.int32, scale_x=lambda s: s, scale_w=lambda s: s, count=None):
    """The reference with one part changed."""
    n = max(sx.shape[1], sw.shape[1])
    whole = (split(qx, n).to(wide)[:, None] * split(qw, n).to(wide)[None]).sum(-1, dtype=torch.int32)
    y = (whole * scale_x(sx)[:, None] * scale_w(sw)[None]).sum(-1)
    return {"y": y, "sums": whole.numel() if count is None else count(qx, qw, n)}


def _mean(s):
    return s.mean(dim=1, keepdim=True)


def _woven(q, n):
    return q.reshape(len(q), -1, n).transpose(1, 2)


NAMES = ("one scale a row", "groups in the weights", "groups in the inputs, too", "the number of sums")

WRONG = [
    Mistake(
        "the mean scale taken out",
        lambda *a: _product(*a, scale_x=_mean, scale_w=_mean),
        "A scale that changes along the sum cannot wait outside as its mean. Sum each group, then scale that sum.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "one sum, and the mean scale",
        lambda *a: _product(*a, scale_x=_mean, scale_w=_mean, count=lambda x, w, n: len(x) * len(w)),
        "One sum an output works only where nothing changes along it. Here every group needs a sum of its own.",
        loses=NAMES[1:],
    ),
    Mistake(
        "products in 8 bits",
        lambda *a: _product(*a, wide=torch.int8),
        "int8 times int8 stays int8 in torch and wraps around: 100 · 2 becomes −56. Convert before you multiply.",
        loses=NAMES[:3],
    ),
    Mistake(
        "every n-th channel a group",
        lambda *a: _product(*a, split=_woven),
        "A group is a run of neighbours: channels 0 … g − 1, then g … 2g − 1.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "the first group's scales for all",
        lambda *a: _product(*a, scale_x=lambda s: s[:, :1], scale_w=lambda s: s[:, :1]),
        "Each group has a scale of its own; yours used the first for the whole row.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "one scale a token, always",
        lambda *a: _product(*a, scale_x=lambda s: s[:, :1]),
        "sx may have n columns as well. Then the group's scale of the token counts, not the token's first.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "one sum an output",
        lambda *a: _product(*a, count=lambda x, w, n: len(x) * len(w)),
        "That counts the outputs. Each of them is put together from n sums, one a group.",
        loses=NAMES[3:],
    ),
    Mistake(
        "products counted",
        lambda *a: _product(*a, count=lambda x, w, n: x.numel() * len(w)),
        "Those are the multiplications. Asked are the sums, each of which needs its scales once.",
        loses=NAMES[3:],
    ),
]


def exercise(seed):
    def case(name, offset, tokens, rows, cols, nx, nw):
        generator = torch.Generator().manual_seed(seed + offset)
        qx, qw = (torch.randint(-127, 128, (n, cols), generator=generator, dtype=torch.int8) for n in (tokens, rows))
        qx[0, 0], qw[0, 0] = 127, -127
        sx = 0.01 + 0.1 * torch.rand(tokens, nx, generator=generator)
        return Case(name, qx, sx, qw, 0.001 + 0.02 * torch.rand(rows, nw, generator=generator))

    plain = [case("two channels", 0, 1, 1, 2, 1, 1), case("three tokens", 1, 3, 4, 8, 1, 1)]
    weights = [case("two groups of two", 2, 1, 1, 4, 1, 2), case("three groups of four", 3, 3, 2, 12, 1, 3)]
    both = [
        case("two groups on each side", 4, 2, 3, 8, 2, 2),
        case("four groups on each side", 5, 5, 3, 16, 4, 4),
        case("groups in the inputs only", 6, 2, 3, 6, 2, 1),
    ]
    near = dict(rtol=1e-5, atol=2e-4, part="y")  # sums of up to 16 products of at most 36
    return question(
        "ps05.q1",
        "Whole-number sums with groups",
        "grouped_product(qx, sx, qw, sw): y from one whole-number sum a group, and how many sums that takes.",
        grouped_product,
        properties=[
            agrees(NAMES[0], plain, "One sum an output, and both scales behind it.", **near),
            agrees(NAMES[1], weights, "One sum a group, each with its scales.", **near),
            agrees(NAMES[2], both, "The scales of the token and of the output, group by group.", **near),
            agrees(NAMES[3], weights + both, "tokens · out · n.", part="sums"),
        ],
        wrong=WRONG,
    )
