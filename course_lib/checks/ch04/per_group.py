"""ch04.per_group: symmetric codes with one scale for every g neighbours in a row."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def per_group(w, b, g):
    qmax = 2 ** (b - 1) - 1
    rows, cols = w.shape
    groups = w.reshape(rows, cols // g, g)
    top = groups.abs().amax(dim=2)  # (rows, cols // g)
    s = torch.where(top > 0, top / qmax, 1.0).to(torch.float16)
    q = torch.clip(torch.round(groups / s[:, :, None]), -qmax, qmax)
    return q.reshape(rows, cols).to(torch.int8), s


def _qmax(b):
    return 2 ** (b - 1) - 1


def _coded(w, s, b):
    return torch.clip(torch.round(w / s), -_qmax(b), _qmax(b)).to(torch.int8)


def _with_scales(find, dtype=torch.float16):
    """A per-group quantizer whose scales (rows, cols // g) come from find(groups (rows, cols // g, g), qmax)."""

    def variant(w, b, g):
        rows, cols = w.shape
        s = find(w.reshape(rows, cols // g, g), _qmax(b)).expand(rows, cols // g)
        s = torch.where(s > 0, s, 1.0).to(torch.float16)
        return _coded(w, s.to(dtype).repeat_interleave(g, dim=1), b), s

    return variant


def _strided(w, b, g):
    rows, cols = w.shape
    top = w.reshape(rows, g, cols // g).abs().amax(dim=1)
    s = torch.where(top > 0, top / _qmax(b), 1.0).half()
    return _coded(w, s.repeat(1, g), b), s


def _down_the_columns(w, b, g):
    q, s = per_group(w.T, b, g)
    return q.T, s.T


def _unrounded_scale(w, b, g):
    top = w.reshape(len(w), -1, g).abs().amax(dim=2)
    s = torch.where(top > 0, top / _qmax(b), 1.0)
    return _coded(w, s.repeat_interleave(g, dim=1), b), s.half()


def _ones_if_any(groups, qmax):
    s = groups.abs().amax(dim=2) / qmax
    return torch.ones_like(s) if (s == 0).any() else s


def _zero_scale(w, b, g):
    s = (w.reshape(len(w), -1, g).abs().amax(dim=2) / _qmax(b)).half()
    return _coded(w, s.repeat_interleave(g, dim=1), b), s


def _last_scale_codes(w, b, g):
    s = per_group(w, b, g)[1]
    return _coded(w, s[:, -1:], b), s


def _rounded_by(how):
    def variant(w, b, g):
        s = per_group(w, b, g)[1]
        return torch.clip(how(w / s.repeat_interleave(g, dim=1)), -_qmax(b), _qmax(b)).to(torch.int8), s

    return variant


def _half_step(got, w, b, g):
    q, s = got
    if not (s > 0).all():
        row, group = (int(i) for i in (~(s > 0)).nonzero()[0])
        return f"The scale at [{row}, {group}] is {s[row, group].item():g}. A step has to be larger than 0."
    step = s.float().repeat_interleave(g, dim=1)
    off = (step * q - w).abs() / step
    if (off <= 0.5001).all():
        return True
    row, col = (int(i) for i in (~(off <= 0.5001)).nonzero()[0])
    return f"The weight at [{row}, {col}] comes back {off[row, col]:.4g} steps off. Half a step is the most."


def _own_last_mark(got, w, b, g):
    q, s = got
    tops = q.reshape(w.shape[0], -1, g).abs().amax(dim=2)
    alive = w.reshape(w.shape[0], -1, g).abs().amax(dim=2) > 0
    if (tops[alive] == _qmax(b)).all():
        return True
    row, group = (int(i) for i in (alive & (tops != _qmax(b))).nonzero()[0])
    return (
        f"In row {row}, group {group}, the largest code is {int(tops[row, group])}. The largest weight of every group "
        f"should get ±{_qmax(b)}: that is what a scale of its own is for."
    )


def _outlier_stays_home(run, w, b, g):
    if w.shape[1] == g:
        return True
    spoilt = w.clone()
    spoilt[0, 0] = 50 * w.abs().max() + 1
    before, after = run(w, b, g)[0], run(spoilt, b, g)[0]
    same = torch.equal(before[0, g:], after[0, g:]) and torch.equal(before[1:], after[1:])
    return same or f"When w[0, 0] grows to {spoilt[0, 0]:.3g}, codes outside its group of {g} change, too."


def _row_as_group(run, w, b, g):
    q, s = run(w, b, w.shape[1])
    top = w.abs().amax(dim=1, keepdim=True)
    scale = torch.where(top > 0, top / _qmax(b), 1.0).half()
    if not torch.equal(s, scale):
        return f"With g = {w.shape[1]}, the whole row, it should be one scale for each row, and it is not."
    want = _coded(w, scale, b)
    if torch.equal(q, want):
        return True
    row, col = (int(i) for i in (q != want).nonzero()[0])
    return (
        f"With g = {w.shape[1]}, the whole row, your scales are right. But the code at [{row}, {col}] is "
        f"{int(q[row, col])}, and one scale a row gives {int(want[row, col])}."
    )


def _matrix(seed, rows, cols):
    return 0.1 * torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))


EXERCISE = Exercise(
    id="ch04.per_group",
    title="A scale for every neighbourhood",
    spec="per_group(w, b, g) is (q, s): int8 codes of w (rows, cols), one float16 scale for every g columns of a row.",
    kind="build",
    stub='''
def per_group(w, b, g):
    """(q, s): symmetric codes int8 (rows, cols); scales float16 (rows, cols // g), 1.0 for a group of zeros."""
    ...
''',
    reference=per_group,
    piece="per_group",
    cases=[
        Case("eight weights by hand", torch.tensor([[0.2, -0.1, 0.3, -0.7, 0.1, 7.0, -0.3, 0.4]]), 4, 4),
        Case("two rows", torch.tensor([[0.7, 0.1, 3.5, -1.0], [14.0, -5.0, -1.4, 0.3]]), 4, 2),
        Case("the largest weights are negative", torch.tensor([[-7.0, 2.0, 1.0, -3.5], [0.5, -1.75, -0.7, 0.1]]), 4, 2),
        Case("a group of zeros beside small weights", torch.tensor([[0.0, 0.0, 1.5e-5, -0.5e-5]]), 3, 2),
        Case("ties", torch.tensor([[7.0, 2.5, 3.5, -0.5]]), 4, 4),
        Case("the stored scale decides", torch.tensor([[0.7, 0.6499, 0.7, -0.6499]]), 4, 2),
        Case("two bits", torch.tensor([[0.9, -0.4, 0.5, 0.1, -0.05, 0.02]]), 2, 3),
        Case("eight bits, more rows than a group has weights", _matrix(0, 8, 12), 8, 4),
        Case("one group is the whole row", _matrix(1, 2, 8), 4, 8),
    ],
    properties=[
        law("error ≤ s/2", _half_step, "The largest weight of a group fits its scale, so nothing clips."),
        law("every group reaches the last mark", _own_last_mark, "s = max|w| / qmax, with the maximum of the group."),
        relation("an outlier harms only its own group", _outlier_stays_home, "That is what groups are for."),
        relation("group = row equals per-channel", _row_as_group, "One group as long as the row is one scale a row."),
        equals_reference(why="Codes and stored scales are fixed by the definition, so they must be equal."),
    ],
    wrong=[
        Wrong(
            "groups down the columns",
            _down_the_columns,
            "Your groups lie along the wrong axis: g rows of one column. A group is g neighbours in one row.",
        ),
        Wrong(
            "strided groups",
            _strided,
            "reshape(rows, g, cols // g) puts every (cols // g)-th column into a group. Neighbours share: "
            "reshape(rows, cols // g, g), and the maximum over the last axis.",
        ),
        Wrong(
            "one scale for the whole row",
            _with_scales(lambda groups, qmax: groups.abs().amax(dim=(1, 2))[:, None] / qmax),
            "You took the maximum over the row. Every g weights have a maximum of their own.",
        ),
        Wrong(
            "one scale for the whole matrix",
            _with_scales(lambda groups, qmax: (groups.abs().max() / qmax).reshape(1, 1)),
            "You took the maximum over everything: amax needs the axis that runs inside a group.",
        ),
        Wrong(
            "groups shared by all rows",
            _with_scales(lambda groups, qmax: groups.abs().amax(dim=(0, 2))[None] / qmax),
            "Your maximum also runs over the rows. A group belongs to one row.",
        ),
        Wrong(
            "scale of the last group reused",
            _with_scales(lambda groups, qmax: groups.abs().amax(dim=2)[:, -1:] / qmax),
            "The scale of the last group is used for all of them. Did a loop keep one variable s?",
        ),
        Wrong(
            "codes from the last group's scale",
            _last_scale_codes,
            "The scales are right, but all codes are computed with the last one. Divide each group by its own.",
        ),
        Wrong(
            "the maximum without abs",
            _with_scales(lambda groups, qmax: groups.amax(dim=2) / qmax),
            "The largest weight by size may be negative: take abs() before the maximum.",
        ),
        Wrong(
            "qmax = 2^(b−1)",
            _with_scales(lambda groups, qmax: groups.abs().amax(dim=2) / (qmax + 1)),
            "The last code is 2^(b−1) − 1, 7 for four bits. With a scale of max / 8 the largest weight is clipped.",
        ),
        Wrong(
            "codes from the unrounded scale",
            _unrounded_scale,
            "Decoding uses the scale as stored, in float16. Round it first, and divide by what will be stored.",
        ),
        Wrong(
            "a scale of zero",
            _zero_scale,
            "A group of zeros gives max / qmax = 0, and 0 / 0 is no number. Give such a group the scale 1.",
        ),
        Wrong(
            "a floor under every scale",
            _with_scales(lambda groups, qmax: (groups.abs().amax(dim=2) / qmax).clamp(min=1e-5)),
            "clamp(min=…) also lifts the scale of groups that are small, not zero. Give 1 to groups of zeros only.",
        ),
        Wrong(
            "one group of zeros decides for all",
            _with_scales(_ones_if_any),
            "One group of zeros gives all groups the scale 1. `torch.where(top > 0, …, 1.0)` asks each of them.",
        ),
        Wrong(
            "cut off instead of rounded",
            _rounded_by(torch.trunc),
            ".to(torch.int8) cuts towards zero. Use torch.round first.",
        ),
        Wrong(
            "rounded down",
            _rounded_by(torch.floor),
            "floor goes down, even from 2.9: errors of up to a whole step, all in one direction. Use torch.round.",
        ),
        Wrong(
            "ties rounded up",
            _rounded_by(lambda x: torch.floor(x + 0.5)),
            "floor(x + ½) sends every tie up. torch.round sends it to the even neighbour, as the course does.",
        ),
        Wrong(
            "always four bits",
            lambda w, b, g: per_group(w, 4, g),
            "The last code is 7 only for four bits. Take qmax = 2^(b−1) − 1 from the b that you are given.",
        ),
    ],
    hints=[
        "A view with one more axis does it: (rows, groups in a row, g). Then this is chapter 01 with a maximum over "
        "the last axis only. Round the scale to float16 before you divide by it.",
        "w = [[0.2, −0.1, 0.3, −0.7, 0.1, 7.0, −0.3, 0.4]], b = 4, g = 4: as (1, 2, 4) its maxima are [[0.7, 7.0]], "
        "so s = [[0.1, 1.0]] and the codes are 2 −1 3 −7 | 0 7 0 0.",
        "def per_group(w, b, g):\n    qmax = 2 ** (b - 1) - 1\n    rows, cols = w.shape\n"
        "    groups = w.reshape(____, ____, ____)\n    top = groups.abs().amax(dim=____)\n"
        "    s = torch.where(top > 0, ____, 1.0).to(torch.float16)\n"
        "    q = torch.clip(torch.round(groups / s[:, :, None]), ____, ____)\n"
        "    return q.reshape(rows, cols).to(____), s",
    ],
    passed="This is round-to-nearest as GPTQ, AWQ and llama.cpp start from it: small groups, each with its own ruler.",
)
