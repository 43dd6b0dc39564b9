"""ch02.worth: what a zero point buys, on three ranges, and what it costs."""

from course_lib.checks import Exercise, Wrong, law

RIGHT = {"one_sided": 15 / 7, "centred": 15 / 14, "leaning": 45 / 28, "price": 0.125}
EXACT = 0.0035  # lets 1.07 pass for 15/14, and not 16/15
TWO_DECIMALS = 0.00501  # 0.125 is 0.12 or 0.13 in two decimals
SMALLER_STEP = "{said} is the asymmetric step itself. How many times as large is the symmetric one?"
OTHER_WAY = "You divided the other way round: how many times as *large* is the symmetric step?"


def _is(key, said, otherwise="Work out both steps, then divide.", exact=EXACT):
    """A law about one entry of the claim; `said` maps plausible wrong numbers to what they mean."""

    def test(got):
        value = got[key]
        if abs(value - RIGHT[key]) <= exact:
            return True
        known = [text for number, text in said.items() if abs(value - number) <= EXACT]
        if known:
            return known[0].format(said=f"{value:.4g}")
        if abs(value - RIGHT[key]) <= 0.06:
            return f'claim["{key}"] = {value:.4g} is close: give more decimals, or write the division.'
        return f'claim["{key}"] = {value:.4g}. {otherwise}'

    return test


_ONE_SIDED = {
    2.0: "2 is 6 / 3, or 16 / 8. But a step is a *gap*: 7 gaps above 0 on the one ruler, 15 on the other.",
    7 / 15: OTHER_WAY,
    1.875: "1.875 is 15 / 8. The symmetric ruler ends at 7, so its step is 3 / 7.",
    16 / 7: "16 / 7 counts marks on the asymmetric ruler. Its 16 marks have 15 gaps.",
    15 / 14: "Of the 14 gaps of the symmetric ruler only 7 lie above 0.",
    0.2: SMALLER_STEP,
}
_CENTRED = {
    1.0: "Not quite nothing: 16 marks have 15 gaps, and the symmetric ruler has 14.",
    14 / 15: OTHER_WAY,
    15 / 7: "Asymmetric has to cover 6 now, from −3 to 3, with its 15 gaps.",
    16 / 15: "Count gaps, not marks: 15 against 14.",
    8 / 7: "8 / 7 is 16 / 14. But 16 marks have 15 gaps.",
    0.4: SMALLER_STEP,
}
_LEANING = {
    28 / 45: OTHER_WAY,
    15 / 7: "Asymmetric has to cover 4 now, from −1 to 3.",
    15 / 14: "15 / 14 is right where both cover the same. Symmetric covers 6 here, asymmetric 4, from −1 to 3.",
    12 / 7: "12 / 7 counts marks on the asymmetric ruler. Its 16 marks have 15 gaps.",
    1.5: "1.5 is 6 / 4, the two ranges. But the symmetric one has 14 gaps, the asymmetric one 15.",
    4 / 15: SMALLER_STEP,
}
_PRICE = {
    4.0: "4 bits are what one z takes. 32 weights share it.",
    0.5: "16 / 32 is a zero point stored like a scale, 4 / 8 is z in bytes. Asked: 4 bits, shared by 32 weights.",
    0.625: "20 / 32 counts the scale, too. Asked is z alone.",
    8.0: "You divided the other way round: 4 bits, shared by 32 weights.",
    1 / 32: "A zero point takes 4 bits, not one: 4 / 32.",
    4.125: "That is a weight with its share of z. Asked is the share alone.",
}

EXERCISE = Exercise(
    id="ch02.worth",
    title="What a zero point buys",
    spec="4 bits: symmetric step / asymmetric step for 0 … 3, −3 … 3 and −1 … 3; and the bits a weight that z costs.",
    kind="explain",
    stub="""
claim = {
    "one_sided": ...,  # values from 0 to 3: the symmetric step divided by the asymmetric one
    "centred": ...,  # the same for values from -3 to 3
    "leaning": ...,  # the same for values from -1 to 3
    "price": ...,  # bits a weight for storing z: one 4-bit zero point for every group of 32 weights
}
""",
    reference=RIGHT,
    solution_source="""
claim = {
    "one_sided": 15 / 7,  # (3 / 7) / (3 / 15)
    "centred": 15 / 14,  # (3 / 7) / (6 / 15)
    "leaning": 45 / 28,  # (3 / 7) / (4 / 15)
    "price": 4 / 32,
}
""",
    properties=[
        law("values from 0 to 3", _is("one_sided", _ONE_SIDED), "Symmetric: 7 steps up to 3. Asymmetric: 15."),
        law("values from −3 to 3", _is("centred", _CENTRED), "Both cover 6: with 14 gaps and with 15."),
        law(
            "values from −1 to 3",
            _is("leaning", _LEANING),
            "Symmetric still covers −3 … 3, asymmetric only −1 … 3.",
        ),
        law(
            "the price",
            _is("price", _PRICE, "How many bits does one z take, and how many weights share it?", TWO_DECIMALS),
            "One zero point, shared by the group.",
        ),
    ],
    wrong=[
        Wrong(
            "marks counted instead of gaps",
            RIGHT | {"one_sided": 2.0, "centred": 16 / 15},
            "A step is a gap: 16 marks have 15 gaps, and the symmetric ruler has 7 on each side of 0.",
        ),
        Wrong(
            "nothing gained when centred",
            RIGHT | {"centred": 1.0},
            "The symmetric ruler leaves one of its 16 codes unused. The asymmetric one does not: 15 gaps against 14.",
        ),
        Wrong(
            "ranges divided, not steps",
            RIGHT | {"one_sided": 2.0, "centred": 1.0, "leaning": 1.5},
            "Those are ratios of the *ranges*. A step is range / gaps, and the two rulers have 14 and 15 of them.",
        ),
        Wrong(
            "the other way round",
            {key: 1 / value for key, value in RIGHT.items() if key != "price"} | {"price": 0.125},
            "A smaller step is better, so put the symmetric step on top: how many times as large is it?",
        ),
        Wrong(
            "one range for all three",
            RIGHT | {"centred": 15 / 7, "leaning": 15 / 7},
            "The asymmetric step follows the range: (hi − lo) / 15, and hi − lo is 3, then 6, then 4.",
        ),
        Wrong(
            "a zero point for every weight",
            RIGHT | {"price": 4.0},
            "A group of 32 weights shares one zero point: 4 bits / 32.",
        ),
    ],
    hints=[
        "Symmetric covers as much below 0 as above it, with 7 gaps a side. Asymmetric covers hi − lo with 15.",
        "3 bits, values from 0 to 6: symmetric 6 / 3 = 2, asymmetric 6 / 7. The ratio is 7 / 3 = 2.33.",
        'claim = {\n    "one_sided": (3 / 7) / (____ / 15),\n    "centred": (3 / 7) / (____ / 15),\n'
        '    "leaning": (3 / ____) / (4 / ____),\n    "price": ____ / 32,\n}',
    ],
    passed="One-sided values gain more than a bit. Centred ones gain 7 % of a step and pay for it with stored zeros.",
)
