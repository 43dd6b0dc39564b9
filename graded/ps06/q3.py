"""ps06.q3: a file before it is written"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def plan_file(tensors, sizes, fallback, head_bytes, alignment):
    """Types, offsets, bytes of the file and bits per weight of tensors (shape, wanted type) that are not there yet."""
    types, offsets, at, stored, weights = [], [], 0, 0, 0
    for shape, wanted in tensors:
        tried = [wanted, fallback.get(wanted, "F16"), "F16"] if len(shape) > 1 else ["F32"]
        chosen = next(name for name in tried if shape[-1] % sizes[name][0] == 0)
        elements, block_bytes = sizes[chosen]
        nbytes = math.prod(shape) // elements * block_bytes
        types.append(chosen)
        offsets.append(at)
        at += nbytes + -nbytes % alignment
        stored, weights = stored + nbytes, weights + math.prod(shape)
    start = head_bytes + -head_bytes % alignment
    return {"types": types, "offsets": offsets, "file_bytes": start + at, "bits": 8 * stored / weights}


def _up(n, alignment):
    return n + -n % alignment


def _tried(shape, wanted, fallback):
    return [wanted, fallback.get(wanted, "F16"), "F16"] if len(shape) > 1 else ["F32"]


def _plan(tensors, sizes, fallback, head, alignment, tried=_tried, row=lambda shape: shape[-1], last=None, begin=0,
          pad=_up, start=_up, tail=True, bits=lambda stored, weights, file, each: 8 * stored / weights):  # fmt: skip
    """The reference with one part changed."""
    types, offsets, at, stored, weights, each = [], [], 0, 0, 0, []
    for shape, wanted in tensors:
        names = tried(shape, wanted, fallback)
        chosen = next((name for name in names if row(shape) % sizes[name][0] == 0), last or names[-1])
        elements, size = sizes[chosen]
        nbytes = math.prod(shape) * size // elements
        types.append(chosen)
        offsets.append(at + (start(head, alignment) if begin else 0))
        end, at = at + nbytes, pad(at + nbytes, alignment)
        stored, weights = stored + nbytes, weights + math.prod(shape)
        each.append(8 * size / elements)
    file = start(head, alignment) + (at if tail else end)
    return {"types": types, "offsets": offsets, "file_bytes": file, "bits": bits(stored, weights, file, each)}


NAMES = ("the types", "the offsets", "bytes of the file", "bits per weight")

WRONG = [
    Mistake(
        "the tensor divided, not its rows",
        lambda *a: _plan(*a, row=math.prod),
        "A block never runs over the end of a row: the length of the *row* must be whole blocks.",
        loses=NAMES,
    ),
    Mistake(
        "the number of rows divided",
        lambda *a: _plan(*a, row=lambda shape: shape[0]),
        "Shapes are as in PyTorch: the last number is the length of a row.",
        loses=NAMES,
    ),
    Mistake(
        "norms quantized",
        lambda *a: _plan(*a, tried=lambda shape, wanted, fallback: _tried((1, 1), wanted, fallback)),
        "A tensor of one dimension stays F32: norms are small and sensitive.",
        loses=NAMES,
    ),
    Mistake(
        "no fallback but F16",
        lambda *a: _plan(*a, tried=lambda shape, wanted, f: [wanted, "F16"] if len(shape) > 1 else ["F32"]),
        "A row of 96 is no whole super-block, but three blocks of 32: first look into `fallback`.",
        loses=NAMES,
    ),
    Mistake(
        "the fallback taken unseen",
        lambda *a: _plan(
            *a, tried=lambda shape, wanted, f: [wanted, f.get(wanted, "F16")] if len(shape) > 1 else ["F32"]
        ),
        "The fallback has blocks, too. Where even these do not fit, F16 is left.",
        loses=NAMES,
    ),
    Mistake(
        "no padding between tensors",
        lambda *a: _plan(*a, pad=lambda n, alignment: n),
        "Every tensor begins at a multiple of the alignment.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "padding where none is needed",
        lambda *a: _plan(*a, pad=lambda n, alignment: n + alignment - n % alignment),
        "A tensor that ends on a multiple of the alignment is followed by the next one at once.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "offsets from the beginning of the file",
        lambda *a: _plan(*a, begin=1),
        "Offsets count from the beginning of the data: the first is 0.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the head not padded",
        lambda *a: _plan(*a, start=lambda head, alignment: head),
        "The data begin at a multiple of the alignment behind the head.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the last tensor not padded",
        lambda *a: _plan(*a, tail=False),
        "llama.cpp pads the last tensor as well; a file that ends before is taken for cut off.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the whole file shared out",
        lambda *a: _plan(*a, bits=lambda stored, weights, file, each: 8 * file / weights),
        "Bits per weight counts what tensors store: neither head nor padding.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a mean of types",
        lambda *a: _plan(*a, bits=lambda stored, weights, file, each: sum(each) / len(each)),
        "A large tensor weighs more than a small one: all stored bits over all weights.",
        loses=NAMES[3:],
    ),
    Mistake(
        "bytes per weight",
        lambda *a: _plan(*a, bits=lambda stored, weights, file, each: stored / weights),
        "A byte has eight bits.",
        loses=NAMES[3:],
    ),
    Mistake(
        "F32 where no block fits",
        lambda *a: _plan(*a, tried=lambda shape, wanted, f: [*_tried(shape, wanted, f)[:2], "F32"]),
        "Where no block fits a row F16 is left; F32 is for tensors of one dimension.",
        loses=NAMES,
    ),
    Mistake(
        "padding counted among the bits",
        lambda t, sizes, f, head, alignment: _plan(
            t,
            sizes,
            f,
            head,
            alignment,
            bits=lambda stored, weights, file, each: 8 * (file - _up(head, alignment)) / weights,
        ),
        "Between tensors lies padding: bits per weight counts what they store and no more.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a whole alignment behind a full head",
        lambda *a: _plan(*a, start=lambda n, alignment: n + alignment - n % alignment),
        "A head that ends on a multiple of the alignment is followed by the data at once: + −head % alignment.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the usual fallbacks",
        lambda tensors, sizes, fallback, *more: _plan(tensors, sizes, FALLBACK, *more),
        "`fallback` is an argument: look types up in it, not in a table of your own.",
        loses=NAMES,
    ),
]
SIZES = {
    "F32": (1, 4), "F16": (1, 2), "Q4_0": (32, 18), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "IQ4_NL": (32, 18), "Q2_K": (256, 84), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
}  # fmt: skip
FALLBACK = {"Q2_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    def case(name, alignment, *tensors, head=None, fallback=FALLBACK):
        head = head or (1001 + draw(0, 30) * 32 + draw(0, alignment - 1) if alignment > 8 else 1001 + draw(0, 500) * 8)
        return Case(name, list(tensors), dict(SIZES), dict(fallback), head, alignment)

    def rows():
        return 2 * draw(1, 7) + 1

    cases = [
        case("a matrix and a norm", 32, ((3, 256), "Q4_K"), ((rows(),), "Q4_K"), ((2, 64), "Q8_0")),
        case("a layer whose width is no super-block", 32, ((96,), "Q4_K"), ((32 * rows(), 96), "Q4_K"),
             ((rows(), 96), "Q6_K"), ((rows(), 768), "Q6_K"), ((rows(), 40), "Q5_K"), ((5,), "Q4_K")),
        case("wide alignment", 128, ((256 * 2, 32), "Q4_K"), ((rows(), 512), "Q2_K"), ((rows(), 50), "Q4_0"),
             ((8, 16), "F16"), ((rows(), 33), "Q2_K"), ((3, 64), "Q4_0")),
        case("narrow alignment", 8, ((256, 100), "Q6_K"), ((rows(), 96), "Q2_K"), ((1,), "F16"), ((256, 288), "Q5_K"),
             ((3,), "F32")),
        case("a head that is full, other fallbacks", 64, ((rows(), 96), "Q4_K"), ((rows(), 288), "Q6_K"),
             ((2, 96), "Q2_K"), head=64 * draw(9, 40), fallback={"Q4_K": "Q8_0", "Q2_K": "Q4_K"}),
    ]  # fmt: skip
    return question(
        "ps06.q3",
        "A file before it is written",
        "plan_file(tensors, sizes, fallback, head_bytes, alignment): types, offsets, file size and bits per weight.",
        plan_file,
        properties=[
            agrees(NAMES[0], cases, "The row decides: wanted, fallback, F16; F32 for one dimension.", part="types"),
            agrees(NAMES[1], cases, "From the beginning of the data, each a multiple.", part="offsets"),
            agrees(NAMES[2], cases, "Head and tensors, all padded.", part="file_bytes"),
            agrees(NAMES[3], cases, "8 · stored bytes over all weights.", part="bits", rtol=1e-9),
        ],
        wrong=WRONG,
    )
