"""ch01.round_trip: q = clip(round(w/s), −qmax, qmax) and back, ŵ = s·q."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def round_trip(w, s, b):
    qmax = 2 ** (b - 1) - 1
    q = torch.clip(torch.round(w / s), -qmax, qmax)
    return s * q


def _qmax(b):
    return 2 ** (b - 1) - 1


def _whole_steps(got, w, s, b):
    steps = got.double() / s
    return bool(((steps - steps.round()).abs() < 1e-4).all())


def _half_step(got, w, s, b):
    inside = w.abs() <= s * _qmax(b)
    return bool(((got - w).abs()[inside] <= s / 2 * (1 + 1e-5)).all())


def _idempotent(run, w, s, b):
    once = run(w, s, b)
    return torch.equal(run(once, s, b), once)


def _row(seed, n, spread):
    return spread * torch.randn(n, generator=torch.Generator().manual_seed(seed))


EXERCISE = Exercise(
    id="ch01.round_trip",
    title="The round trip",
    spec="round_trip(w, s, b) rounds w/s to the nearest integer from −qmax to qmax = 2^(b−1) − 1, and scales back.",
    kind="build",
    stub='''
def round_trip(w, s, b):
    """Quantize w with step s to b bits, symmetric, and decode it again. Same shape and dtype as w."""
    ...
''',
    reference=round_trip,
    piece="round_trip",
    cases=[
        Case("one weight by hand", torch.tensor([0.73]), 0.1, 4),
        Case("ties", torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]), 1.0, 4),
        Case("both ends", torch.tensor([7.0, -7.0, 8.0, -8.0, -100.0]), 1.0, 4),
        Case("just outside the last mark", torch.tensor([7.4, -7.4]), 1.0, 4),
        Case("two bits", torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]), 1.0, 2),
        Case("three bits, far out", torch.tensor([200.0, -300.0, 2.0]), 1.0, 3),
        Case("the four weights of the chapter", torch.tensor([0.15, -1.22, 2.40, -0.45]), 2.40 / 7, 4),
        Case("eight bits, a matrix", _row(0, 64, 0.02).reshape(4, 16), 0.0004, 8),
        Case("an outlier", torch.cat([_row(1, 15, 0.1), torch.tensor([12.0])]), 0.05, 4),
    ],
    properties=[
        equals_reference(ulps=2, why="The definition fixes every code; the last product s·q may round once."),
        law("a whole number of steps", _whole_steps, "A code is an integer; decoding multiplies it by s."),
        law("error ≤ s/2 where nothing clips", _half_step, "The nearest mark of a ruler is at most half a step away."),
        relation("a second trip changes nothing", _idempotent, "A value on the grid is its own nearest mark."),
    ],
    wrong=[
        Wrong(
            "no clipping",
            lambda w, s, b: s * torch.round(w / s),
            "With b bits there are only the codes −qmax … qmax: clip q before you scale back.",
        ),
        Wrong(
            "truncated instead of rounded",
            lambda w, s, b: s * torch.clip(torch.trunc(w / s), -_qmax(b), _qmax(b)),
            "`int()` and `.to(torch.int8)` cut towards zero, which doubles the worst error; use `torch.round`.",
        ),
        Wrong(
            "always rounded down",
            lambda w, s, b: s * torch.clip(torch.floor(w / s), -_qmax(b), _qmax(b)),
            "`floor` and `//` go down even from 7.9, which doubles the worst error; use `torch.round`.",
        ),
        Wrong(
            "ties rounded away from zero",
            lambda w, s, b: s * torch.clip(torch.sign(w) * torch.floor(w.abs() / s + 0.5), -_qmax(b), _qmax(b)),
            "floor(|x| + 0.5) sends 0.5 to 1 and 2.5 to 3; `torch.round` sends ties to the even neighbour, 0 and 2.",
        ),
        Wrong(
            "ties rounded up",
            lambda w, s, b: s * torch.clip(torch.floor(w / s + 0.5), -_qmax(b), _qmax(b)),
            "floor(x + 0.5) sends every tie upwards, −1.5 to −1; `torch.round` sends ties to the even neighbour.",
        ),
        Wrong(
            "one code too many below",
            lambda w, s, b: s * torch.clip(torch.round(w / s), -_qmax(b) - 1, _qmax(b)),
            "You clip at −2^(b−1), the range of a signed integer; our symmetric grid stops at −qmax.",
        ),
        Wrong(
            "qmax = 2^(b−1)",
            lambda w, s, b: s * torch.clip(torch.round(w / s), -_qmax(b) - 1, _qmax(b) + 1),
            "Zero is one of the codes, so qmax is 2^(b−1) − 1: 7 for four bits.",
        ),
        Wrong(
            "a limit on one side only",
            lambda w, s, b: s * torch.clip(torch.round(w / s), max=_qmax(b)),
            "Large positive codes are cut, large negative ones are not. The ruler ends at −qmax, too.",
        ),
        Wrong(
            "no negative codes",
            lambda w, s, b: s * torch.clip(torch.round(w / s), 0, _qmax(b)),
            "Every negative weight has become 0. The symmetric codes run from −qmax to qmax.",
        ),
        Wrong(
            "codes from 0 up",
            lambda w, s, b: s * torch.clip(torch.round(w / s), 0, 2**b - 1),
            "You clip to 0 … 2^b − 1, so every negative weight becomes 0. The symmetric codes run from −qmax to qmax.",
        ),
        Wrong(
            "the number of bits as the last code",
            lambda w, s, b: s * torch.clip(torch.round(w / s), -b, b),
            "You clip at ±b. The last code is no number of bits: qmax = 2^(b−1) − 1, 7 for four bits and 1 for two.",
        ),
        Wrong(
            "forgot the sign",
            lambda w, s, b: s * torch.clip(torch.round(w / s), -(2**b - 1), 2**b - 1),
            "2^b codes have to serve both signs: on each side of 0 there are only 2^(b−1) − 1.",
        ),
        Wrong(
            "seven marks for every b",
            lambda w, s, b: s * torch.clip(torch.round(w / s), -7, 7),
            "7 is qmax for four bits. Compute it from b: `2 ** (b - 1) - 1`.",
        ),
        Wrong(
            "^ is not a power in Python",
            lambda w, s, b: s * torch.clip(torch.round(w / s), -(2 ^ (b - 1) - 1), 2 ^ (b - 1) - 1),
            "In Python `^` compares bits, and 2 ^ 3 is 1. A power is written `**`: `2 ** (b - 1) - 1`.",
        ),
        Wrong(
            "too late for eight bits",
            lambda w, s, b: s * torch.clip(torch.round(w / s).to(torch.int8), -_qmax(b), _qmax(b)),
            "An int8 holds −128 … 127, and 200 becomes −56 before you clip it. Clip first, then convert.",
        ),
        Wrong(
            "multiplied and divided the wrong way round",
            lambda w, s, b: torch.clip(torch.round(w * s), -_qmax(b), _qmax(b)) / s,
            "“How many steps of size s fit into w?” is a division, w / s. Multiply on the way back.",
        ),
        Wrong(
            "the codes, not the weights",
            lambda w, s, b: torch.clip(torch.round(w / s), -_qmax(b), _qmax(b)),
            "These are the integers q; the last step is missing: multiply by s.",
        ),
        Wrong(
            "a step of its own",
            lambda w, s, b: round_trip(w, w.abs().max() / _qmax(b), b),
            "You worked out a step from w. Here s is given, and the marks lie where it says, however large w is.",
        ),
        Wrong(
            "clipped the weight, not the code",
            lambda w, s, b: s * torch.round(torch.clip(w, -_qmax(b), _qmax(b)) / s),
            "qmax bounds the integer q. You clipped w itself, before dividing by s.",
        ),
        Wrong(
            "clipped, not rounded",
            lambda w, s, b: torch.clip(w, -s * _qmax(b), s * _qmax(b)),
            "These are the weights as they came, but for the outermost. Round the number of steps, w / s.",
        ),
    ],
    hints=[
        "How many steps of size s is w away from zero, as an integer? Is that integer allowed? What is it worth?",
        "w = 0.73, s = 0.1, b = 4: w/s = 7.3, rounded 7; qmax = 7, so 7 is allowed; 7 · 0.1 = 0.7.",
        "def round_trip(w, s, b):\n    qmax = ____\n    q = torch.clip(torch.round(____), ____, ____)\n    return ____",
    ],
    passed="This is the formula inside every integer quantizer. The rest of the course is about choosing s.",
)
