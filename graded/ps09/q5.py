"""ps09.q5: which kernel is the fastest, predicted"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def predict_kernels(layer, tokens, machine, kernels):
    """Seconds of each kernel at each number of tokens, what limits it, the fastest, and how far each beats 16 bits."""
    n, k = layer["n"], layer["k"]

    def parts(kernel, m):
        row = math.ceil(k * kernel["bits"] / 8)
        if kernel["group"]:
            groups = math.ceil(k / kernel["group"])
            row += 2 * groups + (math.ceil(groups * kernel["bits"] / 8) if kernel["zeros"] else 0)
        issued = n * k * kernel["per_weight"] * math.ceil(m / kernel["tile"])
        return {
            "memory": (n * row + 2 * m * (n + k)) / machine["bandwidth"],
            "math": 2 * m * n * k / machine["flops"],
            "issue": issued / machine["issue"],
        }

    def seconds(kernel, m):
        return machine["launch"] + max(parts(kernel, m).values())

    def limit(kernel, m):
        found = parts(kernel, m)
        return max(found, key=found.get)  # the first of equal ones

    def faster_up_to(kernel):
        m = 0
        while m < 4096 and seconds(kernel, m + 1) < seconds(kernels[0], m + 1):
            m += 1
        return m

    table = [[seconds(kernel, m) for m in tokens.tolist()] for kernel in kernels]
    return {
        "seconds": torch.tensor(table, dtype=torch.float64),
        "limits": [[limit(kernel, m) for m in tokens.tolist()] for kernel in kernels],
        "best": [column.index(min(column)) for column in map(list, zip(*table, strict=True))],
        "up_to": [faster_up_to(kernel) for kernel in kernels],
    }


def _row_bytes(k, kernel):
    return -(-k * kernel["bits"] // 8)


def _scale_bytes(groups, bits, zeros):
    return 2 * groups + (-(-groups * bits // 8) if zeros else 0)


def _overlapped(parts, launch):
    return launch + parts.amax(0)


def _predict(layer, tokens, machine, kernels, row=_row_bytes, scales=_scale_bytes, flops=2, whole=_overlapped,
             moved=lambda m, n, k: 2 * m * (n + k), passes=lambda m, tile: (m / tile).ceil(), up_to=None, best=min,
             per=1):  # fmt: skip
    """The reference with one part changed, for all numbers of tokens at once."""
    n, k = layer["n"], layer["k"]

    def parts(kernel, m):
        groups = -(-k // kernel["group"]) if kernel["group"] else 0
        read = n * (row(k, kernel) + scales(groups, kernel["bits"], kernel["zeros"])) + moved(m, n, k)
        work = n * k * kernel["per_weight"] / per * passes(m, kernel["tile"])
        of = read / machine["bandwidth"], flops * m * n * k / machine["flops"], work / machine["issue"]
        return torch.stack([torch.as_tensor(part, dtype=torch.float64).expand(len(m)) for part in of])

    def seconds(m):
        return torch.stack([whole(parts(kernel, m), machine["launch"]) for kernel in kernels])

    every = seconds(torch.arange(1, 4097, dtype=torch.float64))
    m = tokens.double()
    table, names = seconds(m), ("memory", "math", "issue")
    return {
        "seconds": table,
        "limits": [[names[i] for i in parts(kernel, m).argmax(0)] for kernel in kernels],
        "best": [column.index(best(column)) for column in table.T.tolist()],
        "up_to": [(up_to or _first_gap)(line) for line in (every < every[0]).tolist()],
    }


def _first_gap(faster):
    return faster.index(False) if False in faster else len(faster)


def _last_true(faster):
    return max((m for m, yes in enumerate(faster, 1) if yes), default=0)


NAMES = ("seconds", "what limits", "which is fastest", "faster than 16 bits up to")

WRONG = [
    Mistake(
        "scales forgotten",
        lambda *a: _predict(*a, scales=lambda groups, bits, zeros: 0),
        "Every group of a row brings a scale of 2 bytes, and perhaps a zero.",
        loses=(NAMES[0],),
    ),
    Mistake(
        "zeros of two bytes",
        lambda *a: _predict(*a, scales=lambda groups, bits, zeros: (4 if zeros else 2) * groups),
        "Zeros are packed: as many bits as a code has.",
        loses=(NAMES[0],),
    ),
    Mistake(
        "activations not moved",
        lambda *a: _predict(*a, moved=lambda m, n, k: 0),
        "Inputs and outputs are read and written, 2 bytes each.",
        loses=(NAMES[0], NAMES[3]),
    ),
    Mistake(
        "a multiplication and an addition counted as one",
        lambda *a: _predict(*a, flops=1),
        "A product of (m, k) and (k, n) takes 2 · m · n · k operations.",
        loses=NAMES,
    ),
    Mistake(
        "unpacked once",
        lambda *a: _predict(*a, passes=lambda m, tile: torch.ones_like(m)),
        "Each tile of tokens unpacks the whole weight again: ceil(m / tile) times.",
        loses=NAMES,
    ),
    Mistake(
        "parts of a tile",
        lambda *a: _predict(*a, passes=lambda m, tile: m / tile),
        "One token more than a tile costs a whole tile more: round up.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "one after the other",
        lambda *a: _predict(*a, whole=lambda parts, launch: launch + parts.sum(0)),
        "The three go on at the same time: the slowest sets the time.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "the launch in the race",
        lambda *a: _predict(*a, whole=lambda parts, launch: parts.amax(0).clamp(min=launch)),
        "The launch comes first, and then the slowest of the three.",
        loses=(NAMES[0], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "the launch forgotten",
        lambda *a: _predict(*a, whole=lambda parts, launch: parts.amax(0)),
        "Every kernel takes `launch` seconds more.",
        loses=(NAMES[0],),
    ),
    Mistake(
        "instructions a word",
        lambda *a: _predict(*a, per=8),
        "`per_weight` is for one weight, not for the eight of a word.",
        loses=NAMES,
    ),
    Mistake(
        "the slowest",
        lambda *a: _predict(*a, best=max),
        "The best kernel takes the fewest seconds.",
        loses=(NAMES[2],),
    ),
    Mistake(
        "the last time it is faster",
        lambda *a: _predict(*a, up_to=_last_true),
        "Asked is how far it is faster all the way from 1 on. After a step it may be slower, and faster again.",
        loses=(NAMES[3],),
    ),
    Mistake(
        "one too far",
        lambda *a: _predict(*a, up_to=lambda faster: _first_gap(faster) + 1),
        "The last number of tokens at which it is still faster, not the first at which it is not.",
        loses=(NAMES[3],),
    ),
]


def exercise(seed):
    def kernel(bits, group, zeros, per_weight, tile):
        return {"bits": bits, "group": group, "zeros": zeros, "per_weight": per_weight, "tile": tile}

    def case(name, offset, n, k, tokens, machine, *kernels):
        generator = torch.Generator().manual_seed(seed + offset)
        n, k = (int(size + torch.randint(0, 40, (), generator=generator)) for size in (n, k))
        share = 1 + 0.02 * torch.rand((), generator=generator).item()
        bandwidth, flops, issue, launch = machine
        machine = {"bandwidth": bandwidth * share, "flops": flops, "issue": issue, "launch": launch}
        return Case(name, {"n": n, "k": k}, torch.tensor(tokens), machine, list(kernels))

    plain = kernel(16, 0, False, 0.0, 128)
    hopper, small = (4.3e12, 8e14, 3.0e13, 3e-6), (3e11, 4e13, 2e12, 5e-6)
    cases = [
        case("two kernels, a small layer", 0, 500, 700, [1, 2], small, plain, kernel(4, 128, False, 5.0, 16)),
        case(
            "a large layer", 1, 8000, 28000, [1, 16, 17, 64, 200, 512], hopper,
            plain, kernel(4, 128, True, 3.1, 16), kernel(4, 32, True, 9.0, 64), kernel(8, 0, False, 1.0, 64),
        ),
        case(
            "three bits on a small card", 2, 4000, 4000, [1, 5, 33, 300], small,
            plain, kernel(3, 100, True, 2.0, 8), kernel(4, 64, False, 2.5, 32),
        ),
    ]  # fmt: skip
    return question(
        "ps09.q5",
        "The time before the kernel",
        "predict_kernels(layer, tokens, machine, kernels): seconds, limits, the fastest, and how far it pays.",
        predict_kernels,
        properties=[
            agrees(NAMES[0], cases, "Bytes, operations or instructions.", part="seconds", rtol=1e-9),
            agrees(NAMES[1], cases, "Which of the three that is.", part="limits"),
            agrees(NAMES[2], cases, "Fewest seconds.", part="best"),
            agrees(NAMES[3], cases, "From one token on, without a gap.", part="up_to"),
        ],
        wrong=WRONG,
    )
