"""ch06.block_loop: GPTQ over all columns, block by block, with a scale for every group of the weights as they stand."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.ch06.factors import CHECKBOOK, factor
from course_lib.checks.ch06.loops import loop
from course_lib.checks.inputs import normal


def block_loop(w, U, b, g, block):
    qmax, w, (rows, cols) = 2 ** (b - 1) - 1, w.clone(), w.shape
    q, s = torch.zeros(rows, cols, dtype=torch.int8), torch.ones(rows, cols // g, dtype=torch.float16)
    for start in range(0, cols, block):
        end = min(start + block, cols)
        errors = torch.zeros(rows, end - start)
        for i in range(start, end):
            if i % g == 0:  # a group begins: its scale, from the weights as they are now
                top = w[:, i : i + g].abs().amax(dim=1)
                s[:, i // g] = torch.where(top > 0, top / qmax, 1.0)
            step = s[:, i // g].float()
            q[:, i] = torch.clip(torch.round(w[:, i] / step), -qmax, qmax)
            e = (w[:, i] - step * q[:, i]) / U[i, i]
            w[:, i:end] -= e[:, None] * U[i, i:end]  # at once, within the block
            errors[:, i - start] = e
        w[:, end:] -= errors @ U[start:end, end:]  # later, for all the rest
    return q, s


def _rtn(w, U, b, g, block):
    """Every weight to the nearest mark of its group."""
    return block_loop(w, torch.eye(w.shape[1]), b, g, w.shape[1])


def _codes_fit(got, w, U, b, g, block):
    q, qmax = got[0], 2 ** (b - 1) - 1
    if (q.abs() <= qmax).all():
        return True
    r, c = (int(i) for i in (q.abs() > qmax).nonzero()[0])
    return (
        f"The code at [{r}, {c}] is {int(q[r, c])}; {b} bits end at ±{qmax}. A weight may have moved beyond the last "
        "mark after its group's scale was found, so clip."
    )


def _block_is_only_speed(run, w, U, b, g, block):
    cols = w.shape[1]
    one, whole = run(w, U, b, g, g), run(w, U, b, g, cols)
    if torch.equal(one[0], whole[0]) and torch.equal(one[1], whole[1]):
        return True
    where = (one[0] != whole[0]).any(dim=0).nonzero()
    told = f"codes differ from column {int(where[0])} on" if len(where) else "scales differ"
    return f"With blocks of {g} and with one block of {cols} your {told}. The block must change nothing but the time."


def _rounds_to_nearest(run, w, U, b, g, block):
    """Inputs that have nothing to do with each other and are equally loud: nobody can make up for anybody."""
    q, s = run(w, 3 * torch.eye(w.shape[1]), b, g, block)
    want, scale = _rtn(w, U, b, g, block)
    told = "With U = 3 · I, where H is a multiple of I, the result should be round-to-nearest. "
    for what, mine, right in (("scale", s, scale), ("code", q, want)):
        if not torch.equal(mine, right):
            r, c = (int(i) for i in (mine != right).nonzero()[0])
            return told + f"Your {what} at [{r}, {c}] is {mine[r, c].item():.4g}, there it is {right[r, c].item():.4g}."
    return True


EXERCISE = Exercise(
    id="ch06.block_loop",
    title="All columns, block by block",
    spec="block_loop(w, U, b, g, block) is (q, s) as per_group returns them, by GPTQ, with lazy updates per block.",
    kind="build",
    stub='''
def block_loop(w, U, b, g, block):
    """(q int8 (rows, cols), s float16 (rows, cols // g)); block is a multiple of g, or g of block."""
    qmax, w, (rows, cols) = 2 ** (b - 1) - 1, w.clone(), w.shape
    q, s = torch.zeros(rows, cols, dtype=torch.int8), torch.ones(rows, cols // g, dtype=torch.float16)
    for start in range(0, cols, block):
        end = min(start + block, cols)
        ...
    return q, s
''',
    reference=block_loop,
    piece="block_loop",
    cases=[
        Case("the checkbook", torch.tensor([[1.2, 0.8]]), CHECKBOOK, 2, 2, 2),
        Case("single columns", normal(24, 1, 3), factor(24, 3, 0.5), 3, 3, 1),
        Case("a last block of one", normal(29, 1, 3), factor(29, 3, 0.5), 3, 1, 2),
        Case("beyond the last mark", -normal(76, 1, 3), factor(76, 3, 0.5), 3, 3, 3),
        Case("beyond it, with a column to come", normal(78, 1, 3), factor(78, 3, 0.5), 3, 3, 3),
        Case("two blocks", normal(10, 1, 4), factor(10, 4, 0.5), 3, 4, 2),
        Case("two groups in a block", normal(11, 1, 4), factor(11, 4, 0.5), 3, 2, 4),
        Case("the second scale hears of every digit", normal(48, 1, 4), factor(48, 4, 0.5), 3, 2, 4),
        Case("a group and a block of two", normal(12, 2, 4), factor(12, 4, 0.5), 3, 2, 2),
        Case("three blocks", normal(13, 2, 6), factor(13, 6, 0.5), 3, 2, 2),
        Case("the last block is shorter", normal(14, 2, 6), factor(14, 6, 0.5), 4, 2, 4),
        Case("zeros beside small weights", torch.tensor([[0.0, 0.0, 7e-5, -3e-5]]), torch.eye(4), 3, 2, 2),
        Case("zeros in one row only", torch.tensor([[0.0, 0.0], [0.7, -0.3]]), torch.eye(2), 3, 2, 2),
        Case("four bits, twelve columns", normal(15, 4, 12), factor(15, 12, 0.5), 4, 4, 4),
        Case("a group of all columns", normal(16, 4, 12), factor(16, 12, 0.5), 4, 12, 4),
        Case("every column a block", normal(17, 3, 8), factor(17, 8, 0.5), 3, 4, 1),
    ],
    properties=[
        law("codes of b bits", _codes_fit, "Weights move after their group's scale is fixed."),
        relation("H ∝ I gives round-to-nearest", _rounds_to_nearest, "Then no column knows anything of another."),
        relation("the block changes nothing", _block_is_only_speed, "It only gathers updates into one product."),
        equals_reference(why="Codes and stored scales are fixed by the definition."),
    ],
    wrong=[
        Wrong(
            "round to nearest",
            _rtn,
            "No error arrives anywhere: this is round-to-nearest. Inside the block subtract e · U[i, i:end] (U's row; "
            "its column is 0 there), after it errors @ U[start:end, end:].",
        ),
        Wrong(
            "the lazy update forgotten",
            loop(lazy=lambda errors, U, start, end: 0),
            "The columns behind the block never hear of its errors: w[:, end:] −= errors @ U[start:end, end:].",
        ),
        Wrong(
            "only the lazy update",
            loop(near=lambda i, end, cols: (i, i + 1)),
            "Columns of the same block never hear of each other. Inside the block every error is passed on at once.",
        ),
        Wrong(
            "passed on twice",
            loop(near=lambda i, end, cols: (i, cols)),
            "Your inner loop reaches beyond the block, and the lazy update then subtracts the same once more.",
        ),
        Wrong(
            "scales of the weights as they were",
            loop(scale=lambda now, original, i, g: original[:, i : i + g].abs().amax(dim=1)),
            "The scale of a group comes from the weights *now*, after the columns before it have passed on their "
            "errors. Yours comes from the original ones.",
        ),
        Wrong(
            "scales of weights that lag behind",
            loop(lag=True),
            "Your scale sees w as it stood when the block began, as in the paper's own code. A group inside a block "
            "needs the updates of that block as well.",
        ),
        Wrong(
            "a scale for every column",
            loop(begins=lambda *_: True, scale=lambda now, _, i, g: now[:, i - i % g :][:, :g].abs().amax(dim=1)),
            "A group's scale is found once, at its first column. Yours changes under codes that are made already.",
        ),
        Wrong(
            "one scale for all rows",
            loop(scale=lambda now, _, i, g: now[:, i : i + g].abs().max().expand(len(now))),
            "max() without dim runs over all rows. Each row has a scale of its own: .abs().amax(dim=1).",
        ),
        Wrong(
            "1 for all rows once one is zero",
            loop(scale=lambda now, _, i, g: (m := now[:, i : i + g].abs().amax(dim=1)) * bool(m.all())),
            "One row of zeros, and all rows get the scale 1. torch.where looks at each row by itself.",
        ),
        Wrong(
            "codes of the weights as they were",
            loop(coded=lambda now, original: original),
            "Your codes are those of the original weights, which have heard of no error. Round w as it stands now.",
        ),
        Wrong(
            "errors counted from the weights as they were",
            loop(weighed=lambda now, original: original),
            "What w has moved by was passed on already. The error of column i is counted from w as it stands now.",
        ),
        Wrong(
            "the lazy update inside the inner loop",
            loop(inside=True),
            "Your lazy update stands inside the inner loop and subtracts errors again and again. Move it to the left.",
        ),
        Wrong(
            "a scale of the group's part in the block",
            loop(cut=True),
            "A group may reach beyond its block. Its scale is that of all its g columns: w[:, i : i + g].",
        ),
        Wrong(
            "cut off, not rounded",
            loop(nearest=lambda x: x),
            "Put into int8, 2.9 becomes 2: the fraction is cut off. Round first: torch.round(w[:, i] / step).",
        ),
        Wrong(
            "scales only where a block begins",
            loop(begins=lambda i, start, g: i == start and i % g == 0),
            "A block may hold several groups. Ask whether i is the first column of a *group*: i % g == 0.",
        ),
        Wrong(
            "error not divided by U's diagonal",
            loop(divide=lambda e, u: e),
            "Divide the error of a column by U[i, i], before it is passed on, near or far.",
        ),
        Wrong(
            "divided within the block only",
            loop(kept=lambda e, u: e),
            "Within the block you pass on e, but `errors` holds it before it was divided by U[i, i]. Both need e.",
        ),
        Wrong(
            "divided for later blocks only",
            loop(divide=lambda e, u: e, kept=lambda e, u: e / u),
            "`errors` holds e, divided by U[i, i]; within the block you pass on the error undivided. Both need e.",
        ),
        Wrong(
            "the error before the clip",
            loop(lost=lambda w, step, q, code: w - step * code),
            "What the clip cuts off is lost, too, and the columns to come should pay for it: w[:, i] − s · q[:, i].",
        ),
        Wrong(
            "the product in 16 bits",
            loop(lost=lambda w, step, q, code: w - step.half() * q),
            "int8 times float16 is float16, so ŵ is rounded once more. Take step = s[:, i // g].float() first.",
        ),
        Wrong(
            "a scale of zero",
            loop(zeros=0.0),
            "A group of zeros has the largest weight 0, and then 0 / 0. Give it the scale 1.",
        ),
        Wrong("wrong sign", loop(sign=-1), "Errors are subtracted from the columns to come; you add them."),
        Wrong(
            "U counted from the block's start",
            loop(lazy=lambda errors, U, start, end: errors @ U[: end - start, end:]),
            "The lazy update takes this block's rows of U: U[start:end, end:], not U[:end − start, end:].",
        ),
        Wrong(
            "the last, shorter block left out",
            loop(blocks=lambda cols, block: range(0, cols - cols % block, block)),
            "When block does not divide the columns, the last block is shorter, and yours is never done.",
        ),
        Wrong(
            "codes from the unrounded scale",
            loop(dtype=torch.float32),
            "Decoding uses the scale as stored, in float16. Put it into s first, and take it out again.",
        ),
        Wrong(
            "no clip, or one that reaches too far",
            loop(clip=lambda code, qmax: code),
            "After its scale is found, a weight may still be moved beyond the last mark: clip to ±qmax, on both sides.",
        ),
    ],
    hints=[
        "Take column_step, with the end of the block in place of the end of the matrix, and remember every e. After "
        "the block, one product of all its errors with U[start:end, end:] brings the rest up to date.",
        "w = [[1.2, 0.8]], 2 bits, one group: s = 1.2. Column 0: code 1, error 0, nothing to pass on. Column 1: "
        "0.8 / 1.2 rounds to 1. So q = [[1, 1]], s = [[1.2]].",
        "        errors = torch.zeros(rows, end - start)\n        for i in range(start, end):\n"
        "            if i % ____ == 0:\n                top = w[:, i : i + g].abs().amax(dim=1)\n"
        "                s[:, i // g] = torch.where(top > 0, ____, 1.0)\n            step = s[:, i // g].float()\n"
        "            q[:, i] = torch.clip(torch.round(____), -qmax, qmax)\n"
        "            e = (w[:, i] - step * q[:, i]) / ____\n            w[:, i:end] -= e[:, None] * ____\n"
        "            errors[:, i - start] = e\n        w[:, end:] -= errors @ ____",
    ],
    passed="That is the whole algorithm. The bot runs on it below.",
)
