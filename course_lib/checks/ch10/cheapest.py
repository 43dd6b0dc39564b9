"""ch10.cheapest: the elements and the block size of fewest stored bits that stay within a budget of error."""

import torch

from course_lib.checks import Case, Exercise, Property, Wrong, equals_reference
from course_lib.qtensor import quantize
from course_lib.scheme import Scheme


def cheapest(x, formats, budget):
    good = []
    for element, block in formats:
        q = quantize(x, Scheme(element, (1, block), scale_dtype=torch.float8_e8m0fnu))
        error = ((q.dequantize() - x).square().sum() / x.square().sum()).item()
        if error <= budget:
            good.append((q.bits_per_weight, error, (element, block)))
    return min(good)[2] if good else None


def _figures(x, name):
    """(QTensor, relative squared error, difference) of x in elements of name[0], name[1] of them under a scale."""
    q = quantize(x, Scheme(name[0], (1, name[1]), scale_dtype=torch.float8_e8m0fnu))
    off = q.dequantize() - x
    return q, (off.square().sum() / x.square().sum()).item(), off


def _choose(rank, fits=lambda q, error, off, x, budget: error <= budget, empty=lambda ranked: None):
    """The format of least rank(q, error, place) among those that fit."""

    def answer(x, formats, budget):
        found = [(*_figures(x, name), name) for name in formats]
        fit = [(k, *f) for k, f in enumerate(found) if fits(*f[:3], x, budget)]
        good = [(rank(q, error, k), name) for k, q, error, _, name in fit]
        return min(good)[1] if good else empty(sorted((error, name) for _, error, _, name in found))

    return answer


def _scales_of_32(x, formats, budget):
    good = []
    for element, block in formats:
        q = quantize(x, Scheme(element, (1, block)))
        error = ((q.dequantize() - x).square().sum() / x.square().sum()).item()
        if error <= budget:
            good.append((q.bits_per_weight, error, (element, block)))
    return min(good)[2] if good else None


def _bits(q, error, place):
    return q.bits_per_weight, error


def _named(name):
    return f"{name[0]} in blocks of {name[1]}"


def _choice(name, fn, why):
    """A law about a pair of the list or None, whichever of the two was expected."""

    def test(run):
        for case in run.cases:
            got = run.outcome(case).value
            listed = [pair for pair in case.args[1] if isinstance(got, (tuple, list)) and tuple(got) == pair]
            if got is None or listed:  # the pair as it is listed: 16.0 in the place of 16 is no size of a block
                said = fn(listed[0] if listed else None, *case.args)
            else:
                said = f"{run.case(case)!r} is none of {', '.join(map(repr, case.args[1]))}."
            if said is not True:
                run.fail(case, said, got=got, has_answer=True)

    return Property(name, test, why)


def _within(got, x, formats, budget):
    if got is None:
        return True
    error = _figures(x, got)[1]
    return error <= budget or f"{_named(got)} errs by {error:.3g} of Σx², and {budget:.3g} are allowed."


def _none_is_smaller(got, x, formats, budget):
    for name in formats:
        q, error, _ = _figures(x, name)
        if error > budget:
            continue
        if got is None:
            return f"You found none; {_named(name)} errs by {error:.3g}, and {budget:.3g} are allowed."
        mine = _figures(x, got)[0].bits_per_weight
        if q.bits_per_weight < mine:
            bits = f"{_named(got)} stores {mine:.4g} bits a number"
            return f"{bits}; {_named(name)} needs {q.bits_per_weight:.4g} and is good enough."
    return True


FP4 = [("e2m1", 16), ("e2m1", 8), ("e2m1", 4)]
ALL = [*FP4[1:], ("e2m3", 16), ("e3m2", 16)]


def _x(seed, scale=1.0, power=1, rows=1, cols=16):
    x = torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))
    return scale * x.sign() * x.abs() ** power


EXERCISE = Exercise(
    id="ch10.cheapest",
    title="As few bits as will do",
    spec="cheapest(x, formats, budget): of those with Σ(x̂ − x)² ≤ budget · Σx² the one of fewest stored bits, or None.",
    kind="design",
    stub='''
import torch

from course_lib import Scheme, quantize  # quantize(x, scheme): .dequantize(), .bits_per_weight


def cheapest(x, formats, budget):
    """The pair (element, block) of fewest stored bits that is good enough; of equals, the one that errs less."""
    scheme = Scheme("e2m1", (1, 16), scale_dtype=torch.float8_e8m0fnu)  # an example: the pair ("e2m1", 16)
    ...
''',
    reference=cheapest,
    cases=[
        Case("two to choose from", _x(0), [("e4m3fn", 16), ("e2m1", 16)], 0.02),
        Case("only the larger is good enough", _x(0), [("e2m1", 16), ("e4m3fn", 16)], 0.002),
        Case("a budget that all keep", _x(1), [("e2m3", 16), ("e2m1", 16)], 0.2),
        Case("none is good enough", _x(1), FP4, 1e-4),
        Case("large blocks, small blocks", _x(0), [("e2m1", 4), ("e2m1", 16)], 0.02),
        Case("more bits that err more", _x(1), [("e5m2", 16), ("e2m3", 16)], 0.01),
        Case("heavy tails, small numbers", _x(6, 0.03, 3), ALL, 0.004),
        Case("heavy tails, large numbers", _x(3, 50.0, 3), ALL, 0.0036),
        Case("two of the same size", _x(5), [("e3m2", 16), ("e2m3", 16)], 0.02),
        Case("six bits", _x(11, 1.0, 3), ALL, 0.0004),
        Case("small numbers", _x(7, 0.01), ALL, 0.012),
        Case("four numbers share a cheap scale", _x(5), [("e2m3", 16), ("e2m1", 4)], 0.02),
        Case("a generous budget", _x(10), [("e2m3", 16), ("e2m1", 16)], 0.125),
        Case("a matrix", _x(8, 1e-3, 1, 4, 32), FP4, 0.02),
    ],
    properties=[
        _choice("within the budget", _within, "Relative: the squared error over the sum of squares."),
        _choice("no smaller one would do", _none_is_smaller, "Stored bits count scales as well: q.bits_per_weight."),
        equals_reference(why="Of equal sizes, the one that errs less."),
    ],
    wrong=[
        Wrong(
            "the most exact one",
            _choose(lambda q, error, k: error),
            "You took the least error. Asked are the fewest bits among those that are good enough.",
        ),
        Wrong(
            "the bits of the codes",
            _choose(lambda q, error, k: (q.scheme.bits, error)),
            "A scale costs 8 bits: 4-bit codes store 4.5 in blocks of 16, 6 in blocks of 4. Take q.bits_per_weight.",
        ),
        Wrong(
            "the first that is good enough",
            _choose(lambda q, error, k: k),
            "You stopped at the first good one. Another in the list may be smaller.",
        ),
        Wrong(
            "the largest",
            _choose(lambda q, error, k: (-q.bits_per_weight, error)),
            "You took the most bits.",
        ),
        Wrong(
            "max in place of min",
            _choose(lambda q, error, k: (-q.bits_per_weight, -error)),
            "You took the most bits, and of equals the one that errs more: that is max where min belongs.",
        ),
        Wrong(
            "the smallest of all",
            _choose(_bits, fits=lambda *_: True),
            "The budget was not asked. A format that errs too much is out, however small.",
        ),
        Wrong(
            "an error that is not relative",
            _choose(_bits, fits=lambda q, error, off, x, budget: off.square().mean().item() <= budget),
            "You compared the mean squared error itself. Large numbers then never fit, small ones always do: divide "
            "by Σx².",
        ),
        Wrong(
            "the sum of squares itself",
            _choose(_bits, fits=lambda q, error, off, x, budget: off.square().sum().item() <= budget),
            "You compared Σ(x̂ − x)² itself. The budget is a share of Σx²: multiply it by that, or divide.",
        ),
        Wrong(
            "the root",
            _choose(_bits, fits=lambda q, error, off, x, budget: error**0.5 <= budget),
            "Your error is the root of the relative squared error, or Σ|x̂ − x| / Σ|x|, which is as large. The "
            "budget is for squares: Σ(x̂ − x)² / Σx².",
        ),
        Wrong(
            "the largest error",
            _choose(_bits, fits=lambda q, error, off, x, budget: (off.abs().max() / x.abs().max()).item() <= budget),
            "You compared the largest single error. The budget is for the sum over all: Σ(x̂ − x)² / Σx².",
        ),
        Wrong(
            "scales of 32 bits",
            _scales_of_32,
            "Your scales have 32 bits, the default. The example shows the byte that is meant: scale_dtype.",
        ),
        Wrong(
            "errors that cancel",
            _choose(_bits, fits=lambda q, error, off, x, budget: (off.sum().abs() / x.square().sum()).item() <= budget),
            "Errors of both signs cancel in a sum. Square each before you add.",
        ),
        Wrong(
            "the best if none is good enough",
            _choose(_bits, empty=lambda ranked: ranked[0][1]),
            "Where no format is good enough the answer is None, so that somebody notices.",
        ),
        Wrong(
            "of equals the first",
            _choose(lambda q, error, place: (q.bits_per_weight, place)),
            "Two of them take equally many bits, and you keep the first of these. Take the one that errs less.",
        ),
        Wrong(
            "the example's scheme for every pair",
            lambda x, formats, budget: formats[0] if _figures(x, ("e2m1", 16))[1] <= budget else None,
            'Scheme("e2m1", (1, 16), …) is an example: put element and block of the pair in its place.',
        ),
        Wrong(
            "of equals the worse one",
            _choose(lambda q, error, k: (q.bits_per_weight, -error)),
            "Two formats of the same size are good enough, and you took the one that errs more.",
        ),
    ],
    hints=[
        "Try each pair; keep those within the budget; of these take the smallest (bits, error).",
        "Two formats, 4.5 bits with error 0.013, 8.5 with 0.001: a budget of 0.02 takes the first, 0.005 the second.",
        "    good = []\n    for element, block in formats:\n"
        "        q = quantize(x, Scheme(____, (1, ____), scale_dtype=torch.float8_e8m0fnu))\n"
        "        error = (____ / ____).item()\n        if ____:\n"
        "            good.append((____, error, (element, block)))\n    return min(good)[2] if good else None",
    ],
    passed="A deployment decision in eight lines. Chapter 13 replaces the squared error by what users feel.",
)
