"""ch13.claim: "p = .177, so it is as good". What the same numbers say about the loss."""

from math import comb

from course_lib.checks import Exercise, Wrong, law, near

RIGHT = {"drop": 0.986, "worst": 2.31, "still": 53}


def _near(key, tolerance, said):
    return near(key, RIGHT[key], said, atol=tolerance)


def _still(got):
    lost = got["still"]
    if lost == RIGHT["still"]:
        return True
    if lost == 13:
        return "That is the difference today. Asked is the count of lost ones."
    if lost != int(lost) or not 33 < lost < 1287:
        return f"Asked is a whole number above 33. You say {lost:.4g}."
    n = int(lost) + 33
    p = 2 * sum(comb(n, k) for k in range(34)) / 2**n
    if p < 0.05:
        return f"At {lost:.0f} lost p is {p:.4f}: below 0.05, and so it is with fewer."
    return f"At {lost:.0f} lost p is {p:.4f}, still above 0.05: more must be lost."


EXERCISE = Exercise(
    id="ch13.claim",
    title="“Not significant, so just as good”",
    spec="Three figures about 46 lost and 33 won of 1,319.",
    kind="explain",
    stub="""
claim = {
    "drop": ...,  # the drop in accuracy that was measured, in points (1 point = 1 %)
    "worst": ...,  # the largest drop, in points, that the two-sided 95 % interval still holds possible
    "still": ...,  # with 33 won: the fewest lost (a whole number above 33) at which p falls below 0.05
}
""",
    reference=RIGHT,
    solution_source="""
from course_lib.evaluate.paired import Paired

p = Paired(n=1319, lost=46, won=33)
claim = {
    "drop": 100 * p.drop,  # 0.99
    "worst": 100 * p.interval(0.95)[1],  # 2.31
    "still": next(b for b in range(34, 200) if Paired(1319, b, 33).p_value < 0.05),
}
""",
    properties=[
        law("the drop", _near("drop", 0.006, {
            0.00986: "Right as a share. Asked are points.",
            13: "13 items. Of 1,319, in percent?",
            16.46: "13 of the 79 flips. The accuracy is a share of all items.",
            -0.986: "A drop is positive where something was lost.",
            3.49: "46 were lost, but 33 were won back.",
            1: "Rounded too far: two decimals, please.",
            0.98: "Cut off, not rounded: 13 / 1319 is 0.9856 %.",
        }), "(46 − 33) / 1319, in points."),
        law("the worst", _near("worst", 0.015, {
            0.0231: "Right as a share. Asked are points.",
            2.09: "That is the end of the 90 % interval, which is right for a one-sided 5 %. Asked is the 95 % one.",
            0.99: "That is the measured drop, the middle of the interval.",
            -0.33: "That is the other end: the luckiest case.",
            1.32: "That is half the width. Add it to the drop.",
            3.49: "That is what was lost, without what was won. Asked is the upper end of the drop's interval.",
            2.12: "That is `drop_high()`, with all 5 % on one side. Asked is the end of `interval(0.95)`.",
            2.35: "That is Tango's upper end, which comes later. Asked is the end of `interval(0.95)`.",
            1: "The margin that you would like is not what the data say.",
        }), "The upper end of drop ± 1.96 · √(b + c − (b − c)²/n) / n."),
        law("still not significant", _still, "The exact two-sided p, tried for 34, 35, … lost: the first below 0.05."),
    ],
    wrong=[
        Wrong("shares, not points", {"drop": 0.00986, "worst": 0.0231, "still": 53},
              "Right as shares. The claim asks for points."),
        Wrong("not significant means nothing lost", {"drop": 0.0, "worst": 0.0, "still": 53},
              "That p is large does not make the drop zero. Compute it: lost − won, over all items."),
        Wrong("a share of the flips", RIGHT | {"drop": 16.46, "worst": 38.5},
              "The flips are the coins of the test. Accuracy is a share of all 1,319 items."),
        Wrong("only the lost", RIGHT | {"drop": 3.49, "worst": 4.5},
              "33 items were won back: the drop counts lost minus won."),
        Wrong("the lucky end", RIGHT | {"worst": -0.33}, "You took the lower end. Ask what may have been lost."),
        Wrong("the one-sided end", RIGHT | {"worst": 2.09},
              "The 90 % interval ends there. The claim asks for the 95 % one."),
        Wrong("one item short", RIGHT | {"still": 52}, "p(52 against 33) is still above 0.05."),
    ],
    hints=[
        "course_lib.evaluate.paired.Paired(n, lost, won) has drop, interval(confidence) and p_value.",
        "With 10 lost and 4 won of 100: the drop is 6 points, and the interval ends at 13.2.",
        "p = Paired(n=____, lost=____, won=____)\nclaim = {\n    \"drop\": 100 * p.____,\n"
        "    \"worst\": 100 * p.interval(____)[____],\n    \"still\": next(b for b in range(34, 200) if ____),\n}",
    ],
    passed="The same data that are “not significant” allow a loss of more than two points. Fix a margin, then show it.",
)  # fmt: skip
