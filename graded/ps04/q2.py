"""ps04.q2: whoever is still free, answer"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def answer_of_the_rest(w, H, stored, done):
    """w (rows, in): stored values where done, and in the free columns those of the least d H d, d = w - result."""
    free, result = ~done, torch.where(done, stored, w)
    lost = (w - stored)[:, done]  # (rows, done)
    if free.any() and done.any():
        result[:, free] += torch.linalg.solve(H[free][:, free], H[free][:, done] @ lost.T).T
    return result


def _variant(move):
    """The result with the free columns moved by move(H, lost (rows, done), free, done)."""

    def answer(w, H, stored, done):
        free, result = ~done, torch.where(done, stored, w)
        if free.any() and done.any():
            result[:, free] += move(H, (w - stored)[:, done], free, done)
        return result

    return answer


def _least_squares(H, lost, free, done):
    return torch.linalg.solve(H[free][:, free], H[free][:, done] @ lost.T).T


def _each_alone(H, lost, free, done):
    """Each stored column as if it were the only one."""
    P = torch.linalg.inv(H)
    shares = -P[done][:, free] / P.diagonal()[done][:, None]
    return lost @ shares


def _own_price_only(H, lost, free, done):
    return (H[free][:, done] @ lost.T / H.diagonal()[free][:, None]).T


def _all_moved(w, H, stored, done):
    """Also the stored columns move, as if the error were somebody else's."""
    result = answer_of_the_rest(w, H, stored, done)
    if done.any() and not done.all():
        result[:, done] += 0.1 * (w - stored)[:, done]
    return result


NAMES = ("one column stored", "several columns stored", "every row for itself", "nothing stored, everything stored")


def _inverse_of_all(H, lost, free, done):
    return (torch.linalg.inv(H)[free][:, free] @ H[free][:, done] @ lost.T).T


def _rightwards(w, H, stored, done):
    """Only columns behind the last stored one answer, as in GPTQ's own order."""
    last = int(done.nonzero().max()) if done.any() else -1
    kept = done | (torch.arange(len(done)) <= last)
    return answer_of_the_rest(w, H, torch.where(done, stored, w), kept)


def _from_stored(w, H, stored, done):
    moved = answer_of_the_rest(w, H, stored, done) - torch.where(done, stored, w)
    return stored + moved


def _needs_both(w, H, stored, done):
    if done.all() or not done.any():
        raise IndexError("nothing to solve")
    return answer_of_the_rest(w, H, stored, done)


WRONG = [
    Mistake(
        "wrong sign",
        _variant(lambda H, lost, free, done: -_least_squares(H, lost, free, done)),
        "What the stored columns lost, the free ones must bring in: they move towards the loss, not away from it.",
        loses=NAMES[:3],
    ),
    Mistake(
        "each free column for itself",
        _variant(_own_price_only),
        "The free columns also go together: solve with their whole block of H, not with its diagonal.",
        loses=NAMES[:3],
    ),
    Mistake(
        "each stored column as if it were alone",
        _variant(_each_alone),
        "A row of the inverse lets *all* others answer, also those that are stored by now. Invert H's free block.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "nobody answers",
        _variant(lambda H, lost, free, done: 0 * _least_squares(H, lost, free, done)),
        "The free columns stay as they were. They should move to the least d H d.",
        loses=NAMES[:3],
    ),
    Mistake(
        "multiplied by H, not solved",
        _variant(lambda H, lost, free, done: (H[free][:, done] @ lost.T).T),
        "H_free,done · lost is the slope. The answer solves H_free,free · move = slope.",
        loses=NAMES[:3],
    ),
    Mistake(
        "stored columns moved as well",
        _all_moved,
        "A column that is stored keeps its stored value.",
        loses=NAMES[:3],
    ),
    Mistake(
        "the first row's loss for all rows",
        _variant(lambda H, lost, free, done: _least_squares(H, lost[:1].expand_as(lost), free, done)),
        "Every row has lost something else.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "the inverse of all of H",
        _variant(_inverse_of_all),
        "The free columns solve a system of their own: invert H[free][:, free], not all of H.",
        loses=NAMES[:3],
    ),
    Mistake(
        "only columns to the right answer",
        _rightwards,
        "All free columns answer, also those to the left of a stored one: no order is given here.",
        loses=NAMES[:3],
    ),
    Mistake(
        "moved from what is stored",
        _from_stored,
        "In the free columns `stored` means nothing: they move from w.",
        loses=NAMES,
    ),
    Mistake(
        "the difference, not the result",
        lambda w, H, stored, done: w - answer_of_the_rest(w, H, stored, done),
        "d = w − result is what is lost; return the result.",
        loses=NAMES,
    ),
    Mistake(
        "done and free swapped",
        lambda w, H, stored, done: answer_of_the_rest(w, H, stored, ~done),
        "done is True where a column is stored, and such columns keep their value. The others move.",
        loses=NAMES,
    ),
]


def exercise(seed):
    def case(name, offset, rows, cols, done):
        generator = torch.Generator().manual_seed(seed + offset)
        x = torch.randn(4 * cols, cols, generator=generator)
        x = x @ (torch.eye(cols) + 0.6 * torch.randn(cols, cols, generator=generator))
        H = 2 / len(x) * x.T @ x + 0.05 * torch.eye(cols)
        w = torch.randn(rows, cols, generator=generator)
        mask = torch.zeros(cols, dtype=torch.bool)
        mask[torch.tensor(done, dtype=torch.long)] = True
        return Case(name, w, H, torch.round(2 * w) / 2 + 0.03, mask)

    single = [case("the first of three", 0, 1, 3, [0]), case("one in the middle", 1, 1, 5, [2])]
    several = [case("two of four", 2, 2, 4, [0, 1]), case("three of six, apart", 3, 2, 6, [0, 3, 5])]
    many = [case("four rows", 4, 4, 5, [1, 3]), case("as many rows as columns", 5, 6, 6, [0, 2])]
    ends = [
        case("nothing stored", 6, 2, 3, []),
        case("everything stored", 7, 2, 3, [0, 1, 2]),
    ]
    near = dict(rtol=1e-3, atol=1e-4)
    return question(
        "ps04.q2",
        "Whoever is still free, answer",
        "answer_of_the_rest(w, H, stored, done): stored columns as they are, the free ones at the least d H d.",
        answer_of_the_rest,
        properties=[
            agrees(NAMES[0], single, "Least squares over the free columns.", **near),
            agrees(NAMES[1], several, "Stored columns drop out: they cannot answer.", **near),
            agrees(NAMES[2], many, "H serves all rows; the losses differ.", **near),
            agrees(NAMES[3], ends, "Then nothing moves, or nothing is left to move.", **near),
        ],
        wrong=WRONG,
    )
