"""ch01.error_bound: how far off a weight can be, and from where on the bound no longer holds."""

from course_lib.checks import Exercise, Wrong, law, near

RIGHT = {"worst": 0.1, "reach": 1.5, "at_2_4": 1.0}  # s = 0.2, b = 4, so qmax = 7


def _is(key, said):
    return near(key, RIGHT[key], said, "Round one weight by hand, as above.", atol=1e-6)


EXERCISE = Exercise(
    id="ch01.error_bound",
    title="How wrong can it get?",
    spec="Sizes of errors with s = 0.2 and b = 4 bits: the worst without clipping, how far it holds, that of w = 2.4.",
    kind="explain",
    stub="""
claim = {
    "worst": ...,  # s = 0.2: the largest error that a weight can have while nothing clips
    "reach": ...,  # b = 4: the largest w whose error is still no larger than that
    "at_2_4": ...,  # the size of the error of w = 2.4
}
""",
    reference=RIGHT,
    solution_source="""
claim = {
    "worst": 0.1,  # half a step: s / 2
    "reach": 1.5,  # the last mark is 7 · 0.2 = 1.4, and half a step beyond it is still no further off than 0.1
    "at_2_4": 1.0,  # 2.4 is stored as the last mark: 2.4 − 1.4
}
""",
    properties=[
        law(
            "the worst error without clipping",
            _is(
                "worst",
                {
                    0.2: "0.2 is the whole step. Halfway between two marks is as far as one can get from both.",
                    0.05: "0.05 is a quarter of a step, the error on average. Asked is the largest.",
                    0.5: "0.5 is in steps: half of one. How much is that with s = 0.2?",
                    -0.1: "Right but for the sign: asked is a size, and sizes are not below 0.",
                },
            ),
            "The nearest mark is never further than half the gap between two marks.",
        ),
        law(
            "how far the bound holds",
            _is(
                "reach",
                {
                    1.4: "1.4 is the last mark itself. A weight of 1.45 also lands there, and it is only 0.05 off.",
                    1.6: "1.6 would be mark number 8, which 4 bits do not have.",
                    1.7: "You went half a step beyond mark number 8, but the last mark is number 7.",
                    0.7: "You counted 7 half steps. The marks are whole steps apart: the last one is at 7 · 0.2.",
                    1.3: "You went half a step back from the last mark, 1.4. It serves the half step beyond it, too.",
                    7.5: "7.5 is in steps. How much is that with s = 0.2?",
                    7.0: "7 is the number of the last mark. How far out is that, and what does it serve beyond?",
                    2.4: "2.4 is 12 steps out, and the codes stop at 7.",
                    3.1: "You let the codes go up to 15. Of 16 codes the symmetric grid has 7 on each side of 0.",
                },
            ),
            "The last mark serves the half step on either side of it, and nothing further out.",
        ),
        law(
            "the error beyond the last mark",
            _is(
                "at_2_4",
                {
                    -1.0: "That is ŵ − w, and it is right. Asked is its size, |ŵ − w|: leave out the sign.",
                    1.4: "1.4 is what 2.4 comes back as. Asked is how far off that is.",
                    5.0: "5 is in steps, from mark 7 to 12. How much is that with s = 0.2?",
                    2.4: "You let 2.4 come back as 0. It comes back as the last mark, the nearest that there is.",
                    0.1: "Half a step bounds rounding. But 2.4 is 12 steps out, and the codes stop at 7.",
                    0.0: "2.4 would be mark number 12. With 4 bits the codes stop at 7, so 2.4 cannot be stored.",
                    0.8: "You let the codes go up to 8. The symmetric grid stops at 7, which is worth 1.4.",
                    0.9: "You measured from where clipping begins, 1.5. The weight comes back as the last mark, 1.4.",
                },
            ),
            "What clips comes back as the last mark, so its error is its distance from there.",
        ),
    ],
    wrong=[
        Wrong("the whole step", RIGHT | {"worst": 0.2}, "Halfway between two marks is the worst place: s / 2."),
        Wrong(
            "stopped at the last mark",
            RIGHT | {"reach": 1.4},
            "The last mark also serves the half step beyond it: from 1.4 up to 1.5 the error is still at most 0.1.",
        ),
        Wrong(
            "clipping forgotten",
            {"worst": 0.1, "reach": 2.4, "at_2_4": 0.0},
            "4 bits have 7 marks a side. The ruler ends at 7 · 0.2 = 1.4, and what lies further out is cut to that.",
        ),
        Wrong(
            "the bound used where it does not hold",
            RIGHT | {"at_2_4": 0.1},
            "Half a step bounds the error of rounding. 2.4 lies beyond the last mark, so it is clipped to 1.4.",
        ),
        Wrong(
            "eight marks on each side",
            {"worst": 0.1, "reach": 1.7, "at_2_4": 0.8},
            "For 4 bits qmax = 2^(b−1) − 1 = 7: of 16 codes one is zero, and the symmetric grid leaves one unused.",
        ),
    ],
    hints=[
        "Draw three marks; put a weight at the worst place between them. Then find the last mark: which is it?",
        "With b = 3 and s = 1 the marks are −3 … 3. Worst: 0.5. Reach: 3.5. A weight of 5 comes back as 3: off by 2.",
        'claim = {\n    "worst": ____ / 2,\n    "reach": 0.2 * ____ + ____,\n    "at_2_4": 2.4 - ____,\n}',
    ],
    passed="Rounding has a bound that you can set in advance. Clipping has none: it grows with the weight.",
)
