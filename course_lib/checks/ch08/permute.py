"""ch08.permute: rows of q and k in the order in which llama.cpp rotates them."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import normal


def permute(w, heads):
    half = w.shape[0] // heads // 2
    halves = w.reshape(heads, 2, half, w.shape[1])
    return halves.transpose(1, 2).reshape(w.shape)


def _back(w, heads):
    half = w.shape[0] // heads // 2
    return w.reshape(heads, half, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)


def _one_head(w, heads):
    return permute(w, 1)


def _halves_swapped(w, heads):
    return w.reshape(heads, 2, -1, w.shape[1]).flip(1).reshape(w.shape)


def _pairs_swapped(w, heads):
    half = w.shape[0] // heads // 2
    return w.reshape(heads, 2, half, w.shape[1]).flip(1).transpose(1, 2).reshape(w.shape)


def _heads_mixed(w, heads):
    half = w.shape[0] // heads // 2
    return w.reshape(2, half, heads, w.shape[1]).permute(2, 1, 0, 3).reshape(w.shape)


def _heads_moved(w, heads):
    return w.reshape(heads, -1, w.shape[1]).transpose(0, 1).reshape(w.shape)


def _in_place(w, heads):
    out, width = w.clone(), len(w) // heads
    for j in range(len(w) // 2):
        h, k = divmod(j, width // 2)
        out[h * width + 2 * k] = out[h * width + k]
        out[h * width + 2 * k + 1] = out[h * width + k + width // 2]
    return out


def _columns(w, heads):
    half = w.shape[1] // heads // 2
    if half == 0:
        return w.clone()
    n = heads * 2 * half
    return torch.cat([w[:, :n].reshape(-1, heads, 2, half).transpose(2, 3).reshape(len(w), n), w[:, n:]], 1)


def _numbered(heads, width):
    """A matrix whose row j holds j, so that an order can be read off."""
    return torch.arange(heads * width, dtype=torch.float32)[:, None].repeat(1, 2)


def _rows(got, w, heads):
    found = sorted(map(tuple, got.tolist()))
    return (
        found == sorted(map(tuple, w.tolist())) or "Some rows are lost or changed: rows move as a whole, nothing else."
    )


def _inside(got, w, heads):
    width = len(w) // heads
    for h in range(heads):
        part = slice(h * width, h * width + width)
        if sorted(map(tuple, got[part].tolist())) != sorted(map(tuple, w[part].tolist())):
            return f"Rows {part.start} to {part.stop - 1} belong to head {h}; yours has rows of another head there."
    return True


def _neighbours(run, w, heads):
    width = len(w) // heads
    order = run(_numbered(heads, width), heads)[:, 0].int().tolist()
    for h in range(heads):
        for j in range(width // 2):
            at, want = h * width + 2 * j, [h * width + j, h * width + j + width // 2]
            if order[at : at + 2] != want:
                return (
                    f"Rows {at} and {at + 1} must be rows {want[0]} and {want[1]} of w; yours are {order[at : at + 2]}."
                )
    return True


EXERCISE = Exercise(
    id="ch08.permute",
    title="The order of q and k",
    spec="permute(w, heads): the rows of each head, so that row j and row j + half of it become neighbours.",
    kind="build",
    stub='''
def permute(w, heads):
    """w (heads * head_dim, in): of each head, rows 0, half, 1, half + 1, 2 …, where half = head_dim / 2."""
    ...
''',
    reference=permute,
    piece="permute",
    cases=[
        Case("one head of four rows", _numbered(1, 4), 1),
        Case("two heads of four rows", _numbered(2, 4), 2),
        Case("one head of six rows", _numbered(1, 6), 1),
        Case("four columns", torch.arange(16.0).reshape(4, 4), 1),
        Case("two heads of eight rows", _numbered(2, 8)[:, :1].clone(), 2),
        Case("four heads of two rows", normal(3, 8, 3), 4),
        Case("any numbers", normal(4, 24, 4), 3),
    ],
    properties=[
        law("the same rows", _rows, "A permutation only moves."),
        law("each head keeps its own", _inside, "A head is a block of head_dim rows."),
        relation("partners become neighbours", _neighbours, "Row j of a head turns together with row j + half."),
        equals_reference(why="Nothing is computed."),
    ],
    wrong=[
        Wrong(
            "the way back",
            _back,
            "That is how a reader undoes it. Split each head into two halves, then interleave them.",
        ),
        Wrong(
            "all rows as one head",
            _one_head,
            "You interleaved the two halves of the whole matrix. Each head has halves of its own.",
        ),
        Wrong(
            "halves exchanged",
            _halves_swapped,
            "The second half now stands before the first, but partners are still half a head apart. Interleave them.",
        ),
        Wrong(
            "the second partner first",
            _pairs_swapped,
            "Partners are neighbours, but in the wrong order: row j comes first, then row j + half.",
        ),
        Wrong(
            "heads innermost",
            _heads_mixed,
            "You took rows of different heads together. In memory a head's rows lie together: heads is the first axis.",
        ),
        Wrong(
            "heads and rows exchanged",
            _heads_moved,
            "This puts row 0 of all heads first. Heads stay where they are; inside each, halves are interleaved.",
        ),
        Wrong(
            "written over while read",
            _in_place,
            "You write into the tensor that you still read from, so rows are lost. Read from w, write into a new one.",
        ),
        Wrong(
            "columns",
            _columns,
            "You moved columns. Outputs of q are rows of w, and those are turned.",
        ),
        Wrong(
            "as it was",
            lambda w, heads: w.clone(),
            "Nothing moved. The file will load, and the bot will talk rubbish.",
        ),
    ],
    hints=[
        "reshape cuts the rows into (heads, 2 halves, half, in). Which two axes have to change places?",
        "One head of four rows, half = 2: 0 1 2 3 becomes 0 2 1 3. Two heads: 0 2 1 3 4 6 5 7.",
        "    half = ____\n    halves = w.reshape(heads, 2, half, w.shape[1])\n"
        "    return halves.transpose(____, ____).reshape(w.shape)",
    ],
    passed="Queries and keys move alike, so every product of the two stays. What changes is who is turned with whom.",
)
