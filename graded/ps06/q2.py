"""ps06.q2: a value that lies"""

import struct

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def read_value(data, at, deepest):
    """The type and value of a key, from this byte on, as {"value", "end"}; None where they cannot be true."""

    def number(at, size):
        if size > len(data) - at:
            raise ValueError("cut off")
        return int.from_bytes(bytes(data[at : at + size].tolist()), "little"), at + size

    def value(kind, at, depth):
        if kind == 4:
            return number(at, 4)
        if kind == 8:
            size, at = number(at, 8)
            if size > len(data) - at:
                raise ValueError("cut off")
            return bytes(data[at : at + size].tolist()).decode(), at + size
        if kind != 9 or depth == deepest:
            raise ValueError("an unknown type, or too deep")
        kind, at = number(at, 4)
        n, at = number(at, 8)
        if kind not in (4, 8, 9) or n > len(data) - at:  # every item takes at least a byte
            raise ValueError("more items than bytes")
        items = []
        for _ in range(n):
            item, at = value(kind, at, depth + 1)
            items.append(item)
        return items, at

    try:
        kind, at = number(at, 4)
        found, end = value(kind, at, 0)
        return {"value": found, "end": end}
    except ValueError:
        return None


def _read(data, at, deepest, order="little", length=8, count="items", again=False, end=lambda at, first: at,
          short_text=False, short_list=False, deep=True, start=0, known=True, signed=False, kinds=4):  # fmt: skip
    """The reference with one part changed."""
    first, data = at, bytes(data.tolist())

    def number(at, size):
        if size > len(data) - at:
            raise ValueError
        return int.from_bytes(data[at : at + size], "little", signed=signed and size == 8), at + size

    def value(kind, at, depth):
        if kind == 4:
            found, after = number(at, 4)
            return int.from_bytes(found.to_bytes(4, "little"), order), after
        if kind == 8:
            size, at = number(at, length)
            if size > len(data) - at and not short_text:
                raise ValueError
            return data[at : at + size].decode("utf-8", "replace"), min(at + size, len(data))
        if kind != 9 or deep and depth == deepest:
            raise ValueError
        kind, at = number(at, kinds)
        n, at = number(at, 8)
        if known and kind not in (4, 8, 9):
            raise ValueError
        items, stop = [], at + n
        for _ in range(n if count == "items" else len(data)):
            if count == "bytes" and at >= stop:
                break
            try:
                if again and items:
                    kind, at = number(at, 4)
                item, at = value(kind, at, depth + 1)
            except ValueError:
                if short_list:
                    break
                raise
            items.append(item)
        return items, at

    try:
        kind, at = number(at, 4)
        found, at = value(kind, at, start)
        return {"value": found, "end": end(at, first)}
    except ValueError:
        return None


NAMES = ("numbers and strings", "arrays", "arrays within arrays", "lies, beside the truth")

WRONG = [
    Mistake(
        "values from the large end",
        lambda *a: _read(*a, order="big"),
        "GGUF is little-endian: 01 00 00 00 is 1, as a value as well as in a length.",
        loses=NAMES,
    ),
    Mistake(
        "a string's length in four bytes",
        lambda *a: _read(*a, length=4),
        "The length of a string is a u64: eight bytes.",
        loses=(NAMES[0], NAMES[1], NAMES[2], NAMES[3]),
    ),
    Mistake(
        "n taken for bytes",
        lambda *a: _read(*a, count="bytes"),
        "The number behind an array's type counts items, not bytes.",
        loses=NAMES[1:],
    ),
    Mistake(
        "a type before every item",
        lambda *a: _read(*a, again=True),
        "An array states the type of its items once; only arrays within it bring one of their own.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the length in place of the end",
        lambda *a: _read(*a, end=lambda at, first: at - first),
        "`end` is the byte behind the value, counted from the beginning of data like `at`.",
        loses=NAMES,
    ),
    Mistake(
        "a string cut short",
        lambda *a: _read(*a, short_text=True),
        "A slice beyond the end gives what is there and says nothing. Compare the length with what is left first.",
        loses=NAMES[3:],
    ),
    Mistake(
        "an array cut short",
        lambda *a: _read(*a, short_list=True),
        "An array that stops before its n items is a lie: None, not the items so far.",
        loses=NAMES[3:],
    ),
    Mistake(
        "as deep as it goes",
        lambda *a: _read(*a, deep=False),
        "A few bytes a level make a program recurse until it dies. Refuse what is deeper than `deepest`.",
        loses=NAMES[3:],
    ),
    Mistake(
        "one level too few",
        lambda *a: _read(*a, start=1),
        "An array of numbers is one deep. With deepest = 2 an array of such arrays is still allowed.",
        loses=NAMES[1:],
    ),
    Mistake(
        "unknown types in empty arrays",
        lambda *a: _read(*a, known=False),
        "Nothing is known of type 77, so an empty array of it is no value either. Look at the type before the items.",
        loses=NAMES[3:],
    ),
    Mistake(
        "lengths with a sign",
        lambda *a: _read(*a, signed=True),
        "A length of 2^64 − 8, read with a sign, is −8: it passes every test for too large, and moves backwards.",
        loses=NAMES[3:],
    ),
    Mistake(
        "an array's type in eight bytes",
        lambda *a: _read(*a, kinds=8),
        "A type is a u32 wherever it stands; only lengths and counts are u64.",
        loses=NAMES[1:],
    ),
]


def _number(n):
    return struct.pack("<II", 4, n)


def _string(text, lie=0):
    data = text.encode()
    return struct.pack("<IQ", 8, len(data) + lie) + data


def _array(kind, *items, n=None):
    """An array of values as the functions here write them, without the type that each begins with."""
    return struct.pack("<IIQ", 9, kind, len(items) if n is None else n) + b"".join(item[4:] for item in items)


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    def word():
        return "".join("abcdefgß°é"[draw(0, 10)] for _ in range(draw(2, 7)))

    def case(name, value, deepest=3, after=None):
        """The value somewhere in a file: bytes before it, bytes behind."""
        before = bytes(draw(0, 256) for _ in range(draw(1, 9)))
        behind = bytes(draw(0, 256) for _ in range(draw(3, 9))) if after is None else after
        return Case(name, torch.tensor([*before, *value, *behind], dtype=torch.uint8), len(before), deepest)

    numbers = [_number(draw(2**20, 2**31)) for _ in range(6)]
    strings = [_string(word()) for _ in range(5)]
    plain = [
        case("a number", numbers[0]),
        case("a string", strings[0]),
        case("a string at the very end", strings[1], after=b""),
        case("an empty string", _string("")),
    ]
    arrays = [
        case("two numbers", _array(4, *numbers[:2]), 1),
        case("three strings", _array(8, *strings[:3])),
        case("an array of nothing", _array(8), 1),
        case("five numbers, to the end", _array(4, *numbers[:5]), after=b""),
    ]
    pair, texts = _array(4, *numbers[:2]), _array(8, *strings[3:])
    nested = [
        case("two arrays in an array", _array(9, pair, texts), 2),
        case("three deep", _array(9, _array(9, pair), _array(9, texts, pair), _array(9)), 3, after=b""),
        case("strings and numbers", _array(9, texts, _array(4), pair), 4),
    ]
    lies = [
        case("deeper than allowed", _array(9, _array(9, pair)), 2),
        case("but not deeper than this", _array(9, _array(9, pair)), 3),
        case("a string beyond the end", _string(word(), lie=40), after=b"abc"),
        case("a string of 2^63 bytes", struct.pack("<IQ", 8, 2**63)),
        case("a length of −8", _array(4, numbers[0], n=2**64 - 8)),
        case("a million items", _array(4, *numbers[:2], n=10**6)),
        case("one item too many", _array(4, *numbers[:3], n=4), after=b""),
        case("2^60 arrays", _array(9, pair, n=2**60)),
        *(case(f"an unknown type, {kind}", struct.pack("<II", kind, 1)) for kind in (3, 13)),
        case("a string of two bytes more than are left", _string(word(), lie=2), after=b""),
        case("no items of an unknown type", _array(77)),
        case("an array of strings, one too long", _array(8, strings[0], _string(word(), lie=99)), after=b""),
        case("nothing but a type", struct.pack("<I", 4), after=b"\0\0"),
    ]
    return question(
        "ps06.q2",
        "A value that lies",
        "read_value(data, at, deepest): a u32, a string or an array of a GGUF key; None where it cannot be true.",
        read_value,
        properties=[
            agrees(NAMES[0], plain, "A u32, or a u64 length and so many bytes."),
            agrees(NAMES[1], arrays, "Item type u32, number of items u64, the items."),
            agrees(NAMES[2], nested, "An item of type 9 brings its own type and number."),
            agrees(NAMES[3], lies, "Believe no length before it is held against the bytes that are left."),
        ],
        wrong=WRONG,
    )
