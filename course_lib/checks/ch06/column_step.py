"""ch06.column_step: round one column, and let the columns to its right make up for the error."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.ch06.factors import CHECKBOOK, factor
from course_lib.checks.inputs import normal


def column_step(w, U, i, s):
    w = w.clone()
    rounded = s * torch.round(w[:, i] / s)
    e = (w[:, i] - rounded) / U[i, i]
    w[:, i + 1 :] -= e[:, None] * U[i, i + 1 :]
    w[:, i] = rounded
    return w


def _step(error=lambda e, U, i: e / U[i, i], reach=lambda i: slice(i + 1, None), sign=-1, row=lambda U, i: U[i]):
    """The step with one part of it changed."""

    def answer(w, U, i, s):
        w, cols = w.clone(), reach(i)
        rounded = s * torch.round(w[:, i] / s)
        e = error(w[:, i] - rounded, U, i)
        w[:, cols] += sign * e[:, None] * row(U, i)[cols]
        w[:, i] = rounded
        return w

    return answer


def _not_rounded(w, U, i, s):
    out = column_step(w, U, i, s)
    out[:, i] = w[:, i]
    return out


def _only_rounded(w, U, i, s):
    w = w.clone()
    w[:, i] = s * torch.round(w[:, i] / s)
    return w


def _codes_kept(w, U, i, s):
    out = column_step(w, U, i, s)
    out[:, i] = torch.round(w[:, i] / s)
    return out


def _undivided(w, U, i, s):
    """Column i moves with the others, by e · U[i, i], where e was never divided by U[i, i]."""
    w = w.clone()
    w[:, i:] -= (w[:, i] - s * torch.round(w[:, i] / s))[:, None] * U[i, i:]
    return w


def _same_move(w, U, i, s):
    """Every column to the right moves by the mean share."""
    w = w.clone()
    rounded = s * torch.round(w[:, i] / s)
    e = (w[:, i] - rounded) / U[i, i]
    if i + 1 < w.shape[1]:
        w[:, i + 1 :] -= e[:, None] * U[i, i + 1 :].mean()
    w[:, i] = rounded
    return w


def _in_steps(w, U, i, s):
    """The error is divided by the step before it is passed on."""
    out, e = w.clone(), (w[:, i] / s - torch.round(w[:, i] / s)) / U[i, i]
    out[:, i + 1 :] -= e[:, None] * U[i, i + 1 :]
    out[:, i] = s * torch.round(w[:, i] / s)
    return out


def _on_the_grid(got, w, U, i, s):
    off = (got[:, i] / s - torch.round(got[:, i] / s)).abs() > 1e-4
    if not off.any():
        return True
    r = int(off.nonzero()[0])
    return f"Row {r} of column {i} should be a whole number of steps of {s[r]:.4g}, and it is {got[r, i]:.4g}."


def _left_alone(got, w, U, i, s):
    same = torch.equal(got[:, :i], w[:, :i])
    return same or f"The columns before {i} have their codes already; they must not change any more, and yours do."


def _best_reply(got, w, U, i, s):
    """What is left to the right is the minimum: the gradient of d H dᵀ with respect to it is 0 (H = (UᵀU)⁻¹)."""
    if i + 1 == w.shape[1]:
        return True
    H = torch.linalg.inv(U.T.double() @ U.double())
    d = (got - w).double()
    d[:, :i] = 0
    slope = (d @ H)[:, i + 1 :]
    size = d.abs() @ H.abs()
    if (slope.abs() <= 1e-3 * size.amax() + 1e-6).all():
        return True
    r, k = divmod(int(slope.abs().argmax()), slope.shape[1])
    move, steep = slope[r, k].item(), H[i + 1 + k, i + 1 + k].item()  # moving one column alone lowers d H d by m²/h
    cost, at = (d[r] @ H @ d[r]).item(), got[r, i + 1 + k].item()
    return (
        f"Row {r}: column {i + 1 + k} went to {at:.4g}, and d H d is {cost:.4g}. With it at {at - move / steep:.4g} "
        f"that would be {cost - move**2 / steep:.4g}. Least squares leaves nothing to gain."
    )


EXERCISE = Exercise(
    id="ch06.column_step",
    title="One column",
    spec="column_step(w, U, i, s): w (rows, cols) with column i on its grid, and the columns right of i moved for it.",
    kind="build",
    stub='''
def column_step(w, U, i, s):
    """w (rows, cols) after column i was rounded to steps s (rows,); U (cols, cols) upper, U.T @ U = inverse of H."""
    w = w.clone()
    rounded = s * torch.round(w[:, i] / s)
    ...
    return w
''',
    reference=column_step,
    piece="column_step",
    cases=[
        Case("the checkbook", torch.tensor([[1.2, 0.8]]), CHECKBOOK, 0, torch.tensor([1.0])),
        Case("steps of 0.3", torch.tensor([[1.3, 0.8]]), CHECKBOOK, 0, torch.tensor([0.3])),
        Case("its last column", torch.tensor([[1.0, 1.6]]), CHECKBOOK, 1, torch.tensor([1.0])),
        Case(
            "inputs that have nothing to do with each other",
            torch.tensor([[0.4, 0.7, -0.2]]),
            torch.diag(torch.tensor([0.5, 2.0, 1.0])),
            0,
            torch.tensor([1.0]),
        ),
        Case("in the middle", normal(0, 1, 4), factor(0, 4), 1, torch.tensor([0.5])),
        Case("two rows, each with its step", normal(1, 2, 3), factor(1, 3), 0, torch.tensor([0.5, 0.25])),
        Case("as many rows as columns", normal(2, 4, 4), factor(2, 4), 2, torch.tensor([1.0, 0.3, 0.7, 0.1])),
        Case("five rows, six columns", normal(3, 5, 6), factor(3, 6), 2, torch.full((5,), 0.6)),
    ],
    properties=[
        law("column i lies on its grid", _on_the_grid, "That is what is stored."),
        law("finished columns stay as they are", _left_alone, "A code that has been written is not changed again."),
        law("the rest makes up as well as it can", _best_reply, "Least squares over the columns that are still free."),
        equals_reference(rtol=1e-4, atol=1e-5, why="A division and a product in float32."),
    ],
    wrong=[
        Wrong(
            "column i moved, too, by an error that was not divided",
            _undivided,
            "Divide the error by U[i, i] first. Then row i of U times it carries column i exactly onto its mark.",
        ),
        Wrong(
            "nothing passed on",
            _only_rounded,
            "Nothing arrives on the right: this is round-to-nearest. Take the error before w[:, i] is overwritten, and "
            "pass it on along U's *row*, U[i, i + 1:] (its column is 0 below the diagonal).",
        ),
        Wrong(
            "error not divided by U's diagonal",
            _step(error=lambda e, U, i: e),
            "Divide the error by U[i, i] before you multiply with the row U[i]: only their ratio says how far column j "
            "must move when column i is off by 1.",
        ),
        Wrong(
            "divided by the diagonal's square",
            _step(error=lambda e, U, i: e / U[i, i] ** 2),
            "U[i, i]² belongs to the formula with the inverse of H, whose row is U[i, i] · U[i]. With U's own row you "
            "divide by U[i, i] once.",
        ),
        Wrong(
            "multiplied by U's diagonal",
            _step(error=lambda e, U, i: e * U[i, i]),
            "You multiply by U[i, i]. Divide: when column i loses 1, column j moves by −U[i, j] / U[i, i].",
        ),
        Wrong(
            "the error in steps",
            _in_steps,
            "You pass on the error in steps. The others are weights: the error is w[:, i] − rounded, in their unit.",
        ),
        Wrong(
            "wrong sign",
            _step(sign=1),
            "The columns on the right move the wrong way, so the error doubles instead of cancelling: subtract.",
        ),
        Wrong(
            "finished columns moved as well",
            _step(reach=lambda i: slice(0, None), row=lambda U, i: (U.T @ U)[i] / U[i, i]),
            "Your update also reaches the columns before i, which have their codes already. Only those after i move.",
        ),
        Wrong(
            "the row of the inverse, without starting again",
            _step(row=lambda U, i: (U.T @ U)[i], error=lambda e, U, i: e / (U.T @ U)[i, i]),
            "That is right for column 0 only. Later, columns before i are fixed and must drop out of the inverse; U's "
            "rows have that built in.",
        ),
        Wrong(
            "not the next column",
            _step(reach=lambda i: slice(i + 2, None)),
            "The column right after i is left out: U[i, i + 1:] starts with it.",
        ),
        Wrong(
            "not the last column",
            _step(reach=lambda i: slice(i + 1, -1)),
            "The last column is left out. range(a, b) and a:b end before b; here nothing has to be taken off.",
        ),
        Wrong(
            "only the next column",
            _step(reach=lambda i: slice(i + 1, i + 2)),
            "You pass the error on to one neighbour only. All columns after i share it.",
        ),
        Wrong(
            "column i left as it was",
            _not_rounded,
            "The others have made up for a rounding that you then did not store: write the rounded column into w.",
        ),
        Wrong(
            "codes stored instead of weights",
            _codes_kept,
            "Column i should hold s · code, the weight as it will come back, not the code.",
        ),
        Wrong(
            "the same move for all columns",
            _same_move,
            "Each column moves by its own share: e has a number for each row, U[i, i + 1:] one for each column.",
        ),
    ],
    hints=[
        "The error of the column in units of U[i, i], then that number times the rest of U's row i, subtracted from "
        "the columns after i.",
        "H = [[25, 4], [4, 1]], w = [1.2, 0.8], s = 1: U = [[0.333, −1.333], [0, 1]]. Column 0 becomes 1, "
        "e = 0.2 / 0.333 = 0.6, and column 1 becomes 0.8 − 0.6 · (−1.333) = 1.6.",
        "def column_step(w, U, i, s):\n    w = w.clone()\n    rounded = s * torch.round(w[:, i] / s)\n"
        "    e = (w[:, i] - rounded) / ____\n    w[:, ____:] -= e[:, None] * U[____, ____:]\n"
        "    w[:, i] = ____\n    return w",
    ],
    passed="These three lines are GPTQ. What follows makes them quick, and keeps them from falling over.",
)
