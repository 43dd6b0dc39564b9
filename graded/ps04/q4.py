"""ps04.q4: one file, two versions"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def read_layer(q, zeros, scales, g_idx, version):
    """Weights float32 (out, in) of a GPTQ layer, from its unpacked tensors; version 1 stores zero points less 1."""
    group = g_idx.long()
    z = zeros.int() + (1 if version == 1 else 0)  # (groups, out)
    w = scales.float()[group] * (q.int() - z[group])  # (in, out)
    return w.T.contiguous()


def _read(q, zeros, scales, g_idx, version, one=lambda v: 1 if v == 1 else 0, group=lambda g: g.long(), wrap=False,
          sign=-1, turn=True, half=False, zero=lambda z: z.int()):  # fmt: skip
    """The reference with one part changed."""
    where = group(g_idx)
    z = zero(zeros.int() + one(version))
    part = q.int() + sign * z[where]
    part = (q - z[where].to(torch.uint8)) if wrap else part  # uint8 minus uint8 wraps around
    w = (scales[where] * part.half()).float() if half else scales.float()[where] * part
    return w.T.contiguous() if turn else w.contiguous()


def _neighbours(g_idx):
    return torch.arange(len(g_idx)) // (len(g_idx) // (int(g_idx.max()) + 1))


NAMES = ("version 2", "version 1", "columns in any order", "the ends of the codes")


def _signed_bytes(q, zeros, scales, g_idx, version):
    return _read(q.to(torch.int8), zeros.to(torch.int8), scales, g_idx, version)


def _scale_of_codes_only(q, zeros, scales, g_idx, version):
    group, z = g_idx.long(), zeros.float() + (version == 1)
    return (scales.float()[group] * q - z[group]).T.contiguous()


WRONG = [
    Mistake(
        "version 1 read as version 2",
        lambda *a: _read(*a, one=lambda v: 0),
        "Version 1 stores the zero point less 1: add it back.",
        loses=NAMES[1:],
    ),
    Mistake(
        "1 added in both versions",
        lambda *a: _read(*a, one=lambda v: 1),
        "Version 2 stores the zero point as it is.",
        loses=(NAMES[0], *NAMES[2:]),
    ),
    Mistake(
        "1 taken off instead of added",
        lambda *a: _read(*a, one=lambda v: -1 if v == 1 else 0),
        "What is stored is zero − 1, so the zero point is what is stored + 1.",
        loses=NAMES[1:],
    ),
    Mistake(
        "g_idx ignored",
        lambda *a: _read(*a, group=_neighbours),
        "g_idx[i] is the group of column i; neighbours need not share one.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "g_idx read as an order",
        lambda *a: _read(*a, group=lambda g: _neighbours(g)[torch.argsort(g, stable=True)]),
        "g_idx holds groups, not places: index scales and zeros with it, row by row.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "unsigned subtraction",
        lambda *a: _read(*a, wrap=True),
        "uint8 has no negative numbers: 3 − 8 becomes 251. Convert before you subtract.",
        loses=NAMES,
    ),
    Mistake(
        "zero point added",
        lambda *a: _read(*a, sign=1),
        "A weight is s · (q − z).",
        loses=NAMES,
    ),
    Mistake(
        "multiplied in float16",
        lambda *a: _read(*a, half=True),
        "The product of an integer and a float16 scale needs more than float16: convert the scale first.",
        loses=NAMES,
    ),
    Mistake(
        "not turned around",
        lambda *a: _read(*a, turn=False),
        "The file has a row for each input, (in, out). A linear's weight is (out, in).",
        loses=NAMES,
    ),
    Mistake(
        "1 added in the wrong version",
        lambda *a: _read(*a, one=lambda v: v - 1),
        "Version 1 stores the zero point less 1, version 2 the zero point itself: you have it the other way round.",
        loses=NAMES,
    ),
    Mistake(
        "a zero point of 256 wraps around",
        lambda *a: _read(*a, zero=lambda z: z & 255),
        "zeros + 1 of uint8 makes 0 of 255. Convert to a wider type before you add.",
        loses=NAMES[3:],
    ),
    Mistake(
        "zero points of four bits",
        lambda *a: _read(*a, zero=lambda z: z & 15),
        "& 15 keeps four bits; here codes and zero points may have eight, and 15 + 1 is 16.",
        loses=NAMES[3:],
    ),
    Mistake(
        "signed bytes",
        _signed_bytes,
        "int8 ends at 127: codes and zero points of eight bits go to 255 and 256.",
        loses=NAMES[3:],
    ),
    Mistake(
        "reshaped, not turned around",
        lambda *a: _read(*a, turn=False).reshape(a[0].shape[1], -1),
        "reshape(out, in) keeps the numbers in their order and mixes inputs with outputs: transpose with .T.",
        loses=NAMES,
    ),
    Mistake(
        "the zero point outside the product",
        _scale_of_codes_only,
        "The zero point is a code, too, so the scale multiplies it: s · (q − z).",
        loses=NAMES,
    ),
]


def exercise(seed):
    def case(name, offset, rows, groups, g, version, mixed=False, bits=4):
        generator = torch.Generator().manual_seed(seed + offset)
        top, cols = 2**bits, groups * g
        q = torch.randint(0, top, (cols, rows), generator=generator, dtype=torch.uint8)
        q[0, 0], q[-1, -1] = 0, top - 1
        zeros = torch.randint(1, top - 1, (groups, rows), generator=generator, dtype=torch.uint8)
        scales = (0.01 + 0.0937 * torch.rand(groups, rows, generator=generator)).half()
        g_idx = torch.arange(cols) // g
        while mixed and (torch.equal(g_idx, g_idx.sort().values) or len(g_idx[: len(g_idx) // groups].unique()) == 1):
            g_idx = g_idx[torch.randperm(cols, generator=generator)]
        return Case(name, q, zeros, scales, g_idx.to(torch.int32), version)

    second = [case("two groups", 0, 3, 2, 2, 2), case("three groups", 1, 4, 3, 4, 2)]
    first = [case("two groups", 2, 3, 2, 2, 1), case("four groups", 3, 5, 4, 3, 1)]
    mixed = [
        case("two groups, mixed", 4, 3, 2, 3, 2, mixed=True),
        case("four groups, mixed", 5, 4, 4, 4, 1, mixed=True),
    ]
    edge = case("eight bits", 6, 3, 2, 4, 1, bits=8)
    q, zeros, scales, g_idx, _ = edge.args
    zeros = zeros.clone()
    zeros[0, 0], zeros[1, 1] = 255, 0  # in version 1 a zero point of 256, and one of 1
    ends = [
        Case("zero points at the ends, version 1", q, zeros, scales, g_idx, 1),
        Case("version 2", *edge.args[:4], 2),
    ]
    near = dict(ulps=1)
    return question(
        "ps04.q4",
        "One file, two versions",
        "read_layer(q, zeros, scales, g_idx, version) is the weight (out, in) that a GPTQ file stands for.",
        read_layer,
        properties=[
            agrees(NAMES[0], second, "s · (q − z).", **near),
            agrees(NAMES[1], first, "z = stored + 1.", **near),
            agrees(NAMES[2], mixed, "The group of a column is g_idx[column].", **near),
            agrees(NAMES[3], ends, "256 does not fit into uint8.", **near),
        ],
        wrong=WRONG,
    )
