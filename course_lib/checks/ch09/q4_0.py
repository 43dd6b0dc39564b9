"""ch09.q4_0: 32 weights in 18 bytes, the very bytes of llama.cpp."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law
from course_lib.checks.inputs import normal


def q4_0(w):
    top = w.gather(1, w.abs().argmax(dim=1, keepdim=True))  # (n, 1), with its sign
    d = top / -8
    inverse = torch.where(d == 0, 0.0, 1 / d)
    q = (w * inverse + 8.5).to(torch.uint8).clamp(max=15)
    return torch.cat([d.half().view(torch.uint8), q[:, :16] | q[:, 16:] << 4], dim=1)


def _scale(w):
    return w.gather(1, w.abs().argmax(dim=1, keepdim=True)) / -8


def _times_inverse(w, d):
    return w * torch.where(d == 0, 0.0, 1 / d)


def _up(v):
    return v + 8.5


def _codes(v):
    return v.clamp(0, 15.9).to(torch.uint8)


def _nan_to_0(v):
    return _codes(torch.nan_to_num(v, nan=0.0))


def _halves(q):
    return q[:, :16] | q[:, 16:] << 4


def _little(d):
    return d.half().view(torch.uint8)


def _block(scale=_scale, divided=_times_inverse, near=_up, cut=_codes, pack=_halves, head=_little,
           order=lambda parts: parts, encode=lambda d: d):  # fmt: skip
    """The reference with some of its steps replaced; `encode` is the scale with which codes are made."""

    def variant(w):
        d = scale(w)
        q = cut(near(divided(w, encode(d))))
        return torch.cat(order([head(d), pack(q)]), dim=1)

    return variant


def _of_two(w, positive):
    return torch.where(positive, w.amax(1, keepdim=True), w.amin(1, keepdim=True)) / -8


def _above_15(v):
    return v.to(torch.int32).to(torch.uint8)


def _read(got):
    """(d float32 (n, 1), codes (n, 32)) of blocks."""
    return got[:, :2].contiguous().view(torch.float16).float(), torch.cat([got[:, 2:] & 15, got[:, 2:] >> 4], dim=1)


def _d_is(got, w):
    d, want = _read(got)[0], _scale(w).half().float()
    k = next((k for k in range(len(w)) if d[k] != want[k]), None)
    return (
        k is None
        or f"Block {k} has d = {d[k].item():.5g} in its first two bytes. {-8 * want[k].item():.5g} / −8 is asked."
    )


def _largest_is_0(got, w):
    d, q = _read(got)
    for k in range(len(w)):
        at = int(w[k].abs().argmax())
        if w[k, at] != 0 and q[k, at] != 0:
            return f"In block {k} weight {at} is the largest in size. Its code is {int(q[k, at])}, not 0."
    return True


def _near(got, w):
    d, q = _read(got)
    off = (d * (q.float() - 8) - w).abs()
    far = off > d.abs() * torch.where(q == 15, 1.01, 0.51) + 1e-6
    if not far.any():
        return True
    k, j = (int(i) for i in far.nonzero()[0])
    return (
        f"Weight {j} of block {k} is {w[k, j].item():.4g} and comes back as {(d * (q.float() - 8))[k, j].item():.4g},"
        f" with steps of {d[k].abs().item():.4g}."
    )


_RAMP = torch.arange(-8, 8, 0.5)[None]

EXERCISE = Exercise(
    id="ch09.q4_0",
    title="Thirty-two weights, eighteen bytes",
    spec="q4_0(w): blocks uint8 (n, 18) of w float32 (n, 32): two bytes d, then byte j has the codes of j and j + 16.",
    kind="build",
    stub='''
def q4_0(w):
    """Q4_0 blocks, uint8 (n, 18), of w float32 (n, 32): d as fp16, then 16 bytes of two codes each."""
    ...
''',
    reference=q4_0,
    piece="q4_0",
    cases=[
        Case("−8, −7.5 … 7.5", _RAMP),
        Case("8, 7.5 … −7.5", -_RAMP),
        Case("zeros", torch.zeros(1, 32)),
        Case("+2 before −2", torch.cat([torch.tensor([[2.0, -2.0]]), _RAMP[:, 2:] / 8], dim=1)),
        Case("−2 before +2", torch.cat([torch.tensor([[-2.0, 2.0]]), _RAMP[:, 2:] / 8], dim=1)),
        Case("all alike", torch.full((1, 32), 0.3)),
        Case("zeros beside numbers", torch.cat([torch.zeros(1, 32), _RAMP])),
        Case("one block", normal(1, 1, 32)),
        Case("a scale that fp16 rounds", normal(374, 1, 32)),
        Case("small weights", 0.02 * normal(3, 1, 32)),
        Case("one weight near a tie", normal(2995, 1, 32).bfloat16().float()),
        Case("four blocks", normal(4, 4, 32)),
        Case("two hundred blocks", normal(5, 200, 32)),
    ],
    properties=[
        law("d is the largest weight over −8", _d_is, "With its sign, as fp16, the lower byte first."),
        law("no weight goes astray", _near, "Half a step, and one at the far end, where code 16 would be needed."),
        law("the largest weight has code 0", _largest_is_0, "It is −8 steps of d from code 8, which stands for 0."),
        equals_reference(why="Bytes are the same or they are not."),
    ],
    wrong=[
        Wrong(
            "neighbours share a byte",
            _block(pack=lambda q: q[:, 0::2] | q[:, 1::2] << 4),
            "You pack as chapter 04 did: weights 0 and 1 in a byte. Q4_0 puts weight j and weight j + 16 together.",
        ),
        Wrong(
            "nibbles swapped",
            _block(pack=lambda q: q[:, :16] << 4 | q[:, 16:]),
            "The first half of the block belongs into the *low* nibbles.",
        ),
        Wrong(
            "seven steps to the largest",
            _block(scale=lambda w: w.abs().amax(1, keepdim=True) / 7, near=lambda v: (v + 8).round()),
            "That is chapter 01's ruler, max|w| / 7. Q4_0 uses all 16 codes: the largest weight is −8 steps long.",
        ),
        Wrong(
            "the sign of d lost",
            _block(scale=lambda w: w.abs().amax(1, keepdim=True) / 8),
            "d is the largest weight *with its sign*, over −8. Without the sign a positive one needs code 16.",
        ),
        Wrong(
            "always negative",
            _block(scale=lambda w: w.abs().amax(1, keepdim=True) / -8),
            "You divide the *size* of the largest weight by −8. Keep its sign: a negative one gives a positive d.",
        ),
        Wrong(
            "the largest, not the largest in size",
            _block(scale=lambda w: w.amax(1, keepdim=True) / -8),
            "w.max() overlooks large negative weights. Look for the largest |w|, then take w itself.",
        ),
        Wrong(
            "ties to even",
            _block(near=lambda v: v.round() + 8),
            "torch.round sends halves to the even neighbour. ggml adds 8.5 and cuts off: halves go up.",
        ),
        Wrong(
            "cut off, not rounded",
            _block(near=lambda v: v + 8),
            "Cutting off what stands after the point rounds down. Add 8.5 in place of 8 first.",
        ),
        Wrong(
            "a zero of the other sign",
            _block(scale=lambda w: torch.where(_scale(w) == 0, 0.0, _scale(w))),
            "Only a block of zeros is off: 0 / −8 is −0, with the bytes 00 80. C divides, and so should you.",
        ),
        Wrong(
            "of two the positive one",
            _block(scale=lambda w: _of_two(w, w.amax(1, keepdim=True) >= -w.amin(1, keepdim=True))),
            "Of two weights of the same size the *first* decides; yours takes the positive one. argmax finds it.",
        ),
        Wrong(
            "of two the negative one",
            _block(scale=lambda w: _of_two(w, w.amax(1, keepdim=True) > -w.amin(1, keepdim=True))),
            "Of two weights of the same size the *first* decides; yours takes the negative one. argmax finds it.",
        ),
        Wrong(
            "divided by d",
            _block(divided=lambda w, d: torch.where(d == 0, 0.0, w / d)),
            "You divide by d. ggml makes 1 / d once, in float32, and multiplies: near a tie that can decide.",
        ),
        Wrong(
            "0 / 0",
            _block(divided=lambda w, d: w * (1 / d), cut=_nan_to_0),
            "A block of zeros has d = 0, and 0 / 0 is no number. Its codes are 8, which stands for 0.",
        ),
        Wrong(
            "0 / 0, and divided",
            _block(divided=lambda w, d: w / d, cut=_nan_to_0),
            "A block of zeros has d = 0, and 0 / 0 is no number: its codes are 8. And multiply by 1 / d in place of "
            "dividing: ggml does, and near a tie that can decide.",
        ),
        Wrong(
            "code 16",
            _block(cut=_above_15),
            "A weight of the other sign can get 16, which has five bits and spills into its neighbour. Keep to 15.",
        ),
        Wrong(
            "codes for the rounded scale",
            _block(encode=lambda d: d.half().float()),
            "You made the codes with d as fp16 has it, chapter 02's way. ggml uses the d that is not yet rounded.",
        ),
        Wrong(
            "the high byte first",
            _block(head=lambda d: d.half().view(torch.uint8).flip(1)),
            "The bytes of d are in the wrong order: the lower one comes first, as x86 and ARM keep numbers in memory.",
        ),
        Wrong(
            "codes before the scale",
            _block(order=lambda parts: parts[::-1]),
            "The block begins with d; the 16 bytes of codes follow.",
        ),
        Wrong(
            "signed codes",
            _block(pack=lambda q: _halves((q + 8) & 15)),
            "You store q − 8 in two's complement. Q4_0 stores 0 … 15, and the reader takes off 8.",
        ),
        Wrong(
            "the scale in four bytes",
            _block(head=lambda d: d.view(torch.uint8)),
            "That is d as float32, four bytes. A block has two for it: d.half().view(torch.uint8).",
        ),
        Wrong(
            "the scale, not its bytes",
            _block(head=lambda d: d.half()),
            "d stands beside the codes as a number. Two bytes are asked: d.half().view(torch.uint8).",
        ),
        Wrong(
            "the scale as bfloat16",
            _block(head=lambda d: d.bfloat16().view(torch.uint8)),
            "Two bytes, but of bfloat16. ggml's scales are fp16: d.half().",
        ),
    ],
    hints=[
        "Per block: find the weight of largest size, keep its sign, d = that / −8. Codes: w · (1 / d) + 8.5, cut off "
        "to a whole number, at most 15. A block of zeros has d = 0 (as 0 / −8 gives it) and all codes 8.",
        "Four weights 1, −2, 0.5, 0 : the largest is −2, so d = 0.25. w / d + 8.5 = 12.5, 0.5, 10.5, 8.5, codes "
        "12, 0, 10, 8. If 0 and 2, 1 and 3 share bytes, those are 0xac and 0x80. d.half().view(torch.uint8) gives "
        "d's two bytes.",
        "    top = w.gather(1, w.abs().argmax(dim=1, keepdim=True))\n    d = top / ____\n"
        "    inverse = torch.where(d == 0, 0.0, 1 / d)\n    q = (w * ____ + ____).to(torch.uint8).clamp(max=____)\n"
        "    return torch.cat([d.half().view(torch.uint8), q[:, :16] | ____ << 4], dim=1)",
    ],
    passed="These are llama.cpp's bytes. The cell below asks llama.cpp itself.",
)
