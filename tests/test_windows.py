"""What Windows refuses or lacks, tried on Linux: files held open, C functions that are not exported, no make."""

import ctypes
import os
import socket
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from course_lib import Scheme, artifacts, cli, doctor, environment, files
from course_lib.artifacts import stream
from course_lib.artifacts.gguf import Part, llama, runtime, write
from course_lib.calibrate import quantize_model
from course_lib.files import write_atomic
from course_lib.formats.ggml import native
from course_lib.grading import check
from tests import tiny

GPTQ = Scheme.int(4, "full", 32, scale_dtype=torch.float16)


class Held:
    """os.replace as Windows has it while somebody holds the target open: refused so many times."""

    def __init__(self, times):
        self.left, self.real = times, os.replace

    def __call__(self, temporary, path):
        if self.left and os.path.exists(path):
            self.left -= 1
            raise PermissionError(13, "Access is denied")
        self.real(temporary, path)


def gguf(path, number):
    return write(path, {"general.architecture": "x"}, [Part("a", (1,), 0, lambda: np.float32([number]))])


WRITERS = {"write_atomic": lambda path, number: write_atomic(path, bytes([number])), "gguf": gguf}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_is_held_for_a_moment_is_replaced(tmp_path, monkeypatch, writer):
    WRITERS[writer](tmp_path / "file", 1)
    old = (tmp_path / "file").read_bytes()
    monkeypatch.setattr(os, "replace", Held(3))
    monkeypatch.setattr(files, "PATIENCE_S", 1.0)
    WRITERS[writer](tmp_path / "file", 2)
    assert (tmp_path / "file").read_bytes() != old
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_stays_held_keeps_its_bytes_and_is_named(tmp_path, monkeypatch, writer):
    WRITERS[writer](tmp_path / "file", 1)
    old = (tmp_path / "file").read_bytes()
    monkeypatch.setattr(os, "replace", Held(10**9))
    monkeypatch.setattr(files, "PATIENCE_S", 0.05)
    with pytest.raises(PermissionError, match="file cannot be replaced; on Windows, close the program or notebook"):
        WRITERS[writer](tmp_path / "file", 2)
    assert (tmp_path / "file").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_takes_the_place_of_an_empty_one(tmp_path, monkeypatch, there):
    rename = os.replace

    def windows_rename(made, path):  # MoveFileEx: MOVEFILE_REPLACE_EXISTING is not for directories
        if os.path.isdir(path):
            raise PermissionError(13, "Access is denied")
        rename(made, path)

    monkeypatch.setattr(os, "replace", windows_rename)
    if there:
        (tmp_path / "out").mkdir()
    folder = artifacts.save(quantize_model(tiny.llama(), GPTQ, progress=False), tmp_path / "out")
    assert (folder / "model.safetensors").is_file() and folder == tmp_path / "out"
    with pytest.raises(OSError, match="(?i)not empty"):
        files.replace(tempfile.mkdtemp(dir=tmp_path), folder)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says which files are mapped")
def test_a_run_that_goes_on_does_not_hold_the_file_it_will_replace(tmp_path):
    save_file({"hidden.0": torch.ones(1000)}, tmp_path / "hidden.safetensors", {"blocks": "2"})
    flow = SimpleNamespace(few={}, restore=lambda state, done: setattr(flow, "state", state))
    assert stream._resume(flow, tmp_path) == 2 and flow.state["hidden.0"].sum() == 1000
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("path", ["C:\\Users\\me\\my-bot", "D:/models/my-bot/", "someone/my-bot", "my-bot\\"])
def test_a_gguf_file_is_named_after_the_folder_not_after_the_path(path):
    config = tiny.llama().config
    config._name_or_path = path
    assert llama.keys(config, "Q8_0", len(tiny.tokenizer()))["general.name"] == "my-bot"


# ---- a wheel that exports nothing but its start


@pytest.fixture
def closed(monkeypatch):
    """xllamacpp as Windows has it: the library loads, and has none of C's functions."""
    monkeypatch.setattr(ctypes, "CDLL", lambda path: ctypes.pythonapi)
    for module in (runtime, native):
        module.library.cache_clear()
    yield
    for module in (runtime, native):
        module.library.cache_clear()


def test_without_exports_it_is_one_sentence(closed):
    said = "does not export {}'s C functions, as none for Windows does; those for Linux and macOS do"
    with pytest.raises(runtime.Unavailable, match=said.format("llama.cpp")):
        runtime.library()
    with pytest.raises(ImportError, match=said.format("ggml")):
        native.quantize(torch.ones(1, 32), "Q4_0")


def test_doctor_tells_a_closed_wheel_from_an_open_one(monkeypatch):
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr(ctypes, "CDLL", lambda path: SimpleNamespace(llama_decode=print))
    assert doctor.llama_functions() == "exported"
    monkeypatch.setattr(ctypes, "CDLL", lambda path: ctypes.pythonapi)
    assert doctor.llama_functions() is None


# ---- a pipe whose other end is closed


def test_check_ends_where_poll_raises_at_a_closed_pipe(monkeypatch):
    poll = Connection.poll

    def windows_poll(self, timeout=0.0):  # PipeConnection.poll of CPython 3.12: PeekNamedPipe raises, WinError 109
        with socket.socket(fileno=os.dup(self.fileno())) as end:
            if poll(self, timeout) and end.recv(1, socket.MSG_PEEK) == b"":
                raise BrokenPipeError(32, "Broken pipe")
        return poll(self, timeout)

    monkeypatch.setattr(Connection, "poll", windows_poll)
    found = SimpleNamespace(all=[], cells=[])
    assert list(check.run(SimpleNamespace(questions=()), found)) == []


# ---- no make


def test_on_windows_the_sentences_name_commands_that_are_there(monkeypatch):
    monkeypatch.setattr(environment, "WINDOWS", True)
    assert cli._lacking("exercises", "torch").endswith(
        r"run `py -m course_lib env`, then `.venv\Scripts\course exercises`."
    )
    with pytest.raises(environment.SetupError, match=r"name a newer one with `py -3\.12 -m course_lib lab`"):
        environment.check_python((3, 9, 18))
    assert environment.venv_python("a").as_posix() == "a/.venv/Scripts/python.exe"
    assert all("make" not in row.without for row in doctor.pieces())
