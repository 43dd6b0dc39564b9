"""ps05.q3: a shift and a scale, folded"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def shift_and_scale(gain, beta, weights, biases, z, s):
    """A LayerNorm's gain and beta, and its linears' weights and biases, for inputs (x - z) / s and the same outputs."""
    pairs = list(zip(weights, biases, strict=True))
    return {
        "gain": gain / s,
        "beta": (beta - z) / s,
        "weights": [w * s for w in weights],
        "biases": [w @ z if b is None else b + w @ z for w, b in pairs],
    }


def _fold(gain, beta, weights, biases, z, s, norm=lambda g, b, z, s: (g / s, (b - z) / s), w=lambda w, s: w * s,
          back=lambda w, z, s: w @ z, none=lambda w, moved: moved):  # fmt: skip
    """The reference with one part changed; none(w, moved): the bias where there was none."""
    new_gain, new_beta = norm(gain, beta, z, s)
    moved = [back(one, z, s) for one in weights]
    triples = zip(weights, biases, moved, strict=True)
    new = [none(one, m) if b is None else b + m for one, b, m in triples]
    return {"gain": new_gain, "beta": new_beta, "weights": [w(one, s) for one in weights], "biases": new}


def _first_only(gain, beta, weights, biases, z, s):
    got = shift_and_scale(gain, beta, weights, biases, z, s)
    kept = [torch.zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
    return got | {"weights": [*got["weights"][:1], *weights[1:]], "biases": [*got["biases"][:1], *kept[1:]]}


NAMES = ("gain", "beta", "weights", "biases", "a linear without a bias")

WRONG = [
    Mistake(
        "beta left alone",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: (g / s, b)),
        "x = gain · n + beta. What is divided and shifted is all of x, so beta takes part in both.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "beta shifted, not divided",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: (g / s, b - z)),
        "(gain · n + beta − z) / s: the division meets beta − z, too.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "divided before the shift",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: (g / s, b / s - z)),
        "That is x / s − z. Asked is (x − z) / s: shift first, then divide.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the gain shifted",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: ((g - z) / s, (b - z) / s)),
        "A shift is a sum: it changes what is added, beta, and not what is multiplied.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the wrong way round",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: (g * s, (b - z) * s), w=lambda w, s: w / s),
        "The same outputs, but the inputs are (x − z) · s: louder, not quieter.",
        loses=NAMES[:3],
    ),
    Mistake(
        "nobody adds the shift again",
        lambda *a: _fold(*a, back=lambda w, z, s: torch.zeros(len(w))),
        "The inputs lost z, so the outputs lack w @ z. The biases have to bring it back.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the shift taken off twice",
        lambda *a: _fold(*a, back=lambda w, z, s: -(w @ z)),
        "w(x − z) = wx − wz. To get wx, wz is *added*.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the shift meets the scaled weights",
        lambda *a: _fold(*a, back=lambda w, z, s: (w * s) @ z),
        "(w · s) meets (x − z) / s, where s cancels: what is missing is the old w times z.",
        loses=NAMES[3:],
    ),
    Mistake(
        "zeros where there was no bias",
        lambda *a: _fold(*a, none=lambda w, moved: torch.zeros(len(w))),
        "A linear without a bias also lacks w @ z. It needs a bias now.",
        loses=NAMES[4:],
    ),
    Mistake(
        "only the first linear",
        _first_only,
        "All linears behind the norm read the new inputs.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the gain left alone",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: (g, (b - z) / s)),
        "(gain · n + beta − z) / s: the division meets the gain, too.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the weights divided, too",
        lambda *a: _fold(*a, w=lambda w, s: w / s),
        "Inputs that are s times smaller need columns that are s times larger.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the weights left alone",
        lambda *a: _fold(*a, w=lambda w, s: w),
        "Inputs were divided by s: the columns of w have to be multiplied by it.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "beta moved the wrong way",
        lambda *a: _fold(*a, norm=lambda g, b, z, s: (g / s, (b + z) / s)),
        "x' = (x − z) / s: z is taken off beta; the biases add it again.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the shift divided as well",
        lambda *a: _fold(*a, back=lambda w, z, s: w @ (z / s)),
        "The inputs lost z, before the division: the biases bring w @ z back, with the old w.",
        loses=NAMES[3:],
    ),
    Mistake(
        "still without a bias",
        lambda *a: _fold(*a, none=lambda w, moved: None),
        "In the result every linear has a bias: where there was none, it is w @ z.",
        loses=NAMES[4:],
    ),
]


def exercise(seed):
    def case(name, offset, cols, rows, without=()):
        generator = torch.Generator().manual_seed(seed + offset)

        def draw(*shape, scale=1.0):
            return scale * torch.randn(*shape, generator=generator)

        weights, biases = [draw(r, cols) for r in rows], [draw(r) for r in rows]
        biases = [None if k in without else b for k, b in enumerate(biases)]
        s = 2.0 ** (1 + draw(cols).abs())  # never near 1
        return Case(name, 1 + draw(cols, scale=0.2), draw(cols), weights, biases, draw(cols, scale=3.0), s)

    whole = [
        case("one linear of one output", 0, 2, [1]),
        case("a square linear", 1, 3, [3]),
        case("three linears", 2, 4, [4, 2, 2]),
    ]
    bare = [
        case("two linears, one with a bias", 3, 3, [2, 3], without=(1,)),
        case("no biases at all", 4, 4, [3, 5, 2], without=(0, 1, 2)),
    ]
    near = dict(rtol=1e-5, atol=1e-5)
    return question(
        "ps05.q3",
        "A shift and a scale, folded",
        "shift_and_scale(gain, beta, weights, biases, z, s): inputs (x - z) / s, outputs as before.",
        shift_and_scale,
        properties=[
            agrees(NAMES[0], whole, "The gain is divided by s.", points=0.5, part="gain", **near),
            agrees(NAMES[1], whole, "beta belongs to x: shifted and divided.", points=1, part="beta", **near),
            agrees(NAMES[2], whole, "Columns times s.", points=0.5, part="weights", **near),
            agrees(NAMES[3], whole, "What the shift took, w @ z, comes back.", points=1, part="biases", **near),
            agrees(NAMES[4], bare, "It gets one: w @ z.", points=1, part="biases", **near),
        ],
        wrong=WRONG,
    )
