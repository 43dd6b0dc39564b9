"""GGUF files from strangers, made by changing whole ones field by field: read or refused, in bounded memory and steps.

`make fuzz` runs the same `consume` guided by coverage, for longer.
"""

import struct
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.artifacts.gguf import GGUFError, imatrix, load, parse, show
from tests import gguf_toys
from tests.gguf_toys import consume

SEEDS = gguf_toys.seeds()
LIES = [0, 1, 2, 3, 4, 7, 8, 9, 31, 32, 33, 127, 128, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63,
        2**64 - 33, 2**64 - 1]  # fmt: skip


WHERE = {name: gguf_toys.numbers(data) for name, data in SEEDS.items()}


@st.composite
def changed(draw, names=tuple(SEEDS)):
    """A whole file after one to three changes: a number that lies, a run of bytes doubled, moved or gone, the end."""
    name = draw(st.sampled_from(names))
    data = bytearray(SEEDS[name])
    for _ in range(draw(st.integers(1, 3))):
        what = draw(st.sampled_from(["lie", "lie", "lie", "byte", "cut", "double", "drop"]))
        at = draw(st.integers(0, max(0, len(data) - 1)))
        if what == "lie":
            place, size = draw(st.sampled_from(WHERE[name]))
            lie = draw(st.sampled_from(LIES) | st.integers(0, 2**64 - 1))
            data[place : place + size] = (lie % 2 ** (8 * size)).to_bytes(size, "little")
        elif what == "byte":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif what == "cut":
            del data[at:]
        else:
            run = data[at : at + draw(st.sampled_from([1, 4, 8, 32]))]
            data[at : at + len(run)] = run * 2 if what == "double" else b""
    return bytes(data)


def test_the_whole_files_are_read():
    reached = {name: consume(data) for name, data in SEEDS.items()}
    models = ("llama", "llama-q8", "qwen3", "mixture", "scaled")
    assert reached == dict.fromkeys(models, "llama") | {"values": "container", "imatrix": "imatrix", "legacy": "legacy",
                                                        "empty": "container"}  # fmt: skip
    file = parse(SEEDS["values"])
    assert file.metadata["nested"] == [[[1, 2], ["a"]], []] and file.metadata["one.1"] == 1
    assert "[[[1, 2], ['a']], []]" in show.summary(file)
    undecoded = []
    for name, info in file.tensors.items():
        try:
            assert file.tensor(name).dtype == np.float32
        except GGUFError as error:
            assert "is not decoded" in str(error)
            undecoded.append(info.type)
    assert undecoded == ["Q8_1", "Q8_K"]


@settings(max_examples=400)
@given(changed(("values", "imatrix", "legacy", "empty")))
def test_a_changed_file_is_read_or_refused(data):
    try:
        consume(data)
    except GGUFError:
        pass


@settings(max_examples=120)
@given(changed(("llama", "llama-q8", "qwen3", "mixture", "scaled")))
def test_a_changed_model_is_read_or_refused(data):
    try:
        consume(data)
    except GGUFError:
        pass


def array(kind, n, items):
    """A file with one key, an array of n items."""
    body = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, kind, n) + items
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + body


N = 20_000
GREEDY = {
    "u8": array(0, N, bytes(range(200, 250)) * (N // 50)),
    "i8": array(1, N, bytes(range(130, 180)) * (N // 50)),
    "u16": array(2, N, np.arange(300, 300 + N, dtype="<u2").tobytes()),
    "f32": array(6, N, np.arange(N, dtype="<f4").tobytes()),
    "bool": array(7, N, b"\0\1" * (N // 2)),
    "empty strings": array(8, N, bytes(8 * N)),
    "strings": array(8, N, b"".join(struct.pack("<Q", 2) + struct.pack("<H", 0x6161 + k % 5000) for k in range(N))),
    "arrays": array(9, N, struct.pack("<IQ", 0, 0) * N),
    "keys": b"GGUF" + struct.pack("<IQQ", 3, 0, N)
    + b"".join(struct.pack("<Q", 4) + f"{k:04x}".encode() + struct.pack("<IB", 0, 1) for k in range(N)),
    "tensors": b"GGUF" + struct.pack("<IQQ", 3, 4000, 0)
    + b"".join(struct.pack("<Q", 4) + f"{k:04x}".encode() + struct.pack("<IQIQ", 1, 1, 24, 32 * k) for k in range(4000))
    + bytes(32 * 4000 + 32),
}  # fmt: skip


def peak_bytes(work):
    tracemalloc.start()
    try:
        work()
    except GGUFError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", GREEDY)
def test_memory_is_a_small_multiple_of_the_file(name):
    """Python's numbers, strings and tuples are larger than their bytes; a file cannot ask for more than that."""
    data = GREEDY[name]
    assert peak_bytes(lambda: parse(data)) < 25 * len(data)
    assert peak_bytes(lambda: show.summary(parse(data))) < 40 * len(data)


@pytest.mark.parametrize("lie", [2**20, 2**31, 2**32 - 1, 2**61, 2**63, 2**64 - 1])
def test_a_lie_costs_nothing(lie):
    """Any one number replaced by a large one: what is allocated stays what a whole file takes."""
    for name in ("values", "imatrix"):
        data, limit = SEEDS[name], 200_000 + 40 * len(SEEDS[name])
        for place, size in WHERE[name]:
            lied = bytearray(data)
            lied[place : place + size] = (lie % 2 ** (8 * size)).to_bytes(size, "little")
            assert peak_bytes(lambda lied=lied: parse(bytes(lied))) < limit


def steps(work):
    """Lines of Python that work runs in the reader: a count, so that a busy machine cannot make it larger."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += 1
        return trace if "gguf" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except GGUFError:
        pass
    finally:
        sys.settrace(before)
    return count


@settings(max_examples=60)
@given(changed(("values", "imatrix", "legacy", "empty")))
def test_the_steps_are_bounded_by_the_bytes(data):
    def read():
        parse(data) if data[:4] == b"GGUF" else imatrix.from_legacy(data)

    assert steps(read) < 2000 + 20 * len(data)


def test_a_negative_count_of_entries_is_no_empty_matrix():
    with pytest.raises(GGUFError, match="no entry"):
        imatrix.from_legacy(struct.pack("<i", -5))
    with pytest.raises(GGUFError, match="no entry"):
        imatrix.from_gguf(parse(gguf_toys.joined({"general.type": "imatrix"}, [])))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"llama.block_count": True}, "llama.block_count must be a positive int, got True"),
        ({"llama.block_count": 513}, "far larger than the file"),
        ({"llama.block_count": 2}, "llama.block_count is 2, but there are only 11 tensors"),
        ({"llama.embedding_length": 2**31 - 2}, "far larger|do not share"),
        ({"llama.vocab_size": 2**31 - 1}, "far larger than the file"),
        ({"llama.vocab_size": 3}, "llama.vocab_size is 3, but there are 7 tokens"),
        ({"llama.attention.head_count": 64}, "do not share 32 channels"),
        ({"llama.attention.head_count_kv": 3}, "do not share 32 channels"),
        ({"llama.attention.head_count_kv": "2"}, "head_count_kv must be a positive int, got '2'"),
        ({"llama.attention.key_length": 7}, "do not share 32 channels"),
        ({"llama.rope.dimension_count": 4}, "llama.rope.dimension_count must be the keys' length, 8, got 4"),
        ({"llama.rope.freq_base": float("nan")}, "llama.rope.freq_base must be a positive float, got nan"),
        ({"llama.rope.scaling.type": "longrope"}, "scaling.type must be 'none', 'linear' or 'yarn', got 'longrope'"),
        ({"llama.rope.scaling.factor": "2"}, "llama.rope.scaling.factor must be a positive float"),
        ({"llama.rope.scaling.factor": float("nan")}, "llama.rope.scaling.factor must be a positive float"),
        ({"llama.rope.scaling.type": ["yarn"]}, "must be 'none', 'linear' or 'yarn', got"),
        ({"split.count": np.uint16(3)}, "one part of several"),
        ({"llama.attention.layer_norm_rms_epsilon": float("inf")}, "must be a positive float, got inf"),
        ({"general.architecture": ["llama"] * 100}, "general.architecture must be one of llama, qwen2, .*, got "),
        ({"tokenizer.ggml.tokens": 7}, "tokenizer.ggml.tokens must be a list of strings"),
        ({"tokenizer.ggml.tokens": ["a"] * 7}, "must differ from each other"),
        ({"tokenizer.ggml.tokens": ["\udc80", *gguf_toys.TOKENS[1:]]}, "a list of strings in UTF-8"),
        ({"tokenizer.ggml.merges": ["ab"]}, "must join two tokens to a third, got 'ab'"),
        ({"tokenizer.ggml.merges": ["a z"]}, "must join two tokens to a third, got 'a z'"),
        ({"tokenizer.ggml.pre": ["gpt-2"]}, "tokenizer.ggml.pre must be one of gpt-2"),
    ],
)
def test_keys_that_lie_about_the_model(change, words):
    file = parse(gguf_toys.llama())
    keys = {name: field for name, field in file.fields.items()} | change
    parts = [gguf_toys.Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    changed = parse(gguf_toys.joined(keys, parts))
    with pytest.raises(GGUFError, match=words):
        load.model_of(changed), load.tokenizer_of(changed)


@pytest.mark.parametrize("name", ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.token_type"])
@pytest.mark.parametrize("value", [99, "x", [1, 2], -1, True])
def test_numbers_of_tokens_that_do_not_exist_are_passed_over(name, value):
    """As llama.cpp does with a warning."""
    file = parse(gguf_toys.llama())
    parts = [gguf_toys.Part(i.name, i.shape, i.type_id, lambda n=i.name: file.data(n)) for i in file.tensors.values()]
    assert consume(gguf_toys.joined(dict(file.fields) | {name: value}, parts)) == "llama"
