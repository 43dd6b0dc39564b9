"""A Scheme is checked when it is made, compares by value, and survives a JSON header."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from course_lib.formats import registry
from course_lib.scheme import Scheme

EVERY_KIND = [
    Scheme.int(4),
    Scheme.int(2, symmetric="full", group=128),
    Scheme.int(8, symmetric=False, group="tensor", scale_dtype=torch.float16),
    Scheme("int8", (128, 128), True, scale_dtype=torch.bfloat16),
    Scheme("int8", (-1, 1), True),
    Scheme("int4", (1, 16), True, scale_dtype=torch.float8_e4m3fn, tensor_scale=True),
    Scheme.int(4, group=64, scale_scheme=Scheme.int(8, symmetric=False, group=256)),
]


def test_short_form_is_the_long_form():
    assert Scheme.int(4, symmetric=True, group=128) == Scheme("int4", (1, 128), True)
    assert Scheme.int(3) == Scheme("int3", (1, -1), True)
    assert Scheme.int(8, False, "tensor") == Scheme("int8", (-1, -1), False)
    assert Scheme.int(4, group=-1) == Scheme.int(4)
    assert repr(Scheme.int(np.int64(4), group=np.int32(128))) == "Scheme('int4', block=(1, 128), symmetric=True)"


@pytest.mark.parametrize("bits", range(2, 9))
def test_bits_come_from_the_registry(bits):
    assert Scheme.int(bits).bits == bits == registry.get(f"int{bits}").bits


def test_equal_schemes_are_one_key():
    a, b = Scheme("int4", (1, 128), True), Scheme("int4", [1, 128], True)
    assert a == b and hash(a) == hash(b) and len({a, b, Scheme.int(4, "full", 128)}) == 2


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scheme.int(4).format = "int8"


@pytest.mark.parametrize("scheme", EVERY_KIND, ids=lambda s: s.name)
def test_dict_and_repr_give_the_scheme_back(scheme):
    assert Scheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme
    assert eval(repr(scheme), {"Scheme": Scheme, "torch": torch}) == scheme


def test_names():
    assert [s.name for s in EVERY_KIND] == [
        "int4 channel sym",
        "int2 g128 full",
        "int8 tensor asym fp16",
        "int8 128x128 sym bf16",
        "int8 *x1 sym",
        "int4 g16 sym e4m3 +tensor scale",
        "int4 g64 sym (scales int8 g256 asym)",
    ]


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Scheme.int(9), "bits must be a whole number from 2 to 8, got 9"),
        (lambda: Scheme.int(1), "bits must be .* got 1"),
        (lambda: Scheme.int(4.0), "bits must be .* got 4.0"),
        (lambda: Scheme.int(True), "bits must be .* got True"),
        (lambda: Scheme.int(4, group=0), r"block must be \(rows, cols\).* got \(1, 0\)"),
        (lambda: Scheme.int(4, group="row"), "group must be None, .* got 'row'"),
        (lambda: Scheme.int(4, group=1.5), "block must be"),
        (lambda: Scheme("int4", (1, -2)), "block must be"),
        (lambda: Scheme("int4", 128), "block must be .* got 128"),
        (lambda: Scheme("int4", (1, 2, 3)), "block must be"),
        (lambda: Scheme("int9"), "format must be one of .*int2, int3.*, got 'int9'"),
        (lambda: Scheme("int4", symmetric=1), "symmetric must be True, .* got 1"),
        (lambda: Scheme("int4", symmetric="half"), "symmetric must be .* got 'half'"),
        (lambda: Scheme("int4", scale_dtype=torch.int8), "scale_dtype must be one of float32, .* got torch.int8"),
        (lambda: Scheme("int4", scale_dtype="float16"), "scale_dtype must be one of .* got 'float16'"),
        (lambda: Scheme("int4", scale_dtype=torch.float8_e8m0fnu), "int4 needs a scale_dtype with a mantissa"),
        (lambda: Scheme("int4", scale_rule="floor"), "int4 has no scale_rule"),
        (lambda: Scheme("int4", tensor_scale=True), "tensor_scale=True needs an 8-bit float scale_dtype"),
        (lambda: Scheme("int4", tensor_scale=1), "tensor_scale must be True or False, got 1"),
        (lambda: Scheme("int4", scale_scheme="int8"), "scale_scheme must be a Scheme or None, got 'int8'"),
        (lambda: Scheme.from_dict({"bits": 4}), "a scheme needs 'format' and no unknown keys, got .'bits'"),
        (lambda: Scheme.from_dict({"format": "int4", "scale_dtype": "fp99"}), "scale_dtype must be .* got 'fp99'"),
    ],
)
def test_bad_input_is_one_clear_sentence(make, says):
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_added_codec_is_found_by_name():
    class Sign(registry.Codec):
        name, bits = "sign", 1

    try:
        registry.register(Sign())
        assert Scheme("sign").bits == 1 and "sign" in registry.names()
    finally:
        registry._CODECS.pop("sign")
