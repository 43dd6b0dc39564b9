"""ch04.restore: codes and group scales back to weights; the broken version passes the test "group = row"."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation
from course_lib.checks.inputs import int8


def restore(q, s):
    g = q.shape[1] // s.shape[1]
    return q * s.float().repeat_interleave(g, dim=1)


def _as_it_was(q, s):
    g = q.shape[1] // s.shape[1]
    return q * s.float().repeat(1, g)


def _only_its_group(run, q, s):
    """Doubling one scale doubles the weights of its group and no others."""
    rows, groups = s.shape
    g = q.shape[1] // groups
    ones = torch.ones_like(q)
    for k in range(groups):
        more = torch.ones_like(s)
        more[0, k] = 2
        hit = (run(ones, more) != 1).nonzero()
        want = [[0, c] for c in range(k * g, (k + 1) * g)]
        if hit.tolist() != want:
            cols = sorted({c for r, c in hit.tolist() if r == 0})
            return (
                f"All codes are 1 and all scales 1, but s[0, {k}] is 2. Columns {k * g} to {(k + 1) * g - 1} of row 0 "
                f"should be 2. Yours: {cols}{' and other rows' if any(r for r, _ in hit.tolist()) else ''}."
            )
    return True


def _scales(*rows):
    return torch.tensor(rows, dtype=torch.float16)


EXERCISE = Exercise(
    id="ch04.restore",
    title="The test was green",
    spec="restore(q, s): the float32 weights that codes q (rows, cols) and scales s (rows, groups) stand for.",
    kind="repair",
    stub='''
def restore(q, s):
    """Weights float32 (rows, cols) from codes int8 (rows, cols) and scales float16 (rows, groups)."""
    g = q.shape[1] // s.shape[1]
    return q * s.float().repeat(1, g)
''',
    reference=restore,
    piece="restore",
    cases=[
        Case("group = row", int8([2, -1, 3, -7]), _scales([0.5])),
        Case("two groups", int8([2, -1, 3, -7]), _scales([0.5, 4.0])),
        Case("the hand example", int8([2, -1, 3, -7, 0, 7, 0, 0]), _scales([0.1, 1.0])),
        Case("two rows", int8([7, 1, -7, 2], [3, -7, 7, 5]), _scales([0.25, 8.0], [1.0, 0.5])),
        Case("as many groups as weights", int8([1, 2, 3], [-3, -2, -1]), _scales([1.0, 2.0, 4.0], [0.5, 8.0, 0.25])),
        Case("three groups of two", int8([5, -4, 3, -2, 1, 7], [1, 2, 3, 4, 5, 6]), _scales([0.3, 2, 9], [1, 3, 4])),
        Case("as many rows as groups", int8([1, 2, 3, 4], [5, 6, 7, -1]), _scales([2.0, 16.0], [0.5, 64.0])),
        Case("eight bits", int8([127, -127, 100, 3]), _scales([0.0123, 0.77])),
    ],
    properties=[
        relation(
            "a scale reaches its own group only", _only_its_group, "Group k is columns k·g … k·g + g − 1 of its row."
        ),
        equals_reference(ulps=1, why="One product of a whole number and the stored scale, rounded once to float32."),
    ],
    wrong=[
        Wrong(
            "as it was: scales laid out in turns",
            _as_it_was,
            "repeat(1, g) writes s0 s1 s0 s1 …, but neighbours share a scale: s0 s0 … s1 s1 …. With one group a row "
            "both are the same, so the test could not see it.",
        ),
        Wrong(
            "the first scale for the whole row",
            lambda q, s: q * s.float()[:, :1],
            "Every column is multiplied by the row's first scale. Each group of columns has its own.",
        ),
        Wrong(
            "the last scale for the whole row",
            lambda q, s: q * s.float()[:, -1:],
            "Every column is multiplied by the row's last scale. Each group of columns has its own.",
        ),
        Wrong(
            "the first row's scales for all rows",
            lambda q, s: q * s.float()[:1].repeat_interleave(q.shape[1] // s.shape[1], dim=1),
            "All rows use row 0's scales. s has a row for each row of q.",
        ),
        Wrong(
            "multiplied in 16 bits",
            lambda q, s: (q * s.repeat_interleave(q.shape[1] // s.shape[1], dim=1)).float(),
            "The product was rounded to float16, which adds an error of its own. Make s float32 before you multiply.",
        ),
        Wrong(
            "divided by the scale",
            lambda q, s: q / s.float().repeat_interleave(q.shape[1] // s.shape[1], dim=1),
            "A code counts steps of size s: the weight is q · s.",
        ),
        Wrong(
            "the result stays in 16 bits",
            lambda q, s: q * s.repeat_interleave(q.shape[1] // s.shape[1], dim=1),
            "int8 times float16 gives float16. The spec wants float32: convert s first.",
        ),
        Wrong(
            "scales mirrored",
            lambda q, s: q * s.float().flip(1).repeat_interleave(q.shape[1] // s.shape[1], dim=1),
            "The groups are counted from the wrong end: s[:, 0] belongs to the first columns.",
        ),
    ],
    hints=[
        "Which scale does column 1 get, if a row has two groups of two? Print s.repeat(1, g) for s = [[0.5, 4.0]].",
        "s = [[0.5, 4.0]], g = 2: repeat(1, 2) gives 0.5 4 0.5 4. Needed is 0.5 0.5 4 4. torch has a function whose "
        "name says that it does not take turns.",
        "def restore(q, s):\n    g = q.shape[1] // s.shape[1]\n    return q * s.float().____(g, dim=____)",
    ],
    passed="The green test had one group a row, where every layout is the same. A test needs inputs that can tell.",
)
