"""Inline PTX on a CPU: the few instructions that our kernels write by hand, evaluated in NumPy.

A kernel hands `tl.inline_asm_elementwise` a text for one thread's registers of 32 bits; two 16-bit elements share one.
Here each register is an array, one entry for every place where a GPU would run the text. Which elements share a
register is the GPU's choice, so a text must treat all alike; here neighbours do. `interpreter` calls `evaluate`.
"""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np

HALVES = {"f16x2": np.dtype(np.float16), "bf16x2": np.dtype(ml_dtypes.bfloat16)}


def lop3(a, b, c, table):
    """Any function of three bits: bit 4a + 2b + c of `table`, at each of 32 places.

    >>> hex(int(lop3(*(np.uint32(v) for v in (0x12345678, 0x000F000F, 0x64006400, 0xEA)))))  # (a & b) | c
    '0x64046408'
    """
    out = np.zeros_like(a)
    for row in range(8):
        if table >> row & 1:
            terms = [v if row >> place & 1 else ~v for v, place in ((a, 2), (b, 1), (c, 0))]
            out |= terms[0] & terms[1] & terms[2]
    return out


def prmt(a, b, choice):
    """Four bytes out of the eight of a and b; a nibble of `choice` names each, from the lowest."""
    both, out = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32), np.zeros_like(a)
    for i in range(4):
        place = (choice >> np.uint32(4 * i) & np.uint32(7)) * np.uint32(8)
        out |= (both >> place.astype(np.uint64) & np.uint64(255)).astype(np.uint32) << np.uint32(8 * i)
    return out


def round_to(wide, dtype):
    """float64 to a 16-bit float, rounded once: bfloat16 by way of a float32 that remembers whether it was exact."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == np.float16:
            return wide.astype(np.float16)
        near = wide.astype(np.float32)
        word = near.view(np.uint32)
        odd = (word - (np.abs(near) > np.abs(wide))) | 1
        return np.where((near == wide) | ~np.isfinite(near), word, odd).astype(np.uint32).view(np.float32).astype(dtype)


FLOATS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "fma": lambda a, b, c: a * b + c,
}
INTEGERS = {
    "mov.b32": lambda a: a,
    "and.b32": lambda a, b: a & b,
    "or.b32": lambda a, b: a | b,
    "xor.b32": lambda a, b: a ^ b,
    "shr.u32": lambda a, b: np.where(b < 32, a >> np.minimum(b, 31), 0).astype(np.uint32),
    "shl.b32": lambda a, b: np.where(b < 32, a << np.minimum(b, 31), 0).astype(np.uint32),
    "lop3.b32": lambda a, b, c, table: lop3(a, b, c, int(table.flat[0])),
    "prmt.b32": prmt,
}


def operation(name: str):
    """The function on registers behind an instruction's name; NotImplementedError for one that is not among these."""
    if name in INTEGERS:
        return INTEGERS[name]
    verb, *_, kind = name.split(".")
    if verb not in FLOATS or kind not in HALVES:
        raise NotImplementedError(f"{name} cannot be interpreted on a CPU; course_lib.kernels.interpreter.ptx knows "
                                  f"{', '.join(INTEGERS)} and add, sub, mul, fma of {', '.join(HALVES)}")  # fmt: skip

    def floats(*registers):
        with np.errstate(over="ignore", invalid="ignore"):
            wide = FLOATS[verb](*(r.view(HALVES[kind]).astype(np.float64) for r in registers))
        return round_to(wide, HALVES[kind]).view(np.uint32)

    return floats


def registers(values: np.ndarray, pack: int) -> list[np.ndarray]:
    """The registers that hold `pack` neighbours: a list of uint32 arrays, one entry for each run of the text."""
    flat = np.ascontiguousarray(values).reshape(-1)
    flat = np.concatenate([flat, np.zeros(-len(flat) % pack, flat.dtype)])
    if pack * flat.itemsize % 4:
        raise ValueError(f"pack must fill registers of 4 bytes; {pack} elements of {flat.itemsize} bytes do not")
    return list(np.ascontiguousarray(flat.reshape(-1, pack)).view(np.uint32).T.copy())


def evaluate(text: str, values: list[np.ndarray], outputs: list[np.dtype], pack: int) -> list[np.ndarray]:
    """Run `text` over arrays of one shape, with $0, $1 … naming outputs, then inputs; returns an array for each output.

    >>> evaluate("shr.u32 $0, $1, 4;", [np.array([0x1234, 0xFF], np.int32)], [np.int32], 1)[0].tolist()
    [291, 15]
    """
    inputs = [r for v in values for r in registers(v, pack)]
    count = sum(pack * np.dtype(kind).itemsize // 4 for kind in outputs)
    known = {f"${count + i}": r for i, r in enumerate(inputs)}
    runs = len(inputs[0])
    for line in re.sub(r"//.*|[{}]", "", text).replace("\n", " ").split(";"):
        name, _, rest = line.strip().partition(" ")
        if name and name != ".reg":
            target, *operands = [word.strip() for word in rest.split(",")]
            known[target] = operation(name)(*(value(word, known, runs) for word in operands))
    found = [known[f"${i}"] for i in range(count)]
    shape, size = np.shape(values[0]), np.size(values[0])
    result = []
    for kind in outputs:
        take = pack * np.dtype(kind).itemsize // 4
        mine, found = np.stack(found[:take], axis=1), found[take:]
        result.append(np.ascontiguousarray(mine).reshape(-1).view(kind)[:size].reshape(shape))
    return result


def value(word: str, known: dict[str, np.ndarray], runs: int) -> np.ndarray:
    """A register, or a constant in every run."""
    if word in known:
        return known[word]
    if re.fullmatch(r"0x[0-9a-fA-F]+|\d+", word):
        return np.full(runs, int(word, 0), np.uint32)
    raise ValueError(f"{word!r} is read before anything was written to it")
