"""The wire between sandbox and grader: plain values come back bit for bit, and no bytes do anything but be refused."""

import ast
import datetime
import math
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.checks.plain import same_bits
from course_lib.grading.inside import wire
from course_lib.grading.inside.wire import Refused, decode, encode

WIDE = st.integers(-(2**1000) + 1, 2**1000 - 1)
PLAIN = st.none() | st.booleans() | WIDE | st.floats() | st.text(max_size=20)
NESTED = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(NESTED)
def test_plain_values_come_back_as_they_were(value):
    assert same_bits(decode(encode(value)), value)


def test_what_json_would_change_stays():
    value = (2**53 + 1, -(2**64), True, 1, 1.0, math.nan, -math.inf, -0.0, (), [], {"a": (1,)}, "ü\n\0", None)
    back = decode(encode(value))
    assert [type(v) for v in back] == [type(v) for v in value] and same_bits(back, value)
    assert math.copysign(1, back[7]) == -1


def arrays_of(shape, n_bytes, data):
    return data.draw(st.binary(min_size=n_bytes * math.prod(shape), max_size=n_bytes * math.prod(shape)))


@pytest.mark.parametrize("dtype", wire.TORCH, ids=str)
@given(SHAPES, st.data())
def test_tensors_of_every_dtype_bit_for_bit(dtype, shape, data):
    raw = torch.tensor(list(arrays_of(shape, dtype.itemsize, data)), dtype=torch.uint8)
    raw = raw % 2 if dtype == torch.bool else raw
    tensor = raw.view(dtype).reshape(shape) if raw.numel() else torch.empty(shape, dtype=dtype)
    assert same_bits(decode(encode(tensor)), tensor)


@pytest.mark.parametrize("dtype", wire.NUMPY, ids=str)
@given(SHAPES, st.data())
def test_arrays_of_every_dtype_bit_for_bit(dtype, shape, data):
    raw = np.frombuffer(arrays_of(shape, dtype.itemsize, data), np.uint8)
    raw = raw % 2 if dtype == np.bool_ else raw
    array = raw.astype(np.uint8).view(dtype).reshape(shape) if raw.size else np.empty(shape, dtype)
    assert same_bits(decode(encode(array)), array)


def test_the_exercises_need_no_other_dtype():
    names = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64"
    names += " float8_e4m3fn float8_e5m2 float8_e8m0fnu"
    assert {getattr(torch, name) for name in names.split()} <= set(wire.TORCH)


def test_views_strides_gradients_and_byte_orders_are_only_values():
    w = torch.arange(12.0).reshape(3, 4)
    for tensor in (w.T, w[:, ::2], w[1], w.clone().requires_grad_(), torch.nn.Parameter(w), w.expand(2, 3, 4)):
        assert same_bits(decode(encode(tensor)), tensor.detach().clone())
    assert decode(encode(np.arange(3, dtype=">i4"))).tolist() == [0, 1, 2]
    assert decode(encode(torch.tensor([1 + 2j]).conj())).tolist() == [1 - 2j]


def test_numbers_and_containers_of_libraries_become_plain_ones():
    for value, want in [
        (np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (torch.Size([2, 3]), (2, 3)),
    ]:  # fmt: skip
        back = decode(encode(value))
        assert back == want and type(back) is type(want)


class Liar(list):
    """Says that it holds two items."""

    def __len__(self):
        return 2


def test_subclasses_are_read_by_their_base():
    assert decode(encode(Liar([1, 2, 3]))) == [1, 2, 3]


@pytest.mark.parametrize(
    "value",
    [
        object(), {1, 2}, range(3), b"bytes", 1j, {1: 2}, datetime.date(2026, 1, 1), lambda: 0, torch.float32, ...,
        2**1000, "x" * 500_000, np.array(["a"]), np.array([object()]), np.longdouble(1), torch.eye(2).to_sparse(),
        torch.empty(2, device="meta"), torch.empty(1).expand(2**25), np.broadcast_to(0.0, (2**25,)), [0] * 300_000,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_nothing_else_is_sent(value):
    with pytest.raises(Refused):
        encode(value)


def test_deep_and_circular_values_are_refused():
    loop = []
    loop.append(loop)
    deep = 0
    for _ in range(100):
        deep = (deep,)
    for value in (loop, deep):
        with pytest.raises(Refused, match="deep"):
            encode(value)


# ---- the reader, against bytes that nobody should believe


def read(data):
    """Decode or refuse; anything else is a failure of the reader."""
    try:
        return decode(data)
    except Refused as refused:
        return refused


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(data):
    read(data)


@given(NESTED, st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 3))
def test_damaged_messages_are_a_value_or_refused(value, at, byte, kind):
    data = bytearray(encode((value, torch.arange(3), np.zeros((2, 2)))))
    at %= len(data)
    if kind == 0:
        data[at] = byte
    elif kind == 1:
        del data[at]
    elif kind == 2:
        data.insert(at, byte)
    else:
        del data[at:]
    read(bytes(data))


@pytest.mark.parametrize("tag", ["s", "t", "l", "m"])
@pytest.mark.parametrize("count", [2**32 - 1, 2**31, 10**6])
def test_a_declared_count_is_not_believed(tag, count):
    with pytest.raises(Refused):
        decode(tag.encode() + struct.pack("<I", count) + b"N" * 100)


def array(code=8, shape=(2,), content=b"", tag=b"A"):
    return tag + bytes([code, len(shape)]) + b"".join(struct.pack("<Q", n) for n in shape) + content


@pytest.mark.parametrize(
    "data",
    [
        array(shape=(2**62,)), array(shape=(2**32, 2**32)), array(shape=(0, 2**63)), array(shape=(2**63, 0)),
        array(shape=(1,) * 17, content=b"\0" * 4), array(code=200, content=b"\0" * 8), array(content=b"\0" * 7),
        array(content=b"\0" * 9), array(code=0, content=b"\0\2"), array(code=0, content=b"\1\xff", tag=b"a"),
        b"i\xff" + b"\1" * 255, b"i\0", b"i\x7e" + b"\x7f" * 126, b"d\0", b"", b"N" * 2, b"Z", b"s\1\0\0\0",
        b"t\1\0\0\0" * 1000, pickle.dumps(1),
    ],
    ids=lambda data: repr(bytes(data[:12])),
)  # fmt: skip
def test_impossible_values_are_refused(data):
    with pytest.raises(Refused):
        decode(data)


def test_many_tiny_values_are_refused_before_they_fill_the_memory():
    with pytest.raises(Refused, match="too many"):
        decode(b"l" + struct.pack("<I", 10**6) + b"N" * 10**6)


@given(st.binary(min_size=wire.HEADER.size, max_size=wire.HEADER.size))
def test_a_header_is_ours_and_within_the_limit_or_refused(data):
    try:
        length = wire.body_bytes(data)
    except Refused:
        return
    assert data.startswith(wire.MAGIC) and 0 < length <= wire.MAX_BYTES


@pytest.mark.parametrize("length", [0, wire.MAX_BYTES + 1, 2**64 - 1])
def test_a_header_that_declares_too_much_is_refused(length):
    with pytest.raises(Refused):
        wire.body_bytes(wire.HEADER.pack(wire.MAGIC, length))


def test_a_frame_is_a_header_and_a_body():
    data = wire.frame({"a": 1})
    assert wire.body_bytes(data[: wire.HEADER.size]) == len(data) - wire.HEADER.size
    assert decode(data[wire.HEADER.size :]) == {"a": 1}


def test_text_from_the_sandbox_can_always_be_written():
    assert decode(encode("\ud800a")).encode("utf-8")


def test_the_sandbox_side_knows_neither_pickle_nor_the_course():
    for path in Path(wire.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "course_lib"} & {n.split(".")[0] for n in names}, path


@pytest.mark.parametrize("tag", [b"A", b"a"])
@pytest.mark.parametrize("shape", [(2**31, 2**31, 2**31, 0), (0, *[2**31] * 15), (*[2**31] * 15, 0)])
def test_a_shape_that_no_array_can_have_is_refused(tag, shape):
    """They hold no number, so no limit on numbers or bytes stops them; torch and numpy raise errors of their own."""
    data = tag + bytes([5, len(shape)]) + struct.pack(f"<{len(shape)}Q", *shape)
    with pytest.raises(wire.Refused):
        wire.decode(data)
