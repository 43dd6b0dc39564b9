"""ch08.header: the first bytes of a GGUF file, read by hand."""

import struct

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def header(data):
    def number(at, size):
        return int.from_bytes(data[at : at + size], "little")

    if data[:4] != b"GGUF":
        return None
    name = data[32 : 32 + number(24, 8)]
    return number(4, 4), number(8, 8), number(16, 8), name.decode()


def _file(version, tensors, keys, name, magic=b"GGUF"):
    """The first bytes of such a file: header, first key, and the begin of its value (type 8, a string of 5 bytes)."""
    text = name.encode()
    numbers = ((version, 4), (tensors, 8), (keys, 8), (len(text), 8))
    head = magic + b"".join(n.to_bytes(size, "little") for n, size in numbers)
    return head + text + b"\x08\0\0\0\x05\0\0\0\0\0\0\0llama"


def _variant(order="little", counts=8, places=(4, 8, 16), name=lambda data, size: data[32 : 32 + size], magic=True):
    """The reference with one thing changed."""

    def answer(data):
        def number(at, size):
            return int.from_bytes(data[at : at + size], order)

        if magic and data[:4] != b"GGUF":
            return None
        version, tensors, keys = places
        text = name(data, number(24, 8)).decode("utf-8", "replace")
        return number(version, 4), number(tensors, counts), number(keys, counts), text

    return answer


def _native(data):
    """What struct.unpack makes of "IQQQ" without a "<": eight bytes are aligned to eight."""
    if data[:4] != b"GGUF":
        return None
    version, tensors, keys, size = struct.unpack_from("@IQQQ", data, 4)
    return version, tensors, keys, data[32 : 32 + size].decode("utf-8", "replace")


def _until_zero(data):
    if data[:4] != b"GGUF":
        return None
    end = data.find(b"\0", 32)
    return header(data)[:3] + (data[32:end].decode("utf-8", "replace"),)


def _one_byte(data):
    if data[:4] != b"GGUF":
        return None
    return data[4], data[8], data[16], data[32 : 32 + data[24]].decode("utf-8", "replace")


def _characters(data, size):
    return data[32:].decode("utf-8", "replace")[:size].encode()


def _packed(data):
    """Version, counts and length, each in four bytes, one behind the other."""
    if data[:4] != b"GGUF":
        return None
    version, tensors, keys, size = (int.from_bytes(data[4 * k : 4 * k + 4], "little") for k in (1, 2, 3, 4))
    return version, tensors, keys, data[20 : 20 + size].decode("utf-8", "replace")


def _a_gguf_file_or_none(got, data):
    if data[:4] == b"GGUF":
        return got is not None or "These bytes begin with GGUF."
    return got is None or f"These bytes begin with {data[:4]!r}, not with GGUF: the answer is None."


def _numbers(got, data):
    if data[:4] != b"GGUF":
        return True
    for what, mine, right, at, size in zip(("version", "number of tensors", "number of keys"), got, header(data),
                                           (4, 8, 16), (4, 8, 8), strict=False):  # fmt: skip
        if mine != right:
            return f"The {what} stands in bytes {at} to {at + size - 1}, {data[at : at + size].hex(' ')}: {right}."
    return True


def _name(got, data):
    if data[:4] != b"GGUF" or got[3] == header(data)[3]:
        return True
    size = int.from_bytes(data[24:32], "little")
    return f"From byte 24 on: {data[24:32].hex(' ')}, so the name has {size} of them. They say {header(data)[3]!r}."


EXERCISE = Exercise(
    id="ch08.header",
    title="Read a header",
    spec="header(data): (version, tensors, keys, name of the first key) of a GGUF file's first bytes, else None.",
    kind="build",
    stub='''
def header(data):
    """(version, number of tensors, number of keys, first key as text) of a GGUF file; None if it is none."""
    ...
''',
    reference=header,
    piece="header",
    cases=[
        Case("a small file", _file(3, 2, 1, "a")),
        Case("version 2", _file(2, 5, 7, "general.architecture")),
        Case("more than a byte holds", _file(3, 291, 300, "general.name")),
        Case("a letter of two bytes", _file(3, 1, 2, "größe")),
        Case("a count of more than four bytes", _file(3, 2**32 + 5, 2**33 + 1, "x.y")),
        Case("the format before", _file(3, 1, 1, "a", magic=b"tjgg")),  # "ggjt" as a number
        Case("another file", b"\x89PNG\r\n\x1a\n" + bytes(64)),
    ],
    properties=[
        law("None for what is no GGUF file", _a_gguf_file_or_none, "The first four bytes say so: the magic."),
        law("version and counts", _numbers, "Little-endian: the first byte is the smallest. Counts have eight bytes."),
        law("the name of the first key", _name, "A length of eight bytes, then so many bytes of UTF-8."),
        equals_reference(why="These are exact numbers."),
    ],
    wrong=[
        Wrong(
            "big-endian",
            _variant(order="big"),
            'You read the largest byte first. GGUF is little-endian: int.from_bytes(…, "little").',
        ),
        Wrong(
            "four bytes for everything",
            _packed,
            "The version has four bytes, but counts and lengths have eight. So the keys are counted from byte 16 on.",
        ),
        Wrong(
            "only half of each count",
            _variant(counts=4),
            "You read four of the eight bytes of a count. Right for every file that you will meet, but one.",
        ),
        Wrong(
            "one byte of each number",
            _one_byte,
            "You read one byte of each number. That is enough up to 255; int.from_bytes takes all of them.",
        ),
        Wrong(
            "keys before tensors",
            _variant(places=(4, 16, 8)),
            "The number of tensors comes first, then that of keys. (The keys themselves come before the tensors.)",
        ),
        Wrong(
            "the magic not looked at",
            _variant(magic=False),
            "You believed the first four bytes. A file that does not begin with GGUF has no version.",
        ),
        Wrong(
            "up to a zero byte",
            _until_zero,
            "GGUF's strings have no zero at their end: eight bytes before them say how long they are.",
        ),
        Wrong(
            "a length in characters",
            _variant(name=_characters),
            "The length counts bytes, and ö has two of them. Cut the bytes first, then decode.",
        ),
        Wrong(
            "the length read as text",
            _variant(name=lambda data, size: data[24 : 24 + size]),
            "Bytes 24 to 31 are the length of the name. The name begins after them, at byte 32.",
        ),
        Wrong(
            "struct with padding",
            _native,
            "Without a `<`, struct aligns each number to its size and skips bytes that GGUF does not have: `<IQQQ`.",
        ),
        Wrong(
            "always twenty bytes",
            _variant(name=lambda data, size: data[32:52]),
            "Twenty letters are right for the chapter's file. Bytes 24 to 31 say how many they are in this one.",
        ),
        Wrong(
            "the name that the chapter's file has",
            lambda data: header(data) and (*header(data)[:3], "general.architecture"),
            "You answer what the chapter's file says. Read it in this one: bytes 24 to 31 are its length.",
        ),
        Wrong(
            "the name as Python prints bytes",
            lambda data: header(data) and (*header(data)[:3], str(header(data)[3].encode())),
            "str(data) writes b'…' around it. data.decode() makes a text of bytes.",
        ),
        Wrong(
            "the name as bytes",
            lambda data: data[:4] == b"GGUF" and (*header(data)[:3], header(data)[3].encode()) or None,
            "The name is a text: `.decode()` makes one of its bytes.",
        ),
    ],
    hints=[
        "Cut the bytes: 4 magic, 4 version, 8 tensors, 8 keys, 8 length of a name, and then the name.",
        'b"\\x02\\x01" is 2 + 256·1 = 258 in little-endian: int.from_bytes(b"\\x02\\x01", "little"). '
        'b"\\xc3\\xb6".decode() is "ö".',
        '    if data[:4] != ____:\n        return None\n    version = int.from_bytes(data[____:____], "little")\n'
        "    …\n    return version, tensors, keys, data[____:____ + size].decode()",
    ],
    passed="That is how every reader begins, llama.cpp's included.",
)
