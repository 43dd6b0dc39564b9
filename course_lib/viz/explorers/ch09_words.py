"""Chapter 09's blocks in words: what the bits of a byte are, and how a weight comes out of them.

`b` is a `ch09_blocks.Byte`, `p` one of its pieces.
"""

from course_lib.formats.ggml import anatomy, iq4, mxfp4
from course_lib.viz.axis import number

GROUP = {"Q6_K": 16}  # weights to a scale; 32 in the others


def _which(p):
    """The bits of a piece, in words."""
    if p.width == 2:
        return f"Bits {p.low} and {p.low + 1}"
    return {8: "All of it", 6: "The low six bits", 4: "The high four" if p.low else "The low four bits"}[p.width]


def _wide(kind, role):
    """How many bits a number has in all."""
    if role in ("scale", "minimum"):
        return 8 if kind == "Q6_K" else 6
    return {"d": 16, "dmin": 16, "e": 8}.get(role) or {"Q8_0": 8, "Q6_K": 6}.get(kind, 4)


def told(b, p):
    """One sentence about a piece."""
    v, verb = b.numbers[p.role, p.index], "is" if p.width == 8 else "are"
    part = "" if p.width == _wide(b.kind, p.role) else "the top two bits of " if p.shift else "the lower four bits of "
    if p.role == "code":
        means = _short(b.weights[p.index])
        return f"{_which(p)} {verb} {part}the code of weight {p.index}: {_signed(v)}, which means {means}."
    if p.role == "e":
        return f"It says that all 32 weights share the scale {_power(v)}."
    if p.role in ("d", "dmin"):
        half = "low" if p.shift == 0 else "high"
        return f"It is the {half} half of {p.role} = {number(v, 4)}, which all {len(b.weights)} weights share."
    shared = f"shared by weights {p.weights[0]} to {p.weights[-1]}"
    return f"{_which(p)} {verb} {part}{p.role} {p.index}, {_signed(v)}, {shared}."


def _power(e):
    return f"2^{_signed(e - 127)}"


def _short(value):
    return number(float(value), 3)


def arithmetic(b, j):
    """How weight j comes out of the block's numbers, as text.

    >>> from course_lib.viz.explorers.ch09_blocks import Blocks
    >>> b = Blocks().numbers("Q4_0", 2)
    >>> arithmetic(b, 0).split(" · ")[1]
    '(11 − 8)'
    """
    n = b.numbers
    q, sub = n["code", j], j // GROUP.get(b.kind, 32)
    d = number(n["d", 0], 4) if ("d", 0) in n else ""
    if b.kind == "Q4_0":
        return f"{d} · ({q} − 8)"
    if b.kind == "Q8_0":
        return f"{d} · {_signed(q)}"
    if b.kind == "IQ4_NL":
        return f"{d} · {_signed(int(iq4.LEVELS[q]))}, level {q}"
    if b.kind == "MXFP4":
        return f"{_power(n['e', 0])} · {number(float(mxfp4.LEVELS[q]) / 2)}"
    if b.kind == "Q6_K":
        return f"{d} · {_signed(n['scale', sub])} · ({q} − 32)"
    return f"{d} · {n['scale', sub]} · {q} − {number(n['dmin', 0], 4)} · {n['minimum', sub]}"


def _signed(value):
    return str(value).replace("-", "−")


def held(b, at):
    """What a byte holds, from its top bits down: the words for the mouse that rests on it."""
    said = ((label(p), b.numbers[p.role, p.index]) for p in reversed(anatomy.pieces(b.kind, at)))
    return "; ".join(f"{what} {number(v, 4) if isinstance(v, float) else _signed(v)}" for what, v in said)


def label(p):
    short = {"code": "w", "scale": "sc", "minimum": "m"}.get(p.role)
    return f"{short}[{p.index}]" if short else p.role


def lines(b):
    """Up to four lines: the arithmetic of the weights whose codes these are, or what a scale is used for."""
    out = []
    for p in b.pieces:
        if p.role == "code":
            out.append(f"w[{p.index}] = {arithmetic(b, p.index)} = {_short(b.weights[p.index])}")
            continue
        v, where = b.numbers[p.role, p.index], f"weights {p.weights[0]} to {p.weights[-1]}"
        if p.role == "scale":
            step = _short(b.numbers["d", 0] * v)
            out.append(f"{label(p)} = {_signed(v)}: {where} have the step d · {_signed(v)} = {step}")
        elif p.role == "minimum":
            out.append(f"{label(p)} = {v}: from {where} dmin · {v} = {_short(b.numbers['dmin', 0] * v)} is taken off")
        else:
            meaning = f"{v}, which stands for {_power(v)}" if p.role == "e" else number(v, 4)
            out += [f"{p.role} = {meaning}", f"for example w[0] = {arithmetic(b, 0)} = {_short(b.weights[0])}"]
    return out
