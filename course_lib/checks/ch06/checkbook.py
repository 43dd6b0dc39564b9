"""ch06.checkbook: two weights, their curvature, and what a rounding costs, by hand."""

from course_lib.checks import Exercise, Wrong, law, near

RIGHT = {"second": 1.9, "nearest_cost": 0.97, "paid_cost": 0.17, "backwards_cost": 0.97}
# H = [[10, 3], [3, 1]], w = [1.4, 0.7]; d = w − ŵ


def _cost(d1, d2):
    """d @ H @ d with H = [[10, 3], [3, 1]]."""
    return 10 * d1 * d1 + 6 * d1 * d2 + d2 * d2


def _is(key, said, otherwise):
    return near(key, RIGHT[key], said, otherwise, atol=0.006)


_SECOND = [
    (0.7 - 1.2, "You moved it the wrong way. w₁ came back too *small*, so w₂ has to grow."),
    (0.7 + 0.4 * 3 / 10, "0.82 divides by H₁₁. The one who pays divides by his *own* curvature, H₂₂ = 1."),
    (1.2, "1.2 is how *far* it moves. Asked is where it arrives, and it starts from 0.7."),
    (1.1, "1.1 adds the error as it is. H₁₂ / H₂₂ = 3: one unit of w₁ is worth three of w₂."),
    (2.0, "2 is what it is rounded to. Asked is where it moves before that."),
    (0.7, "Then nobody has paid. How far must w₂ move to make up for 0.4?"),
]
_NEAREST = [
    (1.69, "You left out the middle term: 2 · H₁₂ · d₁ · d₂ is negative here, because the errors have opposite signs."),
    (_cost(0.4, 0.3), "Mind the signs: d = (+0.4, −0.3), since 0.7 went *up* to 1."),
    (10 * 0.16 - 3 * 0.12 + 0.09, "The middle term counts twice, once as H₁₂ and once as H₂₁."),
    (0.25, "That is the distance of the weights, squared: the straight ruler. A cost is d @ H @ d."),
    (1.0, "Rounded too far: give two decimals."),
    (0.485, "That is the half, a mean over two tokens. Asked is d @ H @ d."),
]
_PAID = [
    (_cost(0.4, -0.1), "d₂ is 0.7 − 2 = −1.3: the error is counted from the *original* weight, not from 1.9."),
    (_cost(0.4, 1.3), "Mind the signs: d = (+0.4, −1.3)."),
    (3.29, "You left out the middle term, 2 · H₁₂ · d₁ · d₂, and it is large and negative."),
    (1.85, "That is the distance of the weights, squared: the straight ruler. A cost is d @ H @ d."),
    (0.2, "Rounded too far: give two decimals."),
    (0.085, "That is the half, a mean over two tokens. Asked is d @ H @ d."),
    (0.16, "That is the minimum, at w₂ = 1.9. The grid has no such mark: w₂ becomes 2."),
]
_BACKWARDS = [
    (0.17, "Then w₁ moves by −0.3 · 3 / 10 = −0.09 only, to 1.31, and is still rounded to 1."),
    (0.009, "That is the minimum, at w₁ = 1.31. The grid has no such mark: w₁ becomes 1."),
    (_cost(-0.6, -0.3), "w₁ does not become 2: it moves *down*, because w₂ was rounded up."),
]

EXERCISE = Exercise(
    id="ch06.checkbook",
    title="Two weights",
    spec="H = [[10, 3], [3, 1]], w = [1.4, 0.7], whole numbers: where w2 moves, and three costs d @ H @ d.",
    kind="explain",
    stub="""
# H = [[10, 3], [3, 1]] and w = [1.4, 0.7] on whole numbers; a cost is d @ H @ d with d = w - what is stored
claim = {
    "second": ...,  # w1 is rounded to 1: to which number does w2 move, before it is rounded?
    "nearest_cost": ...,  # the cost when both go to their nearest whole number
    "paid_cost": ...,  # the cost when w2 makes up for w1 and is rounded then
    "backwards_cost": ...,  # the cost when w2 is rounded first, and w1 makes up for it
}
""",
    reference=RIGHT,
    solution_source="""
# H = [[10, 3], [3, 1]] and w = [1.4, 0.7] on whole numbers; a cost is d @ H @ d with d = w - what is stored
claim = {
    "second": 0.7 + 0.4 * 3 / 1,  # 1.9, which is rounded to 2
    "nearest_cost": 10 * 0.4**2 + 2 * 3 * 0.4 * -0.3 + 0.3**2,  # d = (0.4, -0.3)
    "paid_cost": 10 * 0.4**2 + 2 * 3 * 0.4 * -1.3 + 1.3**2,  # d = (0.4, -1.3)
    "backwards_cost": 0.97,  # w1 moves to 1.4 - 0.3 * 3 / 10 = 1.31 and becomes 1, as before
}
""",
    properties=[
        law("where w₂ moves", _is("second", _SECOND, "It moves by d₁ · H₁₂ / H₂₂."), "The bottom of the valley."),
        law(
            "the cost of the nearest",
            _is("nearest_cost", _NEAREST, "Put d = (0.4, −0.3) into 10 d₁² + 2 · 3 d₁ d₂ + d₂²."),
            "Three terms: each error alone, and both together.",
        ),
        law(
            "the cost when w₂ pays",
            _is("paid_cost", _PAID, "What is w₂ rounded to, and how far is that from 0.7?"),
            "w₂ is rounded from where it moved.",
        ),
        law(
            "the other way round",
            _is("backwards_cost", _BACKWARDS, "w₂ becomes 1. w₁ moves by d₂ · H₁₂ / H₁₁, and is rounded then."),
            "Now the loud one has to pay, and 10 is a steep price.",
        ),
    ],
    wrong=[
        Wrong(
            "the errors taken apart",
            {"second": 1.9, "nearest_cost": 1.69, "paid_cost": 3.29, "backwards_cost": 1.69},
            "You priced each error alone. They also meet: 2 · H₁₂ · d₁ · d₂, and that is where one makes up for "
            "another.",
        ),
        Wrong(
            "w₂ moved by the error itself",
            {"second": 1.1, "nearest_cost": 0.97, "paid_cost": 0.97, "backwards_cost": 0.97},
            "0.4 of w₁ is worth more than 0.4 of w₂: multiply by H₁₂ / H₂₂ = 3.",
        ),
        Wrong(
            "divided by the curvature of the wrong weight",
            {"second": 0.82, "nearest_cost": 0.97, "paid_cost": 0.97, "backwards_cost": 0.97},
            "The one who pays divides by his own curvature: H₂₂ = 1, not H₁₁ = 10.",
        ),
        Wrong(
            "the wrong direction",
            {"second": -0.5, "nearest_cost": 0.97, "paid_cost": _cost(0.4, 0.7), "backwards_cost": 0.97},
            "w₁ came back too small, so the output is too small: w₂ has to grow.",
        ),
        Wrong(
            "counted from where it moved",
            {"second": 1.9, "nearest_cost": 0.97, "paid_cost": _cost(0.4, -0.1), "backwards_cost": 0.97},
            "Errors are counted from the original weights, for which the layer was trained: d₂ = 0.7 − 2.",
        ),
        Wrong(
            "the order thought to be all the same",
            {"second": 1.9, "nearest_cost": 0.97, "paid_cost": 0.17, "backwards_cost": 0.17},
            "The order matters: a small weight can pay for a loud one, but hardly the other way round.",
        ),
        Wrong(
            "signs lost",
            {"second": 1.9, "nearest_cost": _cost(0.4, 0.3), "paid_cost": _cost(0.4, 1.3), "backwards_cost": 2.41},
            "d = w − ŵ keeps its sign. Two errors with opposite signs can cancel, and that is the whole point.",
        ),
    ],
    hints=[
        "d @ H @ d = 10 d₁² + 2 · 3 d₁ d₂ + d₂². Once d₁ is fixed, this is a parabola in d₂: where is its bottom?",
        "With the chapter's H = [[25, 4], [4, 1]] and w = [1.2, 0.8]: w₂ moves to 0.8 + 0.2 · 4 / 1 = 1.6, becomes "
        "2, and "
        "the cost is 25 · 0.04 + 2 · 4 · 0.2 · (−1.2) + 1.44 = 0.52.",
        'claim = {\n    "second": 0.7 + 0.4 * ____ / ____,\n    "nearest_cost": 10 * 0.4**2 + 2 * 3 * 0.4 * ____ + '
        "0.3**2,\n"
        '    "paid_cost": 10 * 0.4**2 + 2 * 3 * 0.4 * ____ + ____**2,\n    "backwards_cost": ____,\n}',
    ],
    passed="The error of the loud weight was paid by the quiet one. In which order one works is a choice: act-order.",
)
