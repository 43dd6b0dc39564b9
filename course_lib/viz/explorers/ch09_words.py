"""Chapter 09's blocks in words: what the bits of a byte are, and how a weight comes out of them.

`b` is a `ch09_blocks.Byte`, `p` one of its pieces.
"""

import re

from course_lib.formats import ggml
from course_lib.formats.ggml import anatomy, codebook
from course_lib.formats.ggml.layouts import LAYOUTS, ROLES
from course_lib.viz.axis import number

SHORT = {"code": "w", "scale": "sc", "minimum": "m", "sign": "±"}
INDEXED = ("signs", "row", "move", "digits")
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
STEP = re.compile(r"(.*?) · \(?\{(?:code|level)\}")  # of a formula, what a code is multiplied with
SHARED = ("scale", "minimum", "d", "dmin", "m", "e")  # what more than eight weights share
NAMES = {  # one number of a role, and several
    "code": ("the code of weight", "the codes of weights"), "scale": ("scale", "scales"),
    "minimum": ("minimum", "minima"), "row": ("row number", "row numbers"),
    "sign": ("the sign of weight", "the signs of weights"),
}  # fmt: skip
LEGEND = {
    "code": "codes", "row": "rows of the codebook", "digits": "codes in base 3", "scale": "scales", "minimum": "minima",
    "sign": "signs", "signs": "signs", "move": "signs of 1/8", "d": "d", "e": "e", "m": "m", "dmin": "dmin",
}  # fmt: skip


def place_of(kind, at):
    """Where a byte lies in ggml's record: "qs[3]", "d", or "the high byte of qs[1]" in a field of 16-bit words."""
    field, place = anatomy.field_of(kind, at)
    dtype = ggml.block_type(kind).dtype[field]
    wide = dtype.base.itemsize
    if not dtype.shape:
        return field
    half = ("" if wide == 1 else "the low byte of ") if place % wide == 0 else "the high byte of "
    return f"{half}{field}[{place // wide}]"


def meaning(kind, field):
    """What ggml's field holds, in words: "qs: the row of the codebook …; seven signs …"."""
    return f"{field}: " + "; ".join(dict.fromkeys(ROLES[run.role] for run in LAYOUTS[kind] if run.field == field))


def _wide(kind, role):
    """How many bits a number has in all."""
    return max(run.shift + run.width for run in LAYOUTS[kind] if run.role == role)


def _which(p):
    """The bits of a piece, in words."""
    if p.width == 8:
        return "All of it"
    if p.width < 3:
        return f"Bit {p.low}" if p.width == 1 else f"Bits {p.low} and {p.low + 1}"
    return f"The {'high' if p.low else 'low'} {WORDS[p.width]} bits" if p.low in (0, 8 - p.width) else (
        f"Bits {p.low} to {p.low + p.width - 1}")  # fmt: skip


def _part(b, p):
    """ "the top two bits of ", where the piece is not the whole number."""
    wide = _wide(b.kind, p.role)
    if p.width == wide:
        return ""
    end = "lower" if p.shift == 0 else "top" if p.shift + p.width == wide else "middle"
    return f"the {end} {WORDS[p.width]} bits of " if p.width > 1 else f"the {end} bit of "


def told(b, p):
    """One sentence about a piece."""
    v, verb = b.numbers[p.role, p.index], "is" if p.width in (1, 8) else "are"
    start, where = f"{_which(p)} {verb} {_part(b, p)}", _where(p)
    if p.role == "e":
        return f"It says that all 32 weights share the scale {_power(v)}."
    if p.role in ("d", "dmin", "m"):
        start = start if p.width < 8 else f"It is the {'high' if p.shift else 'low'} half of "
        return f"{start}{p.role} = {number(v, 4)}, which all {len(b.weights)} weights share."
    if p.role == "code":
        means = _short(b.weights[p.index])
        return f"{start}the code of weight {p.index}: {_signed(v)}, which means {means}."
    if p.role == "row":
        return f"{start}row number {p.index}: row {v} of the codebook, {_shown(b, p)}, for {where}."
    if p.role == "signs":
        return f"{start}the signs of {where}: {_shown(b, p)}; the eighth follows from the other seven."
    if p.role == "move":
        return f"{_which(p)} says that {where} are all moved by {_shown(b, p)}."
    if p.role == "digits":
        return f"{start}the codes of {where}, as one number of base 3: {_shown(b, p)}."
    means = f", which stands for {_shown(b, p)}" if b.kind == "NVFP4" else ""
    return f"{start}{NAMES[p.role][0]} {p.index}, {_signed(v)}{means}, shared by {where}."


def _where(p):
    """The weights of a piece, in words."""
    if p.weights.step > 1:
        return f"weights {', '.join(map(str, p.weights))}"
    return f"weights {p.weights[0]} to {p.weights[-1]}"


def _shown(b, p):
    """What the number of a piece stands for, short: "25 8 8 43 …", "+ − − …", "0.375", "−12"."""
    v = b.numbers[p.role, p.index]
    if p.role == "row":
        return " ".join(map(_signed, codebook.grid(anatomy.GRIDS[b.kind])[v].astype(int).tolist()))
    if p.role in ("sign", "move"):
        return _sign(v) + ("1/8" if p.role == "move" else "")
    if p.role == "signs":
        return " ".join(_sign(s < 0) for s in codebook.SIGNS[v])
    if p.role == "digits":
        return " ".join(str(anatomy.terms(b.kind, b.numbers, j)["code"]) for j in p.weights)
    if p.role == "scale" and b.kind == "NVFP4":
        return _short(anatomy.step(b.kind, b.numbers, p.index))
    return number(v, 4) if isinstance(v, float) else _signed(v)


def said(b):
    """The sentences about a byte; more than four pieces are told in one."""
    first = b.pieces[0]
    if len(b.pieces) < 5:
        return [told(b, p) for p in b.pieces]
    which = f"{NAMES[first.role][1]} {', '.join(str(p.index) for p in b.pieces)}"
    if part := _part(b, first):
        return [f"From bit 0 up, its bits are {part.replace('bit', 'bits')}{which}."]
    values = [b.numbers[p.role, p.index] for p in b.pieces]
    shown = map(_sign, values) if first.role == "sign" else map(str, values)
    return [f"From bit 0 up, its bits are {which}: {' '.join(shown)}."]


def _power(e):
    return f"2^{_signed(e - 127)}"


def _short(value):
    return number(float(value), 3)


def _signed(value):
    return str(value).replace("-", "−")


def _sign(negative):
    return "−" if negative else "+"


def arithmetic(b, j):
    """How weight j comes out of the block's numbers, as text.

    >>> from course_lib.viz.explorers.ch09_blocks import Blocks
    >>> b = Blocks().numbers("Q4_0", 2)
    >>> arithmetic(b, 0).split(" · ")[1]
    '(11 − 8)'
    """
    found = anatomy.terms(b.kind, b.numbers, j)
    digits = {"d": 4, "dmin": 4, "m": 4}
    shown = {k: number(v, digits.get(k, 3)) if isinstance(v, float) else _signed(v) for k, v in found.items()}
    text = anatomy.FORMULAS[b.kind].format(**shown).replace("+ −", "− ")
    return f"{text}, level {found['code']}" if b.kind in ("IQ4_NL", "IQ4_XS") else text


def held(b, at):
    """What a byte holds, from its top bits down: the words for the mouse that rests on it."""
    return "; ".join(f"{label(p)} {_shown(b, p)}" for p in reversed(anatomy.pieces(b.kind, at)))


def label(p):
    """The name of a number under its bits: "w[20]", "sc[4]", "row[3]", "d"; short under a single bit."""
    short = SHORT.get(p.role, p.role)
    if p.role not in SHORT and p.role not in INDEXED:
        return short
    return f"{short}{p.index}" if p.width == 1 else f"{short}[{p.index}]"


def lines(b):
    """Up to nine lines: the arithmetic of the weights that these bits stand for, or what a scale is used for."""
    own = {j: None for p in b.pieces if p.role not in SHARED for j in p.weights}
    out = [f"w[{j}] = {arithmetic(b, j)} = {_short(b.weights[j])}" for j in own] if len(own) < 9 else []
    return out + [line for p in b.pieces if p.role in SHARED or not out for line in _shared(b, p)]


def _shared(b, p):
    """The lines about a number that several weights share."""
    v, where = b.numbers[p.role, p.index], _where(p)
    if p.role == "scale":
        return [f"{label(p)} = {_signed(v)}: {where} have the step {rule(b, p.index)}"]
    if p.role == "minimum":
        return [f"{label(p)} = {v}: from {where} dmin · {v} = {_short(b.numbers['dmin', 0] * v)} is taken off"]
    if p.role in SHARED:
        meaning = f"{v}, which stands for {_power(v)}" if p.role == "e" else number(v, 4)
        return [f"{p.role} = {meaning}", f"for example w[0] = {arithmetic(b, 0)} = {_short(b.weights[0])}"]
    which = f" = {v}" if p.role == "row" else ""
    return [f"{label(p)}{which}, {where}: {_shown(b, p)}"]


def rule(b, index):
    """How the step of sub-block `index` comes out of d and its scale, as text: "d · (0.5 + 7) / 4 = 0.0121"."""
    head = STEP.match(anatomy.FORMULAS[b.kind])[1]
    v, worth = _signed(b.numbers["scale", index]), _short(anatomy.step(b.kind, b.numbers, index))
    return worth if b.kind == "NVFP4" else f"{head.format(d='d', scale=v)} = {worth}"
