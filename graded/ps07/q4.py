"""ps07.q4: six or four?"""

import torch

from course_lib.checks import Case
from course_lib.formats import minifloat
from course_lib.grading import Mistake, agrees, question


def six_or_four(w):
    """NVFP4 scales of w (rows, cols), each block's largest number on 6 or on 4, whichever errs less in squares."""
    blocks = w.reshape(len(w), -1, 16)
    amax = blocks.abs().amax(dim=-1)
    tensor_scale = amax.max() / (6 * 256)
    scales, errors = [], []
    for target in (6, 4):
        raw = amax / target / tensor_scale
        scales.append(raw.clamp(min=2.0**-6).to(torch.float8_e4m3fn).float())
        step = (scales[-1] * tensor_scale)[..., None]
        rounded = minifloat.decode(minifloat.encode(blocks / step, "e2m1"), "e2m1") * step
        errors.append((rounded - blocks).square().sum(dim=-1))
    four = errors[1] < errors[0]
    kept = torch.where(four, errors[1], errors[0]).sum() / errors[0].sum()
    return {
        "tensor_scale": tensor_scale.item(),
        "scales": torch.where(four, scales[1], scales[0]),
        "four": four,
        "undone": 1 - kept.item(),
    }


GRID = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
TIES = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
UP = torch.tensor([False, True, False, True, False, True, False])  # where the even code lies above


def _e2m1(x):
    size = x.abs()[..., None]
    return GRID[((size > TIES) | ((size == TIES) & UP)).sum(-1)] * x.sign()


def _e4m3(raw):
    return raw.clamp(2.0**-6, 448).to(torch.float8_e4m3fn).float()


def _squares(off):
    return off.square().sum(-1)


def _choose(w, cap=256, stored=_e4m3, second=4, error=_squares, less=torch.lt, whole=False, undone=lambda k: 1 - k,
            pick=None):  # fmt: skip
    """The reference with one part changed; pick: True or False for all blocks."""
    blocks = w.reshape(len(w), -1, 16)
    amax = blocks.abs().amax(-1)
    tensor_scale = amax.max() / 6 / cap
    scales = [stored(amax / target / tensor_scale) for target in (6, second)]
    steps = [(s * tensor_scale)[..., None] for s in scales]
    offs = [_e2m1(blocks / step) * step - blocks for step in steps]
    judged = [error(off) for off in offs]
    judged = [j.sum().expand_as(amax) for j in judged] if whole else judged
    four = less(judged[1], judged[0]) if pick is None else torch.full_like(amax, pick, dtype=torch.bool)
    squares = [_squares(off) for off in offs]
    kept = (torch.where(four, squares[1], squares[0]).sum() / squares[0].sum()).item()
    scale = torch.where(four, scales[1], scales[0])
    return {"tensor_scale": tensor_scale.item(), "scales": scale, "four": four, "undone": undone(kept)}


NAMES = ("the tensor scale", "which blocks take 4", "their scales", "the share undone", "zeros, ties, small blocks")


def _tried(w):
    """Scales and errors of both targets, 6 and 4."""
    t, groups = w.abs().max() / (6 * 256), w.reshape(len(w), -1, 16)
    found = []
    for target in (6, 4):
        scale = (groups.abs().amax(-1) / target / t).clamp(min=2.0**-6).to(torch.float8_e4m3fn).float()
        step = (scale * t).unsqueeze(-1)
        found.append((scale, minifloat.decode(minifloat.encode(groups / step, "e2m1"), "e2m1") * step - groups))
    return found


def _all_six(w):
    return _tried(w)[0][0]


def _chosen(w, judge):
    (six, off6), (four, off4) = _tried(w)
    e6, e4 = judge(off6), judge(off4)
    take = e4 < e6
    undone = 1 - (torch.where(take, e4, e6).sum() / e6.sum()).item()
    return six_or_four(w) | {"scales": torch.where(take, four, six), "four": take, "undone": undone}


WRONG = [
    Mistake(
        "the tensor scale of plain NVFP4",
        lambda *a: _choose(*a, cap=448),
        "Scales for 4 are half as large again. With 448 for the largest block there is no room left for 672.",
        loses=NAMES,
    ),
    Mistake(
        "always 6",
        lambda *a: _choose(*a, pick=False),
        "That is plain NVFP4. Try both, and keep what errs less.",
        loses=NAMES[1:],
    ),
    Mistake(
        "always 4",
        lambda *a: _choose(*a, pick=True),
        "4 costs every block the number 6. Try both, and keep what errs less.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the larger error",
        lambda *a: _choose(*a, less=torch.gt),
        "Keep the candidate with the *smaller* error.",
        loses=NAMES[1:],
    ),
    Mistake(
        "one choice for the whole matrix",
        lambda *a: _choose(*a, whole=True),
        "Every block has a scale of its own, so each may choose.",
        loses=NAMES[1:],
    ),
    Mistake(
        "absolute errors, chosen and told",
        lambda *a: _choose(*a, error=lambda off: off.abs().sum(-1)),
        "Compare sums of squares, not of distances.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "the largest error, chosen and told",
        lambda *a: _choose(*a, error=lambda off: off.abs().amax(-1)),
        "Compare the sums of squares of the whole block, not its worst number.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "scales not rounded",
        lambda *a: _choose(*a, stored=lambda raw: raw.clamp(min=2.0**-6)),
        "A block scale is stored in E4M3, and the numbers are divided by what is stored.",
        loses=NAMES[1:],
    ),
    Mistake(
        "a tie goes to 4",
        lambda *a: _choose(*a, less=torch.le),
        "Where both err alike, the block keeps 6.",
        loses=NAMES[4:],
    ),
    Mistake(
        "scales of 0",
        lambda *a: _choose(*a, stored=lambda raw: raw.clamp(max=448).to(torch.float8_e4m3fn).float()),
        "A block of zeros would have the scale 0, and 0 / 0 is NaN: no scale is below 2^−6.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the share that is left",
        lambda *a: _choose(*a, undone=lambda kept: kept),
        "That is what remains. Undone is 1 less that.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the largest error of a block",
        lambda w: _chosen(w, lambda off: off.abs().amax(-1)),
        "A block's error is the sum of its squares, not its largest.",
        loses=NAMES[1:],
    ),
    Mistake(
        "absolute errors",
        lambda w: _chosen(w, lambda off: off.abs().sum(-1)),
        "A block's error is the sum of squares, not of magnitudes.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the scales under 6 for all",
        lambda w: six_or_four(w) | {"scales": _all_six(w)},
        "A block that takes 4 stores amax / 4 / t: its scale goes with the choice.",
        loses=(NAMES[2], NAMES[4]),
    ),
]
APART = (0, 4, 5, 6, 7)  # of WRONG: those that have to choose differently somewhere


def _matrix(generator, rows, cols):
    """Blocks whose sizes lie within a factor of 40, so that no scale meets E4M3's lower end."""
    w = torch.randn(rows, cols // 16, 16, generator=generator)
    return (w * torch.exp(0.7 * torch.randn(rows, cols // 16, 1, generator=generator))).reshape(rows, cols)


def _clear(w):
    """Whether no block's choice is a matter of one rounding."""
    blocks = w.reshape(len(w), -1, 16)
    amax = blocks.abs().amax(-1)
    steps = [(_e4m3(amax / t * 1536 / amax.max()) * amax.max() / 1536)[..., None] for t in (6, 4)]
    six, four = (_squares(_e2m1(blocks / step) * step - blocks) for step in steps)
    return bool((((six - four).abs() > 1e-3 * six) | (six == four)).all())


def _apart(cases):
    right = [six_or_four(*case.args)["four"] for case in cases]
    found = [[WRONG[k].answer(*case.args)["four"] for case in cases] for k in APART]
    return all(any(not torch.equal(f, r) for f, r in zip(of_one, right, strict=True)) for of_one in found)


def _drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        Case(f"{rows} rows of {cols}", _matrix(generator, rows, cols)) for rows, cols in ((2, 32), (4, 64), (6, 96))
    ]


def _ends(seed):
    """Blocks of zeros, blocks that are exact under either, and one whose scale would be below E4M3's normal numbers."""
    few, zeros, small = (_matrix(torch.Generator().manual_seed(seed + i), 2, 32) for i in range(3))
    zeros[0, 16:], zeros[1, :16] = 0, 0
    exact = torch.zeros(2, 32)
    exact[0, ::3], exact[0, 1::3], exact[1, 16:], exact[1, 3] = 6.0, -6.0, 0.75, 5.0
    small[1, :16] *= small.abs().max() / small[1, :16].abs().max() / 2e5
    return [
        Case("blocks of zeros", zeros),
        Case("blocks without any error", exact),
        Case("a tiny block", small),
        Case("two rows", few),
    ]


def _plain(case):
    """Whether squares, distances and the worst number choose alike, clearly: then the ends are about the ends."""
    right = six_or_four(*case.args)["four"]
    return all(torch.equal(WRONG[k].answer(*case.args)["four"], right) for k in (5, 6)) and _clear(*case.args)


def exercise(seed):
    drawn = (_drawn(seed + 10 * i) for i in range(500))
    cases = next(c for c in drawn if all(_clear(*case.args) for case in c) and _apart(c))
    ends = next(c for c in (_ends(seed + 7000 + 10 * i) for i in range(500)) if all(map(_plain, c)))
    near = dict(rtol=1e-3, atol=1e-6)
    return question(
        "ps07.q4",
        "Six or four?",
        "six_or_four(w): NVFP4's scales where each block's largest number lands on 6 or on 4, and the error undone.",
        six_or_four,
        properties=[
            agrees(NAMES[0], cases, "max|w| / (6 · 256).", points=0.5, part="tensor_scale", rtol=1e-6),
            agrees(NAMES[1], cases, "The smaller sum of squares, block by block.", part="four"),
            agrees(NAMES[2], cases, "amax / 6 or amax / 4 over the tensor scale, in E4M3.", part="scales"),
            agrees(NAMES[3], cases, "1 less the error over that of 6 for all.", part="undone", **near),
            agrees(NAMES[4], ends, "No scale below 2^−6; a tie keeps 6.", points=0.5, **near),
        ],
        wrong=WRONG,
    )
