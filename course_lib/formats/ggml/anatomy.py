"""What each bit of a ggml block holds: the number that it is part of, and the weights that hang on it.

`layouts.LAYOUTS` says where the numbers lie, `FORMULAS` how a weight comes out of them.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from course_lib.formats import ggml
from course_lib.formats.ggml import codebook, iq4, mxfp4, nvfp4
from course_lib.formats.ggml.layouts import LAYOUTS

DESCRIBED = tuple(name for name in ggml.TYPES if name in LAYOUTS)
_K, _IQ2 = "{d} · {scale} · {code} − {dmin} · {minimum}", "{d} · (0.5 + {scale}) / 4 · {level}"
_IQ1 = "{d} · (2 · {scale} + 1) · ({level} {move} 0.125)"
FORMULAS = {
    "Q4_0": "{d} · ({code} − 8)", "Q4_1": "{d} · {code} + {m}", "Q8_0": "{d} · {code}",
    "Q5_0": "{d} · ({code} − 16)", "Q5_1": "{d} · {code} + {m}",
    "Q2_K": _K, "Q4_K": _K, "Q5_K": _K,
    "Q3_K": "{d} · ({scale} − 32) · ({code} − 4)", "Q6_K": "{d} · {scale} · ({code} − 32)",
    "IQ4_NL": "{d} · {level}", "IQ4_XS": "{d} · ({scale} − 32) · {level}",
    "MXFP4": "2^{e} · {level}", "NVFP4": "{scale} · {level}",
    "Q1_0": "{d} · (2 · {code} − 1)", "Q2_0": "{d} · ({code} − 1)",
    "TQ1_0": "{d} · ({code} − 1)", "TQ2_0": "{d} · ({code} − 1)",
    "IQ3_XXS": "{d} · (0.5 + {scale}) / 2 · {level}", "IQ3_S": "{d} · (1 + 2 · {scale}) · {level}",
    "IQ2_XXS": _IQ2, "IQ2_XS": _IQ2, "IQ2_S": _IQ2, "IQ1_S": _IQ1, "IQ1_M": _IQ1,
}  # fmt: skip
STEPS = {  # (added to a sub-block's scale, factor): the step is d (scale + added) factor
    "Q3_K": (-32, 1), "IQ4_XS": (-32, 1), "IQ3_XXS": (0.5, 0.5), "IQ3_S": (0.5, 2),
    "IQ2_XXS": (0.5, 0.25), "IQ2_XS": (0.5, 0.25), "IQ2_S": (0.5, 0.25), "IQ1_S": (0.5, 2), "IQ1_M": (0.5, 2),
}  # fmt: skip
LEVELS = {"IQ4_NL": iq4.LEVELS, "IQ4_XS": iq4.LEVELS, "MXFP4": mxfp4.LEVELS / 2, "NVFP4": mxfp4.LEVELS / 2}
GRIDS = {name: name for name in ("IQ3_XXS", "IQ3_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S")} | {"IQ1_M": "IQ1_S"}


class Piece(NamedTuple):
    """Neighbouring bits of one byte. They are bits `shift` and up of one number of the block.

    role     what the number is: a key of `layouts.ROLES`, such as "code", "scale", "row", "d"
    index    which of the numbers of this role: which weight's code, which sub-block's scale; 0 for a shared one
    weights  the weights whose value hangs on the number
    """

    low: int
    width: int
    role: str
    index: int
    shift: int
    weights: range


@functools.cache
def field_of(name: str, byte: int) -> tuple[str, int]:
    """(ggml's name of the field, place in it) of a byte of a block.

    >>> field_of("Q4_K", 5)
    ('scales', 1)
    """
    dtype = ggml.block_type(name).dtype
    if not 0 <= byte < dtype.itemsize:
        raise ValueError(f"byte must be 0 … {dtype.itemsize - 1} in a block of {name}, got {byte}")
    starts = {field: dtype.fields[field][1] for field in dtype.names}
    field = max((f for f in starts if starts[f] <= byte), key=starts.get)
    return field, byte - starts[field]


def pieces(name: str, byte: int) -> tuple[Piece, ...]:
    """What a byte of a block holds, from its lowest bits up; KeyError for a type that is not described.

    >>> [(p.role, p.index, p.width) for p in pieces("Q4_0", 5)]
    [('code', 3, 4), ('code', 19, 4)]
    >>> [(p.role, p.index, p.width) for p in pieces("IQ2_XXS", 9)]  # the last byte of 32 weights
    [('signs', 3, 4), ('scale', 0, 4)]
    """
    field_of(name, byte)  # refuses a byte that is not there
    return _table(name)[byte]


@functools.cache
def _table(name: str) -> list[tuple[Piece, ...]]:
    """The pieces of every byte of a type."""
    kind = ggml.block_type(name)
    found = [[] for _ in range(kind.block_bytes)]
    for run in LAYOUTS[name]:
        starts = itertools.product(*(range(0, count * distance, distance) for count, distance in run.steps))
        for k, offsets in enumerate(starts):
            bit, shift, left = 8 * kind.dtype.fields[run.field][1] + run.start + sum(offsets), run.shift, run.width
            weights = _weights(name, run, k)
            while left:  # a number may go on in the next byte
                wide = min(left, 8 - bit % 8)
                found[bit // 8].append(Piece(bit % 8, wide, run.role, run.first + k, shift, weights))
                bit, shift, left = bit + wide, shift + wide, left - wide
    return [tuple(sorted(byte)) for byte in found]


def _weights(name: str, run, k: int) -> range:
    """The weights that number k of a run stands for."""
    if run.spread:
        first, distance, count = run.spread
        return range(first + k, first + k + distance * count, distance)
    each = per_number(name, run.role)
    return range(each * (run.first + k), each * (run.first + k + 1))


def per_number(name: str, role: str) -> int:
    """How many weights share a number of this role; all of them where a type has no such number.

    >>> per_number("Q6_K", "scale"), per_number("IQ2_XXS", "row"), per_number("Q8_0", "scale")
    (16, 8, 32)
    """
    counts = (run.first + np.prod([c for c, _ in run.steps], dtype=int) for run in LAYOUTS[name] if run.role == role)
    return ggml.block_type(name).elements // int(max(counts, default=1))


def numbers(name: str, data: np.ndarray) -> dict[tuple[str, int], float]:
    """Every number of a block (block_bytes,) put together from its bits: (role, index) -> its value.

    >>> block = np.frombuffer(bytes([0, 52, *range(16)]), np.uint8)  # d = 0.25
    >>> found = numbers("Q4_0", block)
    >>> found["d", 0], found["code", 3], found["code", 19]
    (0.25, 3, 0)
    """
    found, signed = {}, {run.role for run in LAYOUTS[name] if ggml.block_type(name).dtype[run.field].base.kind == "i"}
    for at, byte in enumerate(data.tolist()):
        for p in pieces(name, at):
            bits = byte >> p.low & (1 << p.width) - 1
            found[p.role, p.index] = found.get((p.role, p.index), 0) | bits << p.shift
    for (role, index), value in found.items():
        if role in ("d", "dmin", "m"):
            found[role, index] = float(np.uint16(value).view(np.float16))
        elif role in signed and value > 127:
            found[role, index] = value - 256
    return found


@functools.cache
def _places(name: str) -> list[dict[str, tuple[int, int]]]:
    """For each weight: role -> (index of its number, the weight's place among those that share it)."""
    found = [{} for _ in range(ggml.block_type(name).elements)]
    for p in itertools.chain.from_iterable(_table(name)):
        for place, j in enumerate(p.weights):
            found[j][p.role] = p.index, place
    return found


def terms(name: str, found: dict[tuple[str, int], float], j: int) -> dict[str, float | str]:
    """What weight j is made of: the values of `FORMULAS[name]`, from the `numbers` of its block.

    >>> block = np.frombuffer(bytes([0, 52, *range(16)]), np.uint8)
    >>> FORMULAS["Q4_0"].format(**terms("Q4_0", numbers("Q4_0", block), 3))
    '0.25 · (3 − 8)'
    """
    where = _places(name)[j]
    out = {role: found[role, index] for role, (index, _) in where.items()}
    if name in GRIDS:
        out["level"] = int(codebook.grid(GRIDS[name])[out["row"], where["row"][1]])
        negative = out.get("sign") or "signs" in out and codebook.SIGNS[out["signs"], where["signs"][1]] < 0
        out["level"] *= -1 if negative else 1
    elif name in LEVELS:
        out["level"] = LEVELS[name][out["code"]].item()
    if "digits" in out:
        out["code"] = 3 * (out["digits"] * 3 ** where["digits"][1] % 256) >> 8
    if "move" in out:
        out["move"] = "−" if out["move"] else "+"
    if "e" in out:
        out["e"] -= 127
    if name == "NVFP4":
        out["scale"] = step(name, found, where["scale"][0])
    return out


def step(name: str, found: dict[tuple[str, int], float], index: int) -> float:
    """What a unit of a code is worth in sub-block `index`, from the `numbers` of the block: d (scale + added) factor.

    >>> step("Q3_K", {("d", 0): 0.5, ("scale", 2): 35}, 2)
    1.5
    """
    if name == "NVFP4":
        return 2 * float(nvfp4.HALF_SCALES[found["scale", index]])
    added, factor = STEPS.get(name, (0, 1))
    return found["d", 0] * (found["scale", index] + added) * factor
