"""ps03.q5: what do we ship?"""

import math

import torch

from course_lib import Scheme, quantize
from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def ship(w, options, budget_bytes):
    """The option with the least squared error among those whose bytes fit: its number, bytes and decibels; or None."""
    best, least = None, math.inf
    for number, option in enumerate(options):
        if w.shape[1] % option["group"]:
            continue
        scheme = Scheme.int(option["bits"], option["symmetric"], option["group"], scale_dtype=torch.float16)
        stored = quantize(w, scheme)
        noise = ((w - stored.dequantize()).double() ** 2).sum().item()
        if stored.nbytes <= budget_bytes and noise < least:
            least = noise
            decibels = 10 * math.log10((w.double() ** 2).sum().item() / noise)
            best = {"option": number, "bytes": stored.nbytes, "sqnr_db": decibels}
    return best


def _measure(w, option, dtype=torch.float16, factor=10):
    q = quantize(w, Scheme.int(option["bits"], option["symmetric"], option["group"], scale_dtype=dtype))
    noise = ((w - q.dequantize()).double() ** 2).sum().item()
    return q.nbytes, factor * math.log10((w.double() ** 2).sum().item() / noise)


def _ship(w, options, budget, key=lambda n, option, size, db: -db, size=None, skip=True, none=None, **measure):
    found = []
    for n, option in enumerate(options):
        if skip and w.shape[1] % option["group"]:
            continue
        stored, db = _measure(w, option, **measure)
        stored = stored if size is None else size(w, option)
        if stored <= budget:
            found.append((key(n, option, stored, db), n, stored, db))
    return dict(zip(("option", "bytes", "sqnr_db"), min(found)[1:], strict=True)) if found else none


def _codes_only(w, option):
    return w.numel() * option["bits"] // 8


def _without_zero_points(w, option):
    return w.numel() * option["bits"] // 8 + 2 * w.numel() // option["group"]


def _padded(w, options, budget):
    found = []
    for n, option in enumerate(options):
        scheme = Scheme.int(option["bits"], option["symmetric"], option["group"], scale_dtype=torch.float16)
        q = quantize(w, scheme, pad=True)
        if q.nbytes <= budget:
            noise = ((w - q.dequantize()).double() ** 2).sum().item()
            found.append((noise, n, q.nbytes, 10 * math.log10((w.double() ** 2).sum().item() / noise)))
    return dict(zip(("option", "bytes", "sqnr_db"), min(found)[1:], strict=True)) if found else None


def _options(*triples):
    return [{"bits": bits, "group": group, "symmetric": symmetric} for bits, group, symmetric in triples]


def _gap(w, options, budget):
    """Whether the best option that fits wins by 0.05 dB, and every other ranking by as much."""
    fits = sorted(
        db for size, db in (_measure(w, o) for o in options if w.shape[1] % o["group"] == 0) if size <= budget
    )
    return len(fits) < 2 or fits[-1] - fits[-2] > 0.05


def _weights(seed, n_rows, cols, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    w = 0.03 * torch.randn(n_rows, cols, generator=generator) + shift
    w[::3, 5] = 0.5 + shift
    return w


LADDER = _options((2, 16, True), (3, 128, True), (3, 32, True), (4, 128, True), (4, 32, True), (8, 128, True))
SIDES = _options((4, 32, True), (4, 32, False), (2, 16, False), (4, 128, False))
ODD = _options((4, 64, True), (3, 96, False), (4, 50, True), (4, 32, True))


def _cases(seed):
    plain, shifted, wide = _weights(seed, 16, 128), _weights(seed + 1, 16, 128, 0.04), _weights(seed + 2, 8, 96)
    edge = _measure(shifted, SIDES[1])[0]
    best = [
        Case("a ladder of widths", plain, LADDER, _measure(plain, LADDER[4])[0] + 40),
        Case("just below the best", plain, LADDER, _measure(plain, LADDER[4])[0] - 1),
        Case("a budget met exactly", shifted, SIDES, edge),
        Case("one byte less", shifted, SIDES, edge - 1),
    ]
    sizes = [
        Case("with zero points", shifted, SIDES[1:2], 10**6),
        Case("with scales in float16", plain, LADDER[4:5], 10**6),
    ]
    ends = [
        Case("groups that do not divide", wide, ODD, 10**6),
        Case("nothing fits", plain, LADDER, 100),
        Case("only a group that does not divide would fit", wide, _options((2, 64, True), (8, 32, False)), 400),
    ]
    return best, sizes, ends


NAMES = ("the best option that fits", "bytes and decibels of what is stored", "groups that do not divide, and None")


def _numbered_anew(w, options, budget):
    return ship(w, [option for option in options if w.shape[1] % option["group"] == 0], budget)


def _best_or_nothing(w, options, budget):
    best = ship(w, options, 10**9)
    return best if best and best["bytes"] <= budget else None


WRONG = [
    Mistake(
        "scales in float32",
        lambda *a: _ship(*a, dtype=torch.float32),
        "The scales are stored in float16: pass scale_dtype=torch.float16.",
        loses=NAMES,
    ),
    Mistake(
        "codes only",
        lambda *a: _ship(*a, size=_codes_only),
        "Scales and zero points take room, too: .nbytes counts them.",
        loses=NAMES,
    ),
    Mistake(
        "zero points not counted",
        lambda *a: _ship(*a, size=_without_zero_points),
        "An asymmetric group stores a zero point as well.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the smallest",
        lambda *a: _ship(*a, key=lambda n, option, size, db: size),
        "Fitting is enough: among those that fit the least error wins.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "the first that fits",
        lambda *a: _ship(*a, key=lambda n, option, size, db: n),
        "A later option may fit and be better: look at all of them.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "the most bits",
        lambda *a: _ship(*a, key=lambda n, option, size, db: -option["bits"]),
        "More bits in larger groups can be worse than fewer bits in small ones: measure.",
        loses=NAMES[:1],
    ),
    Mistake(
        "padded",
        _padded,
        "The text says to pass over groups that do not divide the row; you padded the row.",
        loses=NAMES[2:],
    ),
    Mistake(
        "stumbles over a group that does not divide",
        lambda *a: _ship(*a, skip=False),
        "quantize raises ValueError there: skip the option, or catch it.",
        loses=NAMES[2:],
    ),
    Mistake(
        "twenty instead of ten",
        lambda *a: _ship(*a, factor=20),
        "A ratio of sums of squares wants 10·log10.",
        loses=NAMES,
    ),
    Mistake(
        "strictly below the budget",
        lambda w, options, budget: ship(w, options, budget - 1),
        "At most the budget: bytes that meet it exactly fit.",
        loses=NAMES[:1],
    ),
    Mistake(
        "numbers of a shorter list",
        _numbered_anew,
        "You numbered the options that are left; the number is the one in the list as it came.",
        loses=NAMES[2:],
    ),
    Mistake(
        "always symmetric",
        lambda w, options, budget: ship(w, [{**o, "symmetric": True} for o in options], budget),
        "You passed over the key 'symmetric': an option without it stores zero points.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the largest that fits",
        lambda *a: _ship(*a, key=lambda n, option, size, db: -size),
        "More bytes need not mean less error: among those that fit the least error wins.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the budget forgotten",
        lambda w, options, budget: ship(w, options, 10**9),
        "Only options whose bytes are at most the budget may win.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "the best, if it fits",
        _best_or_nothing,
        "Ask first what fits, then what is best among that: another one may fit where the best does not.",
        loses=NAMES[:1],
    ),
    Mistake(
        "an empty dict instead of None",
        lambda *a: ship(*a) or {},
        "Where nothing fits, return None itself.",
        loses=NAMES[2:],
    ),
]


def exercise(seed):
    drawn = (_cases(seed + 10 * i) for i in range(100))
    best, sizes, ends = next(c for c in drawn if all(_gap(*case.args) for case in c[0] + c[2]))
    near = dict(rtol=1e-4)
    return question(
        "ps03.q5",
        "What do we ship?",
        "ship(w, options, budget_bytes) is the option with the least squared error among those that fit, or None.",
        ship,
        properties=[
            agrees(NAMES[0], best, "Bytes decide who may, error decides who wins.", points=2, **near),
            agrees(NAMES[1], sizes, "Codes, scales in float16, zero points.", **near),
            agrees(NAMES[2], ends, "The text says what holds there.", **near),
        ],
        wrong=WRONG,
    )
