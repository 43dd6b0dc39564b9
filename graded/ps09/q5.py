"""ps09.q5: which kernel is the fastest, predicted"""

import functools
import math

import torch

from course_lib.checks import Case
from course_lib.checks.compare import Tolerance
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


def _first_gap(faster, tokens):
    return faster.index(False) if False in faster else len(faster)


def _predict(layer, tokens, machine, kernels, row=_row_bytes, scales=_scale_bytes, flops=2, whole=_overlapped,
             moved=lambda m, n, k: 2 * m * (n + k), passes=lambda m, tile: (m / tile).ceil(), up_to=_first_gap,
             best=lambda column: column.index(min(column)), per=1, count=lambda k, group: -(-k // group),
             times=lambda m: 1, faster=torch.lt, exchanged=False):  # fmt: skip
    """The reference with one part changed, for all numbers of tokens at once."""
    n, k = (layer["k"], layer["n"]) if exchanged else (layer["n"], layer["k"])

    def parts(kernel, m):
        groups = count(k, kernel["group"]) if kernel["group"] else 0
        stored = n * (row(k, kernel) + scales(groups, kernel["bits"], kernel["zeros"]))
        work = n * k * kernel["per_weight"] / per * passes(m, kernel["tile"])
        of = times(m) * stored + moved(m, n, k), flops * m * n * k, work
        return torch.stack([
            torch.as_tensor(part / machine[limit], dtype=torch.float64).expand(len(m))
            for part, limit in zip(of, ("bandwidth", "flops", "issue"), strict=True)
        ])  # fmt: skip

    def seconds(m):
        return torch.stack([whole(parts(kernel, m), machine["launch"]) for kernel in kernels])

    every = seconds(torch.arange(1, 4097, dtype=torch.float64))
    m = tokens.double()
    table, names = seconds(m), ("memory", "math", "issue")
    return {
        "seconds": table,
        "limits": [[names[i] for i in parts(kernel, m).argmax(0)] for kernel in kernels],
        "best": [best(column) for column in table.T.tolist()],
        "up_to": [up_to(line, tokens.tolist()) for line in faster(every, every[0]).tolist()],
    }


def _last_true(faster, tokens):
    return max((m for m, yes in enumerate(faster, 1) if yes), default=0)


def _among(faster, tokens):
    return max([0, *(m for i, m in enumerate(tokens) if all(faster[t - 1] for t in tokens[: i + 1]))])


NAMES = ("seconds", "what limits", "which is fastest", "faster than 16 bits up to")
FIRST, NOT_BEST, NOT_LIMIT = NAMES[:1], (NAMES[0], NAMES[1], NAMES[3]), (NAMES[0], NAMES[2], NAMES[3])
KNOWN = (  # name, what is changed, what to say, which properties it loses
    ("scales and zeros forgotten", dict(scales=lambda groups, bits, zeros: 0),
     "Every group of a row brings a scale of 2 bytes, and perhaps a zero.", FIRST),
    ("scales forgotten", dict(scales=lambda groups, bits, zeros: -(-groups * bits // 8) if zeros else 0),
     "Every group has a scale of 2 bytes, whether it has a zero or not.", FIRST),
    ("zeros forgotten", dict(scales=lambda groups, bits, zeros: 2 * groups),
     "Where `zeros` is true each group has a zero, too, of `bits` bits.", FIRST),
    ("zeros of two bytes", dict(scales=lambda groups, bits, zeros: (4 if zeros else 2) * groups),
     "Zeros are packed: as many bits as a code has.", FIRST),
    ("zeros not rounded up", dict(scales=lambda groups, bits, zeros: 2 * groups + groups * bits / 8 * zeros),
     "The zeros of a row are packed together and rounded up to whole bytes: ceil(groups · bits / 8).", FIRST),
    ("groups rounded down", dict(count=lambda k, group: k // group),
     "The last group may be shorter, and has a scale all the same: ceil(k / group).", FIRST),
    ("parts of a group", dict(count=lambda k, group: k / group),
     "There is no third of a group: the last one may be shorter, and has a whole scale. Round up.", FIRST),
    ("rows not rounded up", dict(row=lambda k, kernel: k * kernel["bits"] / 8),
     "A row of codes takes whole bytes: ceil(k · bits / 8).", FIRST),
    ("activations not moved", dict(moved=lambda m, n, k: 0),
     "Inputs and outputs are read and written, 2 bytes each.", NAMES),
    ("outputs not written", dict(moved=lambda m, n, k: 2 * m * k),
     "The m · n outputs are written, too, 2 bytes each.", (NAMES[0], NAMES[3])),
    ("four bytes an activation", dict(moved=lambda m, n, k: 4 * m * (n + k)),
     "Inputs and outputs take 2 bytes a number.", (NAMES[0], NAMES[3])),
    ("weights read for each token", dict(times=lambda m: m),
     "Memory sees the weights once, however many tokens are multiplied.", NAMES),
    ("a multiplication and an addition counted as one", dict(flops=1),
     "A product of (m, k) and (k, n) takes 2 · m · n · k operations.", NAMES),
    ("unpacked once", dict(passes=lambda m, tile: torch.ones_like(m)),
     "Each tile of tokens unpacks the whole weight again: ceil(m / tile) times.", NAMES),
    ("unpacked for each token", dict(passes=lambda m, tile: m),
     "`tile` tokens share an unpacked weight: ceil(m / tile) times, not m.", NAMES),
    ("parts of a tile", dict(passes=lambda m, tile: m / tile),
     "One token more than a tile costs a whole tile more: round up.", NOT_BEST),
    ("tiles rounded down", dict(passes=lambda m, tile: (m / tile).floor()),
     "Tokens that fill no tile unpack the weights all the same: round up.", NOT_BEST),
    ("a tile too many", dict(passes=lambda m, tile: (m / tile).floor() + 1),
     "16 tokens are one tile of 16, not two: ceil(m / tile), not m // tile + 1.", NOT_BEST),
    ("one after the other", dict(whole=lambda parts, launch: launch + parts.sum(0)),
     "The three go on at the same time: the slowest sets the time.", NOT_LIMIT),
    ("the fastest of the three", dict(whole=lambda parts, launch: launch + parts.amin(0)),
     "The kernel ends when the slowest of the three ends: max, not min.", NOT_LIMIT),
    ("the launch in the race", dict(whole=lambda parts, launch: parts.amax(0).clamp(min=launch)),
     "The launch comes first, and then the slowest of the three.", NOT_LIMIT),
    ("the launch forgotten", dict(whole=lambda parts, launch: parts.amax(0)),
     "Every kernel takes `launch` seconds more.", FIRST),
    ("the launch twice", dict(whole=lambda parts, launch: 2 * launch + parts.amax(0)),
     "A kernel is launched once: add `launch` to the slowest part, and not to each part before.", FIRST),
    ("milliseconds", dict(whole=lambda parts, launch: 1e3 * (launch + parts.amax(0))),
     "Seconds are asked: bytes over bytes a second are seconds already.", FIRST),
    ("instructions a word", dict(per=8), "`per_weight` is for one weight, not for the eight of a word.", NAMES),
    ("n and k exchanged", dict(exchanged=True), "A weight is (n, k): rows of k codes, n of them.", FIRST),
    ("the slowest", dict(best=lambda column: column.index(max(column))),
     "The best kernel takes the fewest seconds.", NAMES[2:3]),
    ("the last of equal ones", dict(best=lambda column: len(column) - 1 - column[::-1].index(min(column))),
     "Of equally fast kernels the first is asked.", NAMES[2:3]),
    ("the last time it is faster", dict(up_to=_last_true),
     "Asked is how far it is faster all the way from 1 on; after a step it may be slower, then faster.", NAMES[3:]),
    ("one too far", dict(up_to=lambda faster, tokens: _first_gap(faster, tokens) + 1),
     "The last number of tokens at which it is still faster, not the first at which it is not.", NAMES[3:]),
    ("as fast counted as faster", dict(faster=torch.le),
     "It has to take *less* time than kernel 0; kernel 0 itself is never faster than itself.", NAMES[3:]),
    ("only the tokens asked for", dict(up_to=_among),
     "Try every number of tokens from 1 on, not only those of `tokens`.", NAMES[3:]),
    ("up to 4095", dict(up_to=lambda faster, tokens: min(4095, _first_gap(faster, tokens))),
     "The largest m is 4096: range(1, 4096) ends one before it.", NAMES[3:]),
)  # fmt: skip
WRONG = [Mistake(n, functools.partial(_predict, **changed), said, loses=lost) for n, changed, said, lost in KNOWN]


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
        case("two kernels, a small layer", 0, 500, 700, [1, 2, 7], small, plain, kernel(4, 128, False, 5.0, 16)),
        case(
            "a large layer", 1, 8000, 28000, [1, 16, 17, 64, 200, 512], hopper,
            plain, kernel(4, 128, True, 3.1, 16), kernel(4, 32, True, 9.0, 64), kernel(8, 0, False, 1.0, 64),
        ),
        case(
            "three bits on a small card", 2, 4000, 4000, [1, 5, 33, 300], small,
            plain, kernel(3, 100, True, 2.0, 8), kernel(4, 64, False, 2.5, 32),
        ),
        case("faster to the end", 3, 1000, 3000, [2, 4000, 4096], (3e11, 8e14, 3e13, 5e-6), plain,
             kernel(4, 64, False, 1.0, 4096)),
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
        alike=Tolerance(rtol=1e-9),  # seconds are small
    )
