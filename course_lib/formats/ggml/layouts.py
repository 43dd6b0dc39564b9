"""Which bits of a block hold which number: a table of runs for each of ggml's block types.

A run is a row of equally wide numbers at equal distances, such as the 32 codes of four bits in the field `qs` of Q4_0.
Where a number's bits lie in two places (the fifth bit of Q5_0), two runs name it.
"""

from __future__ import annotations

from typing import NamedTuple


class Run(NamedTuple):
    """Bits `start` and on of a field, the lowest bit of its first byte being bit 0.

    role    what the numbers are; ROLES says it in words
    field   ggml's name of the field
    width   bits of each number that lie here
    steps   (count, distance in bits), ..., the slowest first: where number 0, 1, 2, ... begins
    start   where number 0 begins
    shift   how many of the number's bits lie below these
    first   index of the first number
    spread  (weight of the first number, distance, count): weights that share a number and are no neighbours
    """

    role: str
    field: str
    width: int
    steps: tuple[tuple[int, int], ...] = ()
    start: int = 0
    shift: int = 0
    first: int = 0
    spread: tuple[int, int, int] | None = None


ROLES = {
    "d": "the scale that all weights share",
    "dmin": "the scale of the minima",
    "m": "the minimum of all weights",
    "e": "the exponent of the scale",
    "scale": "the scale of a sub-block",
    "minimum": "the minimum of a sub-block",
    "code": "the code of one weight",
    "row": "the row of the codebook: the magnitudes of four or eight weights",
    "signs": "seven signs, which tell the eighth",
    "sign": "the sign of one weight",
    "move": "the sign of the eighth that is added",
    "digits": "four or five codes as one number of base 3",
}
D, DMIN, M = Run("d", "d", 16), Run("dmin", "dmin", 16), Run("m", "m", 16)
HALVES = Run("code", "qs", 4, ((2, 4), (16, 8)))
FIFTH = Run("code", "qh", 1, ((32, 1),), shift=4)
PAIRS = Run("code", "qs", 2, ((2, 256), (4, 2), (32, 8)))
NIBBLES = Run("code", "qs", 4, ((4, 256), (2, 4), (32, 8)))
SIXES = (
    Run("scale", "scales", 6, ((4, 8),)),
    Run("scale", "scales", 2, ((4, 8),), start=6, shift=4, first=4),
    Run("minimum", "scales", 6, ((4, 8),), start=32),
    Run("minimum", "scales", 2, ((4, 8),), start=38, shift=4, first=4),
    Run("scale", "scales", 4, ((4, 8),), start=64, first=4),
    Run("minimum", "scales", 4, ((4, 8),), start=68, first=4),
)
SIXTEEN = Run("scale", "scales", 4, ((16, 4),))
EIGHT_BITS = Run("row", "qs", 8, ((32, 8),))

LAYOUTS: dict[str, tuple[Run, ...]] = {
    "Q4_0": (D, HALVES),
    "Q4_1": (D, M, HALVES),
    "Q5_0": (D, FIFTH, HALVES),
    "Q5_1": (D, M, FIFTH, HALVES),
    "Q8_0": (D, Run("code", "qs", 8, ((32, 8),))),
    "Q2_K": (
        Run("scale", "scales", 4, ((16, 8),)),
        Run("minimum", "scales", 4, ((16, 8),), start=4),
        *(PAIRS, D, DMIN),
    ),
    "Q3_K": (
        Run("code", "hmask", 1, ((8, 1), (32, 8)), shift=2),
        Run("scale", "scales", 4, ((2, 4), (8, 8))),
        Run("scale", "scales", 2, ((4, 2), (4, 8)), start=64, shift=4),
        *(PAIRS, D),
    ),
    "Q4_K": (D, DMIN, *SIXES, NIBBLES),
    "Q5_K": (D, DMIN, *SIXES, Run("code", "qh", 1, ((8, 1), (32, 8)), shift=4), NIBBLES),
    "Q6_K": (
        Run("code", "ql", 4, ((2, 512), (2, 4), (64, 8))),
        Run("code", "qh", 2, ((2, 256), (4, 2), (32, 8)), shift=4),
        *(Run("scale", "scales", 8, ((16, 8),)), D),
    ),
    "IQ4_NL": (D, HALVES),
    "IQ4_XS": (
        Run("scale", "scales_h", 2, ((8, 2),), shift=4),
        Run("scale", "scales_l", 4, ((8, 4),)),
        *(D, Run("code", "qs", 4, ((8, 128), (2, 4), (16, 8)))),
    ),
    "MXFP4": (Run("e", "e", 8), HALVES),
    "NVFP4": (Run("scale", "d", 8, ((4, 8),)), Run("code", "qs", 4, ((4, 64), (2, 4), (8, 8)))),
    "Q1_0": (D, Run("code", "qs", 1, ((128, 1),))),
    "Q2_0": (D, Run("code", "qs", 2, ((64, 2),))),
    "TQ1_0": (
        Run("digits", "qs", 8, ((32, 8),), spread=(0, 32, 5)),
        Run("digits", "qs", 8, ((16, 8),), start=256, first=32, spread=(160, 16, 5)),
        Run("digits", "qh", 8, ((4, 8),), first=48, spread=(240, 4, 4)),
        D,
    ),
    "TQ2_0": (PAIRS, D),
    "IQ3_XXS": (
        *(D, Run("row", "qs", 8, ((64, 8),))),
        Run("signs", "qs", 7, ((8, 32), (4, 7)), start=512),
        Run("scale", "qs", 4, ((8, 32),), start=540),
    ),
    "IQ3_S": (
        *(D, Run("row", "qs", 8, ((64, 8),)), Run("row", "qh", 1, ((64, 1),), shift=8)),
        *(Run("sign", "signs", 1, ((256, 1),)), Run("scale", "scales", 4, ((8, 4),))),
    ),
    "IQ2_XXS": (
        *(D, Run("row", "qs", 8, ((8, 64), (4, 8)))),
        Run("signs", "qs", 7, ((8, 64), (4, 7)), start=32),
        Run("scale", "qs", 4, ((8, 64),), start=60),
    ),
    "IQ2_XS": (D, Run("row", "qs", 9, ((32, 16),)), Run("signs", "qs", 7, ((32, 16),), start=9), SIXTEEN),
    "IQ2_S": (
        *(D, EIGHT_BITS, Run("sign", "qs", 1, ((256, 1),), start=256)),
        *(Run("row", "qh", 2, ((32, 2),), shift=8), SIXTEEN),
    ),
    "IQ1_S": (
        *(D, EIGHT_BITS, Run("row", "qh", 3, ((8, 16), (4, 3)), shift=8)),
        *(Run("scale", "qh", 3, ((8, 16),), start=12), Run("move", "qh", 1, ((8, 16),), start=15)),
    ),
    "IQ1_M": (
        *(EIGHT_BITS, Run("row", "qh", 3, ((32, 4),), shift=8), Run("move", "qh", 1, ((32, 4),), start=3)),
        Run("scale", "scales", 3, ((4, 16), (4, 3))),
        *(Run("d", "scales", 4, start=16 * k + 12, shift=4 * k) for k in range(4)),
    ),
}
