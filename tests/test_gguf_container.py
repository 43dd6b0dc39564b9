"""GGUF byte by byte: against a file written by hand, the gguf package both ways, and files that strangers send."""

import struct

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.artifacts.gguf import GGUFError, Part, Value, parse, read, write
from course_lib.artifacts.gguf.values import NAMES, typed
from course_lib.formats import ggml

X = np.linspace(-1, 1, 2 * 256, dtype=np.float32).reshape(2, 256)
KEYS = {
    "general.architecture": "llama",
    "a.bool": True,
    "a.small": np.uint8(200),
    "a.negative": -7,
    "a.large": 2**40,
    "a.float": 0.5,
    "a.double": np.float64(0.1),
    "a.text": "café ☕",
    "a.words": ["one", "", "three"],
    "a.numbers": np.array([1, -2, 3], np.int16),
    "a.flags": [True, False],
    "a.empty": [],
}
PARTS = [
    Part("blk.0.attn_q.weight", (2, 256), 12, lambda: ggml.quantize(X, "Q4_K")),
    Part("output_norm.weight", (3,), 0, lambda: np.float32([1, 2, 3])),
    Part("half", (4, 2), 1, lambda: np.arange(8, dtype=np.float16)),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gguf") / "x.gguf", KEYS, PARTS)


def test_a_file_written_by_hand(tmp_path):
    """The whole of it: what each byte is for."""
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()  # noqa: E731
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    head += text("a") + struct.pack("<II", 4, 7) + text("b") + struct.pack("<IIQ", 9, 5, 2) + struct.pack("<ii", -1, 1)
    head += text("w") + struct.pack("<IQQIQ", 2, 2, 3, 0, 0)
    head += bytes(-len(head) % 32)
    data = struct.pack("<6f", 1, 2, 3, 4, 5, 6) + bytes(8)
    values = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    path = write(tmp_path / "x", {"a": 7, "b": np.int32([-1, 1])}, [Part("w", (3, 2), 0, lambda: values)])
    assert path.read_bytes() == head + data
    file = parse(head + data)
    assert file.metadata == {"a": 7, "b": [-1, 1]} and np.array_equal(file.tensor("w"), values)
    assert [field.type_name for field in file.fields.values()] == ["u32", "i32[]"]


def test_the_gguf_package_reads_what_we_write(written):
    reader = gguf.GGUFReader(written)
    for key, value in KEYS.items():
        theirs = reader.fields[key].contents() if key != "a.empty" else []
        expected = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        assert theirs == expected, key
    tensors = {t.name: t for t in reader.tensors}
    assert [t.name for t in reader.tensors] == [p.name for p in PARTS]
    for part in PARTS:
        assert tuple(tensors[part.name].shape[::-1]) == part.shape
        assert np.asarray(tensors[part.name].data).tobytes() == np.asarray(part.data()).tobytes()


def test_we_read_what_the_gguf_package_writes(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_custom_alignment(64)
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(f"v.{kind}", 5)
    writer.add_float32("v.f32", 0.25)
    writer.add_float64("v.f64", 0.1)
    writer.add_bool("v.bool", False)
    writer.add_string("v.string", "ü")
    writer.add_array("v.strings", ["a", "b"])
    writer.add_array("v.ints", [1, 2, 3])
    for name in ("Q8_0", "Q4_0"):
        writer.add_tensor(name, gguf.quantize(X, gguf.GGMLQuantizationType[name]),
                          raw_dtype=gguf.GGMLQuantizationType[name])  # fmt: skip
    writer.add_tensor("iq", np.zeros((2, 110), np.uint8), raw_dtype=gguf.GGMLQuantizationType.IQ3_S)
    writer.add_tensor("f16", X.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = read(tmp_path / "x.gguf")
    assert file.alignment == 64 and file.metadata["v.f64"] == 0.1 and file.metadata["v.string"] == "ü"
    assert {field.type for field in file.fields.values()} == set(NAMES)
    assert file.metadata["v.strings"] == ["a", "b"] and file.metadata["v.ints"] == [1, 2, 3]
    for name in ("Q8_0", "Q4_0"):
        blocks = gguf.quantize(X, gguf.GGMLQuantizationType[name])
        assert np.array_equal(file.tensor(name), gguf.dequantize(blocks, gguf.GGMLQuantizationType[name]))
    assert np.array_equal(file.tensor("f16"), X.astype(np.float16).astype(np.float32))
    assert file.tensors["iq"].type == "IQ3_S" and file.tensor("iq").shape == (2, 256)


@pytest.mark.parametrize("version", [2, 3])
def test_writing_what_was_read_gives_the_same_bytes(tmp_path, written, version):
    path = write(tmp_path / "a.gguf", KEYS, PARTS, version)
    file = read(path)
    assert file.version == version
    parts = [Part(i.name, i.shape, i.type_id, lambda name=i.name: file.data(name)) for i in file.tensors.values()]
    again = write(tmp_path / "b.gguf", file.fields, parts, version)
    assert again.read_bytes() == path.read_bytes()


def test_a_file_cut_off_anywhere_is_refused(written):
    data = written.read_bytes()
    used = read(written)
    end = used.data_start + max(info.offset + info.nbytes for info in used.tensors.values())
    for size in range(1, end):
        with pytest.raises(GGUFError):
            parse(data[:size])
    assert parse(data[:end]).metadata == used.metadata


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(written, data):
    """Nothing but GGUFError, whatever bytes are changed."""
    content = bytearray(written.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 500))
        value = data.draw(st.sampled_from([0, 1, 2, 8, 9, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        length = data.draw(st.sampled_from([1, 1, 4, 8]))
        content[at : at + length] = bytes([value]) * length
    try:
        file = parse(bytes(content))
        for name in file.tensors:
            file.data(name)
    except GGUFError:
        pass


def _file(keys=b"", n_keys=0, infos=b"", n_infos=0, version=3, data=0):
    head = b"GGUF" + struct.pack("<IQQ", version, n_infos, n_keys) + keys + infos
    return head + bytes(-len(head) % 32) + bytes(data)


def _text(s):
    return struct.pack("<Q", len(s)) + s


def _info(name=b"w", dims=(32,), type_id=0, offset=0):
    return _text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, type_id, offset)


DEEP = b"".join(struct.pack("<IQ", 9, 1) for _ in range(50))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GGML" + bytes(40), "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian file of version 3"),
        (_file(version=1), "version must be 2 or 3, got 1"),
        (_file(n_keys=2**63), "keys cannot lie in the"),
        (_file(n_infos=2**60), "tensors cannot lie in the"),
        (
            _file(struct.pack("<Q", 2**63) + bytes(64), 1),
            "a key must have at most 65535 bytes, got 9223372036854775808",
        ),
        (_file(_text(b"k") + struct.pack("<IQ", 8, 2**63) + bytes(64), 1), "needs 9223372036854775808 bytes"),
        (_file(_text(b"") + struct.pack("<II", 4, 1) + bytes(64), 1), "a key is empty"),
        (_file(_text(b"k") + struct.pack("<IIQ", 9, 9, 9) + bytes(64), 1), "items of k cannot lie"),
        (_file(_text(b"k") + struct.pack("<I", 13) + bytes(64), 1), "unknown value type 13"),
        (_file(_text(b"k") + struct.pack("<IIQ", 9, 4, 2**61) + bytes(64), 1), "items of k cannot lie"),
        (_file(_text(b"k") + struct.pack("<I", 9) + DEEP + bytes(64), 1), "arrays more than 4 deep"),
        (_file(2 * (_text(b"k") + struct.pack("<II", 4, 1)), 2), "the key 'k' occurs twice"),
        (_file(_text(b"k") + struct.pack("<IB", 7, 2) + bytes(64), 1), "0 or 1 where it is a bool"),
        (_file(_text(b"general.alignment") + struct.pack("<II", 4, 12), 1), "a power of two from 8, got 12"),
        (_file(infos=2 * _info(), n_infos=2, data=256), "'w' occurs twice"),
        (_file(infos=_info(dims=(1,) * 5), n_infos=1, data=256), "1 to 4 dimensions, got 5"),
        (_file(infos=_info(dims=(0,)), n_infos=1, data=256), "no whole number of F32 blocks"),
        (_file(infos=_info(dims=(2**40, 2**40)), n_infos=1, data=256), "no whole number of F32 blocks"),
        (_file(infos=_info(dims=(33,), type_id=2), n_infos=1, data=256), "no whole number of Q4_0 blocks"),
        (_file(infos=_info(type_id=999), n_infos=1, data=256), "w has the unknown tensor type 999"),
        (_file(infos=_info(type_id=31), n_infos=1, data=256), "w has the tensor type Q4_0_4_4, which llama.cpp no"),
        (_file(infos=_info(dims=(128,), type_id=19), n_infos=1, data=256), "no whole number of IQ1_S blocks"),
        (_file(infos=_info(dims=(512,), type_id=29), n_infos=1, data=96), "ends at byte 112 of the data, of which"),
        (_file(infos=_info(offset=4), n_infos=1, data=256), "no multiple of 32"),
        (_file(infos=_info(offset=2**60), n_infos=1, data=256), "of the data, of which there are 256"),
        (_file(infos=_info() + _info(b"v", offset=32), n_infos=2, data=256), "inside the tensor before it"),
        (_file(infos=_info(b"w" * 64), n_infos=1, data=256), "at most 63 bytes, got 64"),
    ],
)
def test_files_from_strangers(content, words):
    with pytest.raises(GGUFError, match=words):
        parse(content)


def test_bad_input_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="w must have 8 bytes, got 4"):
        write(tmp_path / "x.gguf", {}, [Part("w", (2,), 0, lambda: np.float32([1]))])
    with pytest.raises(ValueError, match="different names"):
        write(tmp_path / "x.gguf", {}, [PARTS[1], PARTS[1]])
    with pytest.raises(ValueError, match="at most 63 bytes"):
        write(tmp_path / "x.gguf", {}, [Part("w" * 64, (2,), 0, lambda: np.float32([1, 2]))])
    with pytest.raises(ValueError, match="version must be 2 or 3"):
        write(tmp_path / "x.gguf", {}, [], 1)
    for key in ("", "k" * 2**16):
        with pytest.raises(ValueError, match="keys must have 1 to 65535 bytes"):
            write(tmp_path / "x.gguf", {key: 1}, [])
    for size in (
        Value(32, 10),
        Value(32, 7),
        Value("32", 8),
        Value([32], 9, 4),
        np.uint64(64),
        True,
        32.0,
        33,
        4,
        0,
        -32,
    ):
        with pytest.raises(ValueError, match="general.alignment must be a u32 and a power of two from 8, got"):
            write(tmp_path / "x.gguf", {"general.alignment": size}, PARTS)
    for shape in ((2, 16), (0, 32), (1, 33)):
        with pytest.raises(ValueError, match="w must have rows of whole Q4_0 blocks"):
            write(tmp_path / "x.gguf", {}, [Part("w", shape, 2, lambda: np.zeros(18, np.uint8))])
    for value in (object(), [1, "a"], [[1]], 2**70, np.complex64(1)):
        with pytest.raises(TypeError, match="^k must "):
            write(tmp_path / "x.gguf", {"k": value}, [])
    with pytest.raises(GGUFError, match="x.gguf: the file is empty"):
        (tmp_path / "x.gguf").touch()
        read(tmp_path / "x.gguf")
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["x.gguf"]


def test_types_follow_the_value():
    assert typed("k", 2**31).type_name == "u32" and typed("k", -1).type_name == "i32"
    assert typed("k", [1, 2**40]).type_name == "u64[]" and typed("k", [-1, 1]).type_name == "i32[]"
    assert typed("k", Value(1, 11)).type_name == "i64"
