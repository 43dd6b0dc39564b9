"""ch13.wilson: an interval of a share that does not shrink to nothing at 0 and at 1."""

import math

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def wilson(right, n, z):
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return centre - half, centre + half


def _wald(right, n, z):
    share = right / n
    half = z * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def _clipped(right, n, z):
    low, high = _wald(right, n, z)
    return max(0.0, low), min(1.0, high)


def _same_centre(right, n, z):
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return right / n - half, right / n + half


def _share(right, n, z):
    centre, p = (right / n + z * z / 2) / (n + z * z), right / n
    half = z / (n + z * z) * math.sqrt(p * (1 - p) / n + z * z / 4)
    return centre - half, centre + half


def _share_under_root(right, n, z):
    centre, p = (right + z * z / 2) / (n + z * z), right / n
    half = z / (n + z * z) * math.sqrt(p * (1 - p) / n + z * z / 4)
    return centre - half, centre + half


def _divided_by_n(right, n, z):
    centre = (right + z * z / 2) / (n + z * z)
    half = z / n * math.sqrt(right * (n - right) / n + z * z / 4)
    return centre - half, centre + half


def _wald_around(right, n, z):
    centre, share = (right + z * z / 2) / (n + z * z), right / n
    half = z * math.sqrt(share * (1 - share) / n)
    return centre - half, centre + half


def _z_once(right, n, z):
    centre, half = (right + z / 2) / (n + z), z / (n + z) * math.sqrt(right * (n - right) / n + z / 4)
    return centre - half, centre + half


def _half_of_all(right, n, z):
    centre, half = (right + z * z) / 2 / (n + z * z), (wilson(right, n, z)[1] - wilson(right, n, z)[0]) / 2
    return centre - half, centre + half


def _no_quarter(right, n, z):
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n)
    return centre - half, centre + half


def _one_point(right, n, z):
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * (right * (n - right) / n + z * z / 4)
    return centre - half, centre + half


def _agresti(right, n, z):
    share, m = (right + z * z / 2) / (n + z * z), n + z * z
    half = z * math.sqrt(share * (1 - share) / m)
    return share - half, share + half


def _turned(right, n, z):
    low, high = wilson(right, n, z)
    return high, low


def _counts(right, n, z):
    low, high = wilson(right, n, z)
    return low * n, high * n


def _inside(got, right, n, z):
    low, high = got
    if not -1e-6 <= low <= high <= 1 + 1e-6:
        return f"low is {low:.7g}, high is {high:.7g}. In order, and within 0 and 1, they are not."
    return True


EXERCISE = Exercise(
    id="ch13.wilson",
    title="Forty of forty",
    spec="wilson(right, n, z): the two ends of Wilson's interval of a share.",
    kind="repair",
    stub='''
def wilson(right, n, z):
    """(low, high): the shares that are compatible with `right` of n; z = 1.96 for 95 %.

    centre (right + z²/2) / (n + z²), half width z / (n + z²) · √(right · (n − right) / n + z²/4)
    """
    share = right / n
    half = z * math.sqrt(share * (1 - share) / n)
    return share - half, share + half
''',
    solution_source='''
def wilson(right, n, z):
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return centre - half, centre + half
''',
    reference=wilson,
    piece="wilson",
    cases=[
        Case("one of two", 1, 2, 1.96),
        Case("forty of forty", 40, 40, 1.96),
        Case("none of ten", 0, 10, 1.96),
        Case("nearly all", 194, 200, 1.96),
        Case("90 %", 30, 100, 1.645),
        Case("one of one", 1, 1, 1.96),
    ],
    properties=[
        law("a range of shares", _inside, "A share lies between 0 and 1, and so does its interval."),
        law("all right is not surely right", lambda got, right, n, z: got[1] - got[0] > 1e-6
            or f"{right} of {n}: an interval without width says that nothing could be otherwise.",
            "A few items never prove 100 %."),
        equals_reference(atol=1e-6, why="A few products and a root; float32 will do."),
    ],
    wrong=[
        Wrong("unrepaired: clipped to 0 and 1", _clipped,
              "Cutting the ends off hides the fault. At 40 of 40 your interval still has no width."),
        Wrong("the share in place of right", _share,
              "Wilson's formula here is written with `right` items, not with their share right / n."),
        Wrong("the share under the root", _share_under_root,
              "right · (n − right) / n counts items. With shares it would be share · (1 − share) · n."),
        Wrong("width over n", _divided_by_n, "The width is divided by n + z², as the centre is."),
        Wrong("half of the whole", _half_of_all,
              "(right + z²)/2 halves right as well. Only z² is halved: right + z²/2."),
        Wrong("the centre stayed", _same_centre,
              "The middle moves towards ½, too: (right + z²/2) / (n + z²)."),
        Wrong("z²/4 forgotten", _no_quarter,
              "Without z²/4 under the root the width is 0 at both ends again."),
        Wrong("no root", _one_point, "The root is missing: variances add up, widths are their roots."),
        Wrong("Agresti and Coull's", _agresti,
              "That is the plain formula with z²/2 right and z²/2 wrong items added. Close, but wider, and above 1 "
              "for 40 of 40."),
        Wrong("centre and half the width", lambda *a: (sum(wilson(*a)) / 2, (wilson(*a)[1] - wilson(*a)[0]) / 2),
              "You return centre and half width. Asked are the two ends: centre − half, centre + half."),
        Wrong("the ends swapped", _turned, "Low comes first."),
        Wrong("counts", _counts, "You return items. Asked are shares, from 0 to 1."),
        Wrong(
            "only the centre moved",
            _wald_around,
            "The centre is Wilson's, the width is still the old one: at 1 of 2 it reaches below 0. Both are in the "
            "docstring.",
        ),
        Wrong(
            "z in place of z²",
            _z_once,
            "z stands squared in both formulas: z ** 2, or z * z.",
        ),
    ],
    hints=[
        "Put 40 of 40 into the given code. Which factor becomes 0? Wilson's formula, in the text of the function, adds "
        "z²/4 under the root.",
        "40 of 40, z = 1.96: the centre is (40 + 1.92) / 43.84 = 0.956, half the width 1.96 / 43.84 · √0.96 = 0.044.",
        "    centre = (right + ____) / (n + ____)\n    half = z / (n + z * z) * math.sqrt(____ + z * z / 4)\n"
        "    return centre - half, centre + half",
    ],
    passed="40 of 40 may still mean 91 %. A share without an interval is half a number.",
)  # fmt: skip
