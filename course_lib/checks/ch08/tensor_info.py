"""ch08.tensor_info: the bytes that announce a tensor."""

import math
import struct

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def tensor_info(name, shape, type_id, offset):
    text = name.encode()
    out = len(text).to_bytes(8, "little") + text + len(shape).to_bytes(4, "little")
    for n in reversed(shape):
        out += n.to_bytes(8, "little")
    return out + type_id.to_bytes(4, "little") + offset.to_bytes(8, "little")


def _variant(order="little", length=8, dims=4, dim=8, offset_bytes=8, shape_of=lambda s: s[::-1], count=len,
             text=str.encode, type_first=False, name_length=len):  # fmt: skip
    """The reference with one thing changed."""

    def answer(name, shape, type_id, offset):
        def number(n, size):
            return (n % 2 ** (8 * size)).to_bytes(size, order)

        data = text(name)
        sizes = b"".join(number(n, dim) for n in shape_of(shape))
        kind, middle = number(type_id, 4), number(count(shape), dims) + sizes
        middle = kind + middle if type_first else middle + kind
        return number(name_length(data) if name_length is len else len(name), length) + data + middle + number(
            offset, offset_bytes)  # fmt: skip

    return answer


def _native(name, shape, type_id, offset):
    text = name.encode()
    dims = b"".join(struct.pack("Q", n) for n in reversed(shape))
    return (
        struct.pack("Q", len(text)) + text + struct.pack("I", len(shape)) + dims + struct.pack("@IQ", type_id, offset)
    )


def _zeros(name, shape, type_id, offset):
    """As many zeros as each number says."""
    dims = b"".join(bytes(n) for n in reversed(shape))
    return bytes(len(name.encode())) + name.encode() + bytes(len(shape)) + dims + bytes(type_id) + bytes(offset)


def _length(got, name, shape, type_id, offset):
    text = len(name.encode())
    right = 8 + text + 4 + 8 * len(shape) + 4 + 8
    told = f"8 + {text} (name) + 4 + {len(shape)} · 8 (dimensions) + 4 (type) + 8 (offset) = {right} bytes, yours are "
    return len(got) == right or f"{told}{len(got)}."


def _fields(got, name, shape, type_id, offset):
    text, at = name.encode(), 0
    wanted = [("length of the name", len(text), 8), ("name", text, len(text)), ("number of dimensions", len(shape), 4)]
    wanted += [(f"dimension {k} of {len(shape)}", n, 8) for k, n in enumerate(reversed(shape), 1)]
    wanted += [("type", type_id, 4), ("offset", offset, 8)]
    for what, value, size in wanted:
        piece, right = got[at : at + size], value if isinstance(value, bytes) else value.to_bytes(size, "little")
        if piece != right:
            shown = repr(name) if isinstance(value, bytes) else value
            return f"Bytes {at} to {at + size - 1} are the {what} ({shown}): {right.hex(' ')}. Yours: {piece.hex(' ')}."
        at += size
    return True


EXERCISE = Exercise(
    id="ch08.tensor_info",
    title="Announce a tensor",
    spec="tensor_info(name, shape, type_id, offset): the bytes of one tensor info; shape as PyTorch has it.",
    kind="build",
    stub='''
def tensor_info(name, shape, type_id, offset):
    """Name (length u64, bytes), number of dimensions u32, each u64, the row's length first, type u32, offset u64."""
    ...
''',
    reference=tensor_info,
    piece="tensor_info",
    cases=[
        Case("a vector", "n", (5,), 0, 0),
        Case("a matrix", "w", (2, 3), 1, 64),
        Case("a square", "w", (4, 4), 8, 32),
        Case("three dimensions", "e", (2, 3, 64), 8, 96),
        Case("a letter of two bytes", "größe", (2, 32), 8, 0),
        Case("a large file", "output.weight", (128256, 4096), 14, 2**60 + 32),
    ],
    properties=[
        law("as many bytes as it takes", _length, "Each field has a fixed size; only name and dimensions vary."),
        law("field by field", _fields, "In this order, without gaps."),
        equals_reference(why="These are exact bytes."),
    ],
    wrong=[
        Wrong(
            "dimensions as PyTorch has them",
            _variant(shape_of=tuple),
            "ggml writes the dimension that lies together in memory first: a (2, 3) matrix is 3, then 2.",
        ),
        Wrong(
            "only the last dimension moved",
            _variant(shape_of=lambda s: (s[-1], *s[:-1])),
            "The last dimension comes first, and then the last but one: shape[::-1] turns the whole order round.",
        ),
        Wrong(
            "one number for all dimensions",
            _variant(shape_of=lambda s: (math.prod(s),)),
            "The file keeps each dimension, not their product: how else would a reader know the rows?",
        ),
        Wrong(
            "zeros in place of numbers",
            _zeros,
            'bytes(5) is five zeros. The number 5 in eight bytes is (5).to_bytes(8, "little").',
        ),
        Wrong(
            "the offset before the type",
            lambda name, shape, type_id, offset: (
                tensor_info(name, shape, type_id, offset)[:-12]
                + offset.to_bytes(8, "little")
                + type_id.to_bytes(4, "little")
            ),
            "The order is: name, dimensions, type, offset. Your last two are swapped.",
        ),
        Wrong(
            "eight bytes for every number",
            lambda name, shape, type_id, offset: (
                _variant(dims=8)(name, shape, type_id, offset)[:-12]
                + type_id.to_bytes(8, "little")
                + offset.to_bytes(8, "little")
            ),
            "The number of dimensions and the type are u32: four bytes each. The others have eight.",
        ),
        Wrong(
            "big-endian",
            _variant(order="big"),
            'The largest byte stands first. Use to_bytes(size, "little").',
        ),
        Wrong(
            "a length in characters",
            _variant(name_length=None),
            "The length counts bytes, not characters: encode the name first, then measure.",
        ),
        Wrong(
            "a short length",
            _variant(length=4),
            "The length of a string has eight bytes.",
        ),
        Wrong(
            "short dimensions",
            _variant(dim=4),
            "Each dimension has eight bytes; only their number has four.",
        ),
        Wrong(
            "a long number of dimensions",
            _variant(dims=8),
            "The number of dimensions has four bytes. The dimensions themselves have eight.",
        ),
        Wrong(
            "a short offset",
            _variant(offset_bytes=4),
            "The offset has eight bytes: files grow beyond 4 GiB.",
        ),
        Wrong(
            "a zero at the end of the name",
            _variant(text=lambda name: name.encode() + b"\0"),
            "That is a C string. GGUF's have a length before them and nothing behind.",
        ),
        Wrong(
            "the type before the dimensions",
            _variant(type_first=True),
            "The order is: name, dimensions, type, offset.",
        ),
        Wrong(
            "always four dimensions",
            _variant(count=lambda shape: 4, shape_of=lambda s: (*s[::-1], 1, 1, 1, 1)[:4]),
            "Old formats filled up with ones. Here the number of dimensions is written, and only those follow.",
        ),
        Wrong(
            "struct with padding",
            _native,
            "Without a `<`, struct puts four bytes of padding between a u32 and a u64 behind it. Write `<IQ`.",
        ),
        Wrong(
            "the offset forgotten",
            lambda name, shape, type_id, offset: tensor_info(name, shape, type_id, offset)[:-8],
            "The last eight bytes are missing: after the type comes the offset, a u64.",
        ),
    ],
    hints=[
        'Put bytes together with +. A number n becomes bytes by n.to_bytes(size, "little"), a text by text.encode().',
        '"ab" is 02 00 00 00 00 00 00 00 61 62. The shape (2, 3) is 02 00 00 00 (two of them), then 3, then 2, in '
        "eight bytes each.",
        '    text = name.encode()\n    out = len(text).to_bytes(____, "little") + text + ____\n'
        '    for n in ____:\n        out += n.to_bytes(____, "little")\n    return out + ____ + ____',
    ],
    passed="An offset counts from where the data begin, not from the file's first byte: so infos can be written first.",
)
