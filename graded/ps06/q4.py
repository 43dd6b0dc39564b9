"""ps06.q4: six bits, the other way"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def scale_head(scales, mins):
    """The head of Q4_K blocks from the scales and minima >= 0 of their sub-blocks, both float32 (n, 8)."""
    halves, six = [], []
    for v in (scales, mins):
        top = v.amax(dim=1, keepdim=True)
        codes = torch.where(top > 0, (v * 63 / top.clamp(min=1e-30)).round(), 0)
        six.append(codes.clamp(max=63).to(torch.uint8))
        halves.append((top / 63).half())
    sc, m = six
    first, second = (t[:, :4] | (t[:, 4:] >> 4) << 6 for t in six)
    third = (sc[:, 4:] & 15) | (m[:, 4:] & 15) << 4
    d = torch.cat(halves, dim=1)
    return {
        "d": d,
        "six": torch.cat(six, dim=1),
        "bytes": torch.cat([d.view(torch.uint8), first, second, third], dim=1),
    }


def _nearest(v, top):
    return torch.where(top > 0, v * 63 / top.clamp(min=1e-30), 0).round()


def _own(scales, mins):
    return [v.amax(dim=1, keepdim=True) for v in (scales, mins)]


def _by_stored(v, top):
    """Codes that fit the float16 d."""
    d = (top / 63).half().float()
    return torch.where(d > 0, v / d.clamp(min=1e-30), 0).round()


def _both(scales, mins):
    return [torch.maximum(*_own(scales, mins))] * 2


def _fill(sc, m):
    """The twelve bytes, in three groups of four."""
    return [*(t[:, :4] | ((t[:, 4:] >> 4) << 6) for t in (sc, m)), (sc[:, 4:] & 15) | ((m[:, 4:] & 15) << 4)]


def _turned(sc, m):
    first, second, _ = _fill(sc, m)
    return [first, second, (m[:, 4:] & 15) | ((sc[:, 4:] & 15) << 4)]


def _low_bits_up(sc, m):
    return [*(t[:, :4] | ((t[:, 4:] & 3) << 6) for t in (sc, m)), (sc[:, 4:] >> 2) | ((m[:, 4:] >> 2) << 4)]


def _clipped(sc, m):
    return [sc[:, :4], m[:, :4], (sc[:, 4:] & 15) | ((m[:, 4:] & 15) << 4)]


def _from_below(sc, m):
    return [*((t[:, :4] << 2) | (t[:, 4:] >> 4) for t in (sc, m)), _fill(sc, m)[2]]


def _crossed(sc, m):
    return [sc[:, :4] | ((m[:, 4:] >> 4) << 6), m[:, :4] | ((sc[:, 4:] >> 4) << 6), _fill(sc, m)[2]]


def _pairs(sc, m):
    """Scale, minimum, scale, minimum … instead of four of each."""
    first, second, third = _fill(sc, m)
    return [torch.stack([first, second], dim=2).flatten(1), third]


def _head(scales, mins, tops=_own, whole=_nearest, fill=_fill, by=63, front=True):
    """The reference with one part changed."""
    sc, m = (whole(v, t).clamp(0, 63).to(torch.uint8) for v, t in zip((scales, mins), tops(scales, mins), strict=True))
    d = (torch.cat(tops(scales, mins), dim=1) / by).half()
    parts = [d.view(torch.uint8), *fill(sc, m)]
    return {
        "d": d,
        "six": torch.cat([sc, m], dim=1),
        "bytes": torch.cat(parts if front else [*parts[1:], parts[0]], dim=1),
    }


NAMES = ("d and dmin", "the six-bit numbers", "bytes of numbers below 16", "bytes of all numbers")


def _dmin_first(head):
    d = head["d"].flip(1)
    return head | {"d": d, "bytes": torch.cat([d.contiguous().view(torch.uint8), head["bytes"][:, 4:]], dim=1)}


def _one_guard(scales, mins):
    """All codes 0 as soon as one block has nothing but zeros."""
    right = scale_head(scales, mins)
    found = scale_head(*(v if (v.amax(dim=1) > 0).all() else 0 * v for v in (scales, mins)))
    return {**found, "d": right["d"], "bytes": torch.cat([right["bytes"][:, :4], found["bytes"][:, 4:]], dim=1)}


WRONG = [
    Mistake(
        "divided by 64",
        lambda *a: _head(*a, by=64),
        "Six bits count to 63: the largest scale becomes 63, so d = largest / 63.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "divided by the stored d",
        lambda *a: _head(*a, whole=_by_stored),
        "The codes are made with the largest number itself; of d the file keeps what float16 leaves.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "one largest number for both",
        lambda *a: _head(*a, tops=_both),
        "Scales and minima each have a largest of their own: d is of the first, dmin of the second.",
        loses=NAMES,
    ),
    Mistake(
        "rounded down",
        lambda *a: _head(*a, whole=lambda v, top: (v * 63 / top.clamp(min=1e-30)).floor()),
        "Round to the nearest of the 64 numbers.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the top two bits lost",
        lambda *a: _head(*a, fill=_clipped),
        "Sub-blocks 4 … 7 keep four bits in the last bytes; their upper two go into bits 6 and 7 of the first eight.",
        loses=NAMES[3:],
    ),
    Mistake(
        "low bits above",
        lambda *a: _head(*a, fill=_low_bits_up),
        "The nibble in the last four bytes is the *lower* one; the two bits above it travel.",
        loses=NAMES[2:],
    ),
    Mistake(
        "two bits below",
        lambda *a: _head(*a, fill=_from_below),
        "The travelling bits lie above: bits 6 and 7. Scales 0 … 3 stay in the lower six.",
        loses=NAMES[2:],
    ),
    Mistake(
        "scale and minimum exchanged in a byte",
        lambda *a: _head(*a, fill=_turned),
        "In the last four bytes the low nibble is the scale's, the high one the minimum's.",
        loses=NAMES[2:],
    ),
    Mistake(
        "top bits with the wrong partner",
        lambda *a: _head(*a, fill=_crossed),
        "The top bits of scale 4 travel with scale 0, those of minimum 4 with minimum 0.",
        loses=NAMES[3:],
    ),
    Mistake(
        "scale and minimum side by side",
        lambda *a: _head(*a, fill=_pairs),
        "First four bytes of scales, then four bytes of minima.",
        loses=NAMES[2:],
    ),
    Mistake(
        "d at the end",
        lambda *a: _head(*a, front=False),
        "A Q4_K block begins with d and dmin; Q2_K is the one that ends with them.",
        loses=NAMES[2:],
    ),
    Mistake(
        "dmin before d",
        lambda s, m: _dmin_first(scale_head(s, m)),
        "d is the scales', dmin the minima's, and d comes first.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "one largest number for all blocks",
        lambda *a: _head(*a, tops=lambda s, m: [t.max().expand(len(t), 1) for t in (s, m)]),
        "Each block has a largest scale and a largest minimum of its own: amax along the second axis.",
        loses=NAMES,
    ),
    Mistake(
        "minima before scales",
        lambda s, m: scale_head(s, m) | {"six": scale_head(s, m)["six"].roll(8, 1)},
        "Of the sixteen numbers the eight scales come first, then the eight minima.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "one guard for all blocks",
        _one_guard,
        "A block of zeros says nothing about the one beside it: guard each by itself, not with .all().",
        loses=(NAMES[1], NAMES[3]),
    ),
]


def exercise(seed):
    def drawn(offset, n, low, high, tops=(0.02, 0.3)):
        """Scales and minima whose six-bit numbers lie in low … high behind sub-block 3, in 0 … 15 or 63 before it."""
        generator = torch.Generator().manual_seed(seed + offset)
        result = []
        for top in tops:
            codes = torch.randint(low, high + 1, (n, 8), generator=generator).float()
            codes[:, 0], codes[:, 1] = 63, 5
            codes += 0.8 * torch.rand(n, 8, generator=generator) - 0.4
            codes[:, 0] = 63
            result.append(codes.clamp(min=0) * (top / 63 * (0.5 + torch.rand(n, 1, generator=generator))))
        return result

    def case(name, *args, **kwargs):
        return Case(name, *drawn(*args, **kwargs))

    small = [case("one block", 0, 1, 1, 15), case("three blocks", 1, 3, 0, 15)]
    whole = torch.tensor([[63.0, 5, 62, 40, 58, 31, 47, 61]])
    large = [
        case("a block", 2, 1, 16, 63),
        case("four blocks", 3, 4, 0, 63),
        case("large minima", 4, 2, 0, 63, tops=(0.001, 5.0)),
        Case("scales whose d is a coarse float16", whole * 1.53e-6, whole.flip(1) * 0.01),
    ]
    positive, (zeros, none) = drawn(5, 2, 0, 63), drawn(6, 1, 0, 63)
    ends = [
        Case("weights that are all positive: no minima", positive[0], torch.zeros(2, 8)),
        Case("a block of zeros", torch.zeros_like(zeros), torch.zeros_like(none)),
        Case("zeros beside others", *(torch.cat([0 * zeros, v, 0 * none]) for v in positive)),
    ]
    return question(
        "ps06.q4",
        "Six bits, the other way",
        "scale_head(scales, mins): d and dmin, sixteen six-bit numbers, and the 16 bytes that hold them.",
        scale_head,
        properties=[
            agrees(NAMES[0], small + large, "The largest over 63, as float16.", part="d", rtol=2e-3),
            agrees(NAMES[1], small + large + ends, "round(63 · v / largest), 0 where all are 0.", part="six"),
            agrees(NAMES[2], small, "d, dmin, scales, minima, nibbles.", part="bytes"),
            agrees(NAMES[3], large + ends, "Two bits of each of the last sub-blocks travel.", part="bytes"),
        ],
        wrong=WRONG,
    )
