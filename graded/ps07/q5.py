"""ps07.q5: four bits against four bits"""

import torch

from course_lib import Scheme, quantize
from course_lib.checks import Case
from course_lib.formats import microscaling
from course_lib.grading import Mistake, agrees, question


def duel(w, x, name):
    """A block float and the integers whose file is no larger: group, bytes, output errors, rows that the float wins."""
    floats = microscaling.quantize(w, name)
    cols, group = w.shape[1], 8
    while group <= cols:
        ints = quantize(w, Scheme.int(floats.scheme.bits, group=group, scale_dtype=torch.float16))
        if ints.nbytes <= floats.nbytes:
            squares = [(x @ (q.dequantize() - w).T).square().sum(dim=0) for q in (floats, ints)]
            return {
                "group": group,
                "bytes": [floats.nbytes, ints.nbytes],
                "errors": [(s.sum() / (x @ w.T).square().sum()).item() for s in squares],
                "rows": (squares[0] < squares[1]).sum().item(),
            }
        group *= 2
        if cols % group:
            break
    return None


def _groups(cols):
    return [g for g in (2**i for i in range(3, 16)) if g <= cols and cols % g == 0]


def _sizes(w, bits, dtype):
    per = 2 if dtype == torch.float16 else 4
    return {g: w.numel() * bits // 8 + w.numel() // g * per for g in _groups(w.shape[1])}


def _duel(w, x, name, dtype=torch.float16, fits=lambda i, f: i <= f, pick=min, size=lambda q: q.nbytes, of="output",
          symmetric=True, errors=lambda squares, whole: squares / whole, rows=lambda f, i: f < i, fall_back=False,
          bits=lambda b: b, order=1):  # fmt: skip
    """The reference with one part changed."""
    floats = microscaling.quantize(w, name)
    b = bits(floats.scheme.bits)
    fitting = [g for g, n in _sizes(w, b, dtype).items() if fits(n, size(floats))]
    if not fitting and not fall_back:
        return None
    group = pick(fitting) if fitting else _groups(w.shape[1])[-1]
    ints = quantize(w, Scheme.int(b, symmetric, group, scale_dtype=dtype))
    t = x if of == "output" else torch.eye(w.shape[1])
    squares = [(t @ (q.dequantize() - w).T).square().sum(0) for q in (floats, ints)]
    told = [errors(s.sum(), (t @ w.T).square().sum()).item() for s in squares]
    return {
        "group": group,
        "bytes": [size(floats), ints.nbytes][::order],
        "errors": told[::order],
        "rows": int(rows(*squares).sum()),
    }


def _without_tensor_scale(q):
    return q.nbytes - (4 if q.tensor_scale is not None else 0)


NAMES = ("the group", "bytes", "output errors", "rows won", "None, and short rows")


def _other(w, x, name, each):
    got = duel(w, x, name)
    if got is None:
        return None
    stored = microscaling.quantize(w, name)
    whole = quantize(w, Scheme.int(stored.scheme.bits, group=got["group"], scale_dtype=torch.float16))
    a, b = (each(x @ (q.dequantize() - w).T) for q in (stored, whole))
    return got | {"rows": int((a < b).sum())}


WRONG = [
    Mistake(
        "the float's own block",
        lambda w, x, name: _duel(
            w, x, name, pick=lambda fitting: 16 if name == "nvfp4" else 32, fits=lambda i, f: True
        ),
        "A float16 scale takes two bytes, E8M0 one: with the same blocks the integers' file is larger.",
        loses=NAMES,
    ),
    Mistake(
        "scales in float32",
        lambda *a: _duel(*a, dtype=torch.float32),
        "The integers' scales are stored in float16: pass scale_dtype=torch.float16.",
        loses=NAMES,
    ),
    Mistake(
        "the largest group",
        lambda *a: _duel(*a, pick=max),
        "Small groups err less: take the smallest that is not larger on disk.",
        loses=NAMES[:4],
    ),
    Mistake(
        "a strictly smaller file",
        lambda *a: _duel(*a, fits=lambda i, f: i < f),
        "No larger: a file of exactly as many bytes will do.",
        loses=NAMES,
    ),
    Mistake(
        "always four bits",
        lambda *a: _duel(*a, bits=lambda b: 4),
        "An FP8 format is compared with 8-bit integers: as many bits as the elements of the float have.",
        loses=NAMES,
    ),
    Mistake(
        "the tensor scale is free",
        lambda *a: _duel(*a, size=_without_tensor_scale),
        "NVFP4 stores four more bytes for the whole matrix. Ask `.nbytes`.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "errors of the weights",
        lambda *a: _duel(*a, of="weights"),
        "Asked is the error of the outputs x @ w.T.",
        loses=(*NAMES[2:4], NAMES[4]),
    ),
    Mistake(
        "absolute errors",
        lambda *a: _duel(*a, errors=lambda squares, whole: squares),
        "Divide by the squares of the right outputs: else no two layers compare.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "roots of the errors",
        lambda *a: _duel(*a, errors=lambda squares, whole: (squares / whole).sqrt()),
        "The error is a quotient of two sums of squares, without a root.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "rows that the integers win",
        lambda *a: _duel(*a, rows=lambda f, i: f > i),
        "Count the outputs where the *float's* error is the smaller one.",
        loses=(NAMES[3], NAMES[4]),
    ),
    Mistake(
        "integers first",
        lambda *a: _duel(*a, order=-1),
        "The float comes first in both lists.",
        loses=(NAMES[1], NAMES[2], NAMES[4]),
    ),
    Mistake(
        "all codes, with zero points",
        lambda *a: _duel(*a, symmetric=False),
        "Symmetric integers: a zero point for each group makes the file larger.",
        loses=NAMES[1:],
    ),
    Mistake(
        "never None",
        lambda *a: _duel(*a, fall_back=True),
        "Where even one scale a row takes more bytes than the float, nothing is to be compared: return None.",
        loses=NAMES[4:],
    ),
    Mistake(
        "rows of x counted",
        lambda w, x, name: _other(w, x, name, lambda off: off.square().sum(1)),
        "Outputs are the rows of w: sum over the tokens, and count outputs.",
        loses=NAMES[3:],
    ),
    Mistake(
        "integers before the float",
        lambda *a: duel(*a) and duel(*a) | {"errors": duel(*a)["errors"][::-1]},
        "The float's error comes first, then the integers'.",
        loses=(NAMES[2], NAMES[4]),
    ),
]


def _layer(seed, rows, cols, tokens, tail):
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, cols, generator=generator)
    w[::2] *= torch.exp(tail * torch.randn(len(w[::2]), cols, generator=generator))  # long tails
    gain = torch.exp(0.7 * torch.randn(cols, generator=generator))
    return w, torch.randn(tokens, cols, generator=generator) * gain


def _clear(w, x, name):
    """Whether no row is won by less than 3 %, both sides win some, and in 9 rows the weights' errors count others."""
    floats = microscaling.quantize(w, name)
    group = duel(w, x, name)["group"]
    ints = quantize(w, Scheme.int(floats.scheme.bits, group=group, scale_dtype=torch.float16))
    f, i = ((x @ (q.dequantize() - w).T).square().sum(0) for q in (floats, ints))
    won = (f < i).sum().item()
    apart = len(w) < 9 or _duel(w, x, name, of="weights")["rows"] != won
    return bool(((f / i).log().abs() > 0.03).all()) and 0 < won < len(w) and 2 * won != len(w) and apart


def _case(seed, label, rows, cols, name):
    drawn = (_layer(seed + 1000 * i, rows, cols, 24, 0.6 + 0.4 * (i % 8)) for i in range(400))
    return Case(label, *next(layer for layer in drawn if _clear(*layer, name)), name)


def exercise(seed):
    cases = [
        _case(seed, "MXFP4", 9, 128, "mxfp4"),
        _case(seed + 1, "NVFP4", 7, 128, "nvfp4"),
        _case(seed + 2, "MXFP8", 7, 256, "mxfp8_e4m3"),
        _case(seed + 3, "MXFP6", 5, 192, "mxfp6_e2m3"),
    ]
    ends = [
        Case("rows of 32, MXFP4: nothing fits", *_layer(seed + 4, 4, 32, 8, 0.5), "mxfp4"),
        Case("rows of 96, MXFP8: nothing fits", *_layer(seed + 6, 3, 96, 8, 0.5), "mxfp8_e4m3"),
        _case(seed + 5, "one group a row, met exactly", 5, 64, "mxfp4"),
    ]
    near = dict(rtol=1e-3, atol=1e-7)
    return question(
        "ps07.q5",
        "Four bits against four bits",
        "duel(w, x, name): a block float and the integers of at most its size: group, bytes, output errors, rows won.",
        duel,
        properties=[
            agrees(NAMES[0], cases, "The smallest group whose file is no larger.", part="group"),
            agrees(NAMES[1], cases, "Codes and all scales, the tensor scale, too.", points=0.5, part="bytes"),
            agrees(NAMES[2], cases, "Squares of the error over squares of the outputs.", part="errors", **near),
            agrees(NAMES[3], cases, "Where the float errs less.", points=0.5, part="rows"),
            agrees(NAMES[4], ends, "None where no group fits; one group a row may.", **near),
        ],
        wrong=WRONG,
    )
