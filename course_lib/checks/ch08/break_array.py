"""ch08.break_array: a reader that holds a count against the bytes that are left, in 64 bits."""

from course_lib.checks import Wrong
from course_lib.checks.breaks import break_exercise

SIZES = {0: 1, 4: 4, 10: 8}  # GGUF's number of a type -> bytes of a u8, a u32, a u64


def values(data):
    """How many values an array holds: type u32, count u64, values. Promise: it refuses what data cannot hold."""
    kind, n = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:12], "little")
    size = {0: 1, 4: 4, 10: 8}.get(kind)  # bytes of a u8, a u32, a u64
    left = len(data) - 12
    if size is None or n * size % 2**64 > left:  # u64, as in C
        raise ValueError("not an array, or one that ends beyond the file")
    return n  # the reader makes room for so many


def right(data):
    """The same, by a division, which cannot overflow."""
    size = SIZES.get(_kind(data))
    left = len(data) - 12
    if left < 0 or size is None or _count(data) > left // size:
        raise ValueError("not an array, or one that ends beyond the file")
    return _count(data)


def _kind(data):
    return int.from_bytes(data[:4], "little")


def _count(data):
    return int.from_bytes(data[4:12], "little")


def trial(program, data):
    """(kept?, whether it refused, or for how many values it would make room)."""
    try:
        n = program(data)
    except ValueError:
        return True, "it is refused"
    size, left = SIZES[_kind(data)], len(data) - 12
    told = f"room is made for {n:,} value{'s' * (n != 1)} of {size} byte{'s' * (size > 1)}, and {left} bytes are there"
    return n * size <= left, told


def legal(data):
    """True, or what is wrong with the bytes."""
    return len(data) <= 64 or f"You hand in {len(data)} bytes. Allowed are up to 64."


def _array(kind, count, rest=b"", order="little"):
    return kind.to_bytes(4, order) + count.to_bytes(8, order) + rest


def _turned(data):
    return len(data) == 12 and int.from_bytes(data[:8], "little") >= 2**61 and _kind(data[8:]) in SIZES


def _count_turned(data):
    return int.from_bytes(data[4:12], "big") * SIZES[_kind(data)] in (2**64, 2**65, 2**66)


def _type_of_eight(data):
    return len(data) == 16 and _kind(data) in SIZES and not any(data[4:8]) and _count(data[4:]) >= 2**40


def _needs(data):
    return _count(data) * SIZES[_kind(data)]


EXERCISE = break_exercise(
    id="ch08.break_array",
    title="Break it: a count from a stranger",
    spec="array: the fewest bytes for which the program makes room for more values than they can hold.",
    program=values,
    right=right,
    trial=trial,
    legal=legal,
    name="array",
    asked="bytes: type, count and values, as few as you can",
    answer='(4).to_bytes(4, "little") + (2**62).to_bytes(8, "little")  # u32: 2**62 * 4 bytes are 2**64, which is 0',
    unit="bytes",
    wrong=[
        Wrong(
            "cut before the count ends",
            _array(4, 2**62)[:11],
            "Type and count alone take 12 bytes. With fewer, `left` is below 0, and everything is more than that.",
            like=lambda data: len(data) < 12,
        ),
        Wrong(
            "a count in digits",
            _array(4, 0)[:4] + b"4611686018427387904",
            'A count is one number in eight bytes, not its digits as text: `(2**____).to_bytes(8, "little")`.',
            like=lambda data: len(data) > 12 and data[4:].isdigit(),
        ),
        Wrong(
            "a type of eight bytes",
            (4).to_bytes(8, "little") + (2**62).to_bytes(8, "little"),
            "The type is a u32, four bytes. You wrote eight, and the last four are read as the count's first.",
            like=_type_of_eight,
        ),
        Wrong(
            "an honest array",
            _array(0, 2, b"ab"),
            "The count says what is there. Nothing is wrong with it.",
            like=lambda data: _kind(data) in SIZES and _needs(data) <= len(data) - 12,
        ),
        Wrong(
            "the type the wrong way round",
            _array(4, 2**62, order="big")[:4] + _array(4, 2**62)[4:],
            "The type's lowest byte comes first: 4 is 04 00 00 00. Read little-endian, yours is in the millions.",
            like=lambda data: 0 < int.from_bytes(data[:4], "big") in SIZES,
        ),
        Wrong(
            "the count before the type",
            _array(4, 2**62)[4:] + _array(4, 2**62)[:4],
            "The first 4 bytes are the type, the next 8 the count. What you meant as a count is read as a type.",
            like=_turned,
        ),
        Wrong(
            "a type that it does not know",
            _array(9, 2**62),
            "The program refuses types that it has no size for. It knows 0, 4 and 10.",
            like=lambda data: _kind(data) not in SIZES,
        ),
        Wrong(
            "wrapped, but not to little enough",
            _array(4, 2**62 + 1),
            "The product wraps round, and what is left of it is still more than the bytes that follow. Let nothing be "
            "left.",
            like=lambda data: _needs(data) >= 2**64,
        ),
        Wrong(
            "one byte each",
            _array(0, 2**64 - 1),
            "Times 1 a count stays what it is: 64 bits hold it, however large. Take a type of more bytes.",
            like=lambda data: _kind(data) == 0,
        ),
        Wrong(
            "the count the wrong way round",
            _array(4, 2**62)[:4] + (2**62).to_bytes(8, "big"),
            "Read little-endian, your count is a small number. The largest byte comes last.",
            like=_count_turned,
        ),
        Wrong(
            "more than there is, and refused",
            _array(4, 2**40),
            "That is more than there is, and the program says so. Its check multiplies: which product is wrong?",
            like=lambda data: True,
        ),
        Wrong(
            "a whole file",
            b"GGUF" + bytes(100),
            "Only the array is asked: its type, its count, and its values, if it has any.",
        ),
        Wrong(
            "more than it takes",
            _array(4, 2**62, bytes(4)),
            "This breaks it. Must there be any values at all?",
        ),
    ],
    hints=[
        "The check multiplies n by the size and keeps 64 bits. For which n is the product, cut to 64 bits, small?",
        "Smaller: with 8 bits, 64 · 4 = 256 is 0, and 65 · 4 is 4. So a count of 64 u32 passes for no bytes at all. "
        "What are the bytes of the type, what those of the count, little-endian?",
        'array = (____).to_bytes(4, "little") + (2**____).to_bytes(8, "little")',
    ],
    passed="Hold the count against left // size: a division cannot overflow. Python's numbers cannot, either; C's can.",
)
