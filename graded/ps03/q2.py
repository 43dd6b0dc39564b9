"""ps03.q2: one code, please"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def peek(words, bits, index):
    """Code number `index` of a dense stream of codes in int32 words (n,), the lowest bit first; a Python int."""
    at, shift = divmod(index * bits, 32)
    stream = int(words[at]) & 0xFFFFFFFF
    if shift + bits > 32:
        stream |= (int(words[at + 1]) & 0xFFFFFFFF) << 32
    return (stream >> shift) & (2**bits - 1)


def _stream(codes, bits):
    """Words of the dense stream, made from one large Python integer."""
    whole = sum(code << (i * bits) for i, code in enumerate(codes))
    count = math.ceil(len(codes) * bits / 32)
    return torch.tensor([_signed(whole >> (32 * i) & 0xFFFFFFFF) for i in range(count)], dtype=torch.int32)


def _signed(word):
    return word - 2**32 if word >= 2**31 else word


def _one_word(words, bits, index):
    at, shift = divmod(index * bits, 32)
    return (int(words[at]) & 0xFFFFFFFF) >> shift & (2**bits - 1)


def _sign_extended(words, bits, index):
    at, shift = divmod(index * bits, 32)
    code = int(words[at]) >> shift
    if shift + bits > 32:
        code |= int(words[at + 1]) << (32 - shift)
    return code & (2**bits - 1)


def _whole_codes_a_word(words, bits, index):
    at, place = divmod(index, 32 // bits)
    return (int(words[min(at, len(words) - 1)]) & 0xFFFFFFFF) >> (bits * place) & (2**bits - 1)


def _highest_first(words, bits, index):
    whole = 0
    for word in words:
        whole = whole << 32 | (int(word) & 0xFFFFFFFF)
    return whole >> (32 * len(words) - bits * (index + 1)) & (2**bits - 1)


def _seam_reversed(words, bits, index):
    at, shift = divmod(index * bits, 32)
    if shift + bits <= 32:
        return _one_word(words, bits, index)
    over = shift + bits - 32
    low, high = (int(w) & 0xFFFFFFFF for w in (words[at], words[at + 1]))
    return (low >> shift) << over | (high & (2**over - 1))


def _seam(seed, bits, first_negative):
    """Cases of codes across two words, the first of which is negative as int32 or not."""
    generator, cases = torch.Generator().manual_seed(seed), []
    at = next(i for i in range(64) if (i * bits) % 32 + bits > 32)
    while len(cases) < 3:
        codes = torch.randint(0, 2**bits, (32,), generator=generator).tolist()
        words = _stream(codes, bits)
        code, low = codes[at], 32 - at * bits % 32
        parts = code & (2**low - 1), code >> low
        if (words[0] < 0) == first_negative and parts[0] and parts[1] != 2 ** (bits - low) - 1:
            others = [_seam_reversed] + [_without_sign] * (first_negative or bits > 3)
            telling = all(other(words, bits, at) != code for other in others)
            if telling and (bits == 3 or code > 7):
                cases.append(Case(f"code {at} of {bits} bits ({len(cases)})", words, bits, at))
    return cases


NAMES = ("a code inside one word", "a code across two words", "across two words, the first one negative",
         "other widths, and the last code")  # fmt: skip


def _joined(words, bits, index, second=lambda at, over: over > 0, shift_in=None, clean=0xFFFFFFFF, mask=True):
    at, shift = divmod(index * bits, 32)
    code = (int(words[at]) & clean) >> shift
    if second(at, shift + bits - 32):
        code |= (int(words[at + 1]) & clean) << (32 - shift if shift_in is None else shift_in(shift, bits))
    return code & (2**bits - 1) if mask else code


def _without_sign(words, bits, index):
    return _joined(words.long().abs(), bits, index)


def _peek_second(words, bits, index):
    at, shift = divmod(index * bits, 32)
    stream = int(words[at]) & 0xFFFFFFFF
    if shift + bits > 32:
        stream |= (int(words[1]) & 0xFFFFFFFF) << 32
    return (stream >> shift) & (2**bits - 1)


WRONG = [
    Mistake(
        "one word only",
        _one_word,
        "A code may begin in one word and end in the next: fetch that one, too.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "sign extended",
        _sign_extended,
        "A negative int32 brings ones from the left: clear them with & 0xFFFFFFFF before you join two words.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "whole codes a word",
        _whole_codes_a_word,
        "This stream has no gaps: code 10 of 3 bits begins at bit 30, not in a new word.",
        loses=NAMES,
    ),
    Mistake(
        "highest bit first",
        _highest_first,
        "The first code lies in the lowest bits of the first word.",
        loses=NAMES,
    ),
    Mistake(
        "the parts the wrong way round",
        _seam_reversed,
        "Of a code across two words the first word holds the low bits, the second one the high bits.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "always three bits",
        lambda words, bits, index: peek(words, bits, index) & 7,
        "The mask is 2^bits − 1.",
        loses=NAMES[1:],
    ),
    Mistake(
        "always two words",
        lambda *a: _joined(*a, second=lambda at, over: True),
        "Fetch the second word only where the code reaches into it: behind the last word there is none.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a second word although the first one is enough",
        lambda *a: _joined(*a, second=lambda at, over: over >= 0),
        "A code that ends with the last bit of its word has nothing in the next: > 32, not ≥.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the second part moved by what it holds",
        lambda *a: _joined(*a, shift_in=lambda shift, bits: shift + bits - 32),
        "The second word's bits go above those from the first, of which there are 32 − shift.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "counted from one",
        lambda words, bits, index: peek(words, bits, index - 1),
        "Code 0 is the first: it begins at bit index · b.",
        loses=NAMES,
    ),
    Mistake(
        "no mask",
        lambda *a: _joined(*a, mask=False),
        "What stands above the code in its word must go: & (2^bits − 1).",
        loses=NAMES[:3],
    ),
    Mistake(
        "the sign taken off",
        _without_sign,
        "The magnitude of a negative word has other bits: & 0xFFFFFFFF gives the bits themselves, abs does not.",
        loses=NAMES,
    ),
    Mistake(
        "always the second word",
        _peek_second,
        "The rest of a code stands in the word after its own, words[at + 1].",
        loses=NAMES[1:2],
    ),
]


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(1, 8, (64,), generator=generator).tolist()
    codes[4:8], codes[10:12], codes[30:32], codes[42], codes[53] = [5, 6, 1, 4], [2, 3], [6, 1], 5, 2
    inside = [Case(f"code {i} of 3 bits", _stream(codes, 3), 3, i) for i in (4, 7, 30, 37)]
    last = []
    for bits, n in ((2, 48), (4, 24), (5, 46), (6, 50), (8, 21)):
        top = 2**bits - 1
        more = torch.randint(1, top, (n,), generator=generator).tolist()
        more[-1] = top - 1 if bits < 4 else top - 4
        last.append(Case(f"the last of {n} codes of {bits} bits", _stream(more, bits), bits, n - 1))
    plus = _seam(seed + 1, 3, False) + _seam(seed + 2, 5, False)
    plus.append(Case("one bit in the fifth word", _stream(codes, 3), 3, 42))
    minus = _seam(seed + 3, 3, True) + _seam(seed + 4, 6, True)
    return question(
        "ps03.q2",
        "One code, please",
        "peek(words, bits, index) reads bits index·b … index·b + b − 1 of the stream, the lowest bit first.",
        peek,
        properties=[
            agrees(NAMES[0], inside, "Which word, which shift, which mask."),
            agrees(NAMES[1], plus, "32 is no multiple of 3: the rest opens the next word."),
            agrees(NAMES[2], minus, "A word of int32 is a sign and 31 bits to Python."),
            agrees(NAMES[3], last, "There is no word after the last one."),
        ],
        wrong=WRONG,
    )
