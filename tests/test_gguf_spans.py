"""Spans of a GGUF file: every byte once, and each says what two other readers say. llama.cpp as a learner calls it."""

import struct
import sys

import numpy as np
import pytest

from course_lib import models
from course_lib.artifacts.gguf import GGUFError, Part, Value, llama, runtime, write
from course_lib.artifacts.gguf.spans import PARTS, spans

KEYS = {"general.architecture": "llama", "a": True, "b": -1, "c": 2.5, "d": ["é", ""], "e": [1, 2, 3], "f": [],
        "g": Value([Value([1, 2], 9, 4), Value(["x"], 9, 8)], 9, 9), "ü": "€", "h": 2**40}  # fmt: skip
TENSORS = {"one": (3, 4), "two.weight": (5,), "three": (2, 2, 32)}


@pytest.fixture
def path(tmp_path):
    parts = [Part(n, s, 0, lambda s=s: np.zeros(s, np.float32)) for n, s in TENSORS.items()]
    return write(tmp_path / "some.gguf", KEYS, parts)


def test_every_byte_once_and_in_order(path):
    data, at = path.read_bytes(), 0
    for span in spans(data):
        assert span.at == at and span.size > 0 and span.part in PARTS
        at += span.size
    assert at == len(data)
    assert spans(np.memmap(path, np.uint8, "r")) == spans(data)


def test_spans_say_what_the_gguf_package_reads(path):
    import gguf

    theirs, data = gguf.GGUFReader(path), path.read_bytes()
    found = {span.what: span for span in spans(data)}
    for tensor in theirs.tensors:
        span = found[tensor.name]
        assert (span.at, span.size, span.part) == (tensor.data_offset, tensor.n_bytes, "data")
        assert f"byte {tensor.data_offset:,} of the file" in found[f"offset of {tensor.name}"].value
    for key in ("b", "c", "h"):
        span, field = found[key], theirs.fields[key]
        assert data[span.at : span.at + span.size] == field.parts[field.data[0]].tobytes()
        assert span.value == str(field.parts[field.data[0]][0])
    assert (found["version"].value, found["number of keys"].value) == ("3", str(len(KEYS)))
    assert found["general.architecture"].value == "'llama'" and found["ü"].size == 3


def test_a_damaged_file_is_refused_as_by_the_reader(path):
    with pytest.raises(GGUFError, match="3 tensors cannot lie in the 4 bytes that are left"):
        spans(path.read_bytes()[:20])


# ---- llama.cpp, as a learner calls it


@pytest.fixture(scope="module")
def bundled():
    return models.load("bundled")


@pytest.fixture(scope="module")
def bot(bundled, tmp_path_factory):
    with runtime.LlamaCpp(llama.export(*bundled, tmp_path_factory.mktemp("runtime") / "bot.gguf", "F32")) as found:
        yield found


def test_text_is_generated_token_by_token_as_transformers_does(bundled, bot):
    from course_lib import evaluate

    for request in models.task.generate(3, seed=5):
        assert bot.generate(bundled[1], request.prompt) == evaluate.generate(*bundled, request.prompt)


def test_one_token_after_the_other_gives_the_logits_of_all_at_once(bot):
    ids = bot.tokenize("two blue kettles, please")
    whole = bot.logits(ids)
    with bot._context() as context:
        steps = np.concatenate([bot._decode(context, [n], k, [0]) for k, n in enumerate(ids)])
    assert np.abs(whole - steps).max() < 1e-4


def test_bad_ids_and_files_are_refused(bot, tmp_path):
    for ids in ([], [bot.vocabulary], [-1], [0] * 513):
        with pytest.raises(ValueError, match="ids must be 1 to 512 token ids below 1024, got"):
            bot.logits(ids)
    with pytest.raises(FileNotFoundError, match="no such file"):
        runtime.LlamaCpp(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1))
    with pytest.raises(runtime.Refused, match=r"llama.cpp does not load bad.gguf"):
        runtime.LlamaCpp(tmp_path / "bad.gguf")


def test_a_missing_wheel_is_one_sentence(monkeypatch):
    runtime.library.cache_clear()
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(runtime.Unavailable, match="the package xllamacpp is missing. `make env` installs it"):
        runtime.library()
    runtime.library.cache_clear()


def test_another_layout_is_refused_not_misread(bot, monkeypatch):
    monkeypatch.setitem(runtime._DEFAULTS, 13, 7)
    with pytest.raises(runtime.Unavailable, match="lays its parameters out differently"):
        bot.logits([1])
