"""Importance matrices as llama.cpp keeps them: mean square of each linear's input channels, in both file forms."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.artifacts.gguf.llama import gguf_name
from course_lib.artifacts.gguf.reader import GGUFError, read
from course_lib.artifacts.gguf.tensors import type_id
from course_lib.artifacts.gguf.writer import Part, write
from course_lib.files import write_atomic

CHUNK = 512  # tokens of a chunk, llama-imatrix's default


class Entry(NamedTuple):
    """One linear: sum over tokens of x² for each input channel, and over how many tokens."""

    sums: np.ndarray
    count: int

    @property
    def importance(self) -> np.ndarray:
        """Mean square of each channel, (in,): what `ggml.quantize` takes as imatrix."""
        return (self.sums / self.count).astype(np.float32)


def of_stats(stats: Mapping) -> dict[str, Entry]:
    """The importance matrix in calibrate.collect's statistics, under llama.cpp's tensor names."""
    return {
        gguf_name(f"{name}.weight"): Entry((s.mean_square * s.tokens).double().numpy(), s.tokens)
        for name, s in stats.items()
    }


def importance(entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """Tensor name -> mean square of each column, as `llama.export` takes it."""
    return {name: entry.importance for name, entry in entries.items()}


def save(path, entries: Mapping[str, Entry], dataset: str = "", chunk: int = CHUNK) -> Path:
    """Write the GGUF form, or the legacy one where `path` ends in .dat."""
    path = Path(path)
    if path.suffix == ".dat":
        write_atomic(path, legacy(entries, dataset, chunk))
        return path
    chunks = max((entry.count // chunk for entry in entries.values()), default=0)
    keys = {
        "general.type": "imatrix",
        "imatrix.datasets": [dataset],
        "imatrix.chunk_count": chunks,
        "imatrix.chunk_size": chunk,
    }
    f32, parts = type_id("F32"), []
    for name, entry in entries.items():
        sums, count = entry.sums.astype(np.float32), np.float32([entry.count])
        parts.append(Part(f"{name}.in_sum2", (1, len(sums)), f32, lambda sums=sums: sums))
        parts.append(Part(f"{name}.counts", (1, 1), f32, lambda count=count: count))
    return write(path, keys, parts)


def load(path) -> dict[str, Entry]:
    """Read either form, told apart by the first bytes; GGUFError says what is wrong with the file."""
    with open(path, "rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    return _from_gguf(path) if is_gguf else _from_legacy(Path(path).read_bytes())


def legacy(entries: Mapping[str, Entry], dataset: str = "", chunk: int = CHUNK) -> bytes:
    """The .dat form: number of entries; of each name, calls, values as mean square * calls; last call, dataset."""
    out = [struct.pack("<i", len(entries))]
    last = 0
    for name, entry in entries.items():
        calls = max(1, entry.count // chunk)
        last = max(last, calls)
        values = (entry.sums / entry.count * calls).astype("<f4")
        out += [struct.pack("<i", len(name.encode())), name.encode(), struct.pack("<ii", calls, len(values))]
        out.append(values.tobytes())
    text = dataset.encode()
    return b"".join([*out, struct.pack("<ii", last, len(text)), text])


def _from_gguf(path) -> dict[str, Entry]:
    file, entries = read(path), {}
    if file.metadata.get("general.type") != "imatrix":
        raise GGUFError(f"general.type must be 'imatrix', got {file.metadata.get('general.type')!r}")
    for name, info in file.tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind != "in_sum2":
            continue
        if f"{stem}.counts" not in file.tensors or len(info.shape) > 2 or info.shape[:-1] not in ((), (1,)):
            raise GGUFError(f"{name} must have the shape (1, in) and a tensor of counts, got {info.shape}")
        entries[stem] = _entry(stem, file.tensor(name).reshape(-1), file.tensor(f"{stem}.counts").reshape(-1)[0])
    return entries


def _from_legacy(data: bytes) -> dict[str, Entry]:
    at, entries = 0, {}

    def take(size, what):
        nonlocal at
        if size < 0 or size > len(data) - at:
            raise GGUFError(f"at byte {at}: {what} needs {size} bytes, but {len(data) - at} are left")
        at += size
        return data[at - size : at]

    def number(what):
        return struct.unpack("<i", take(4, what))[0]

    for _ in range(number("the number of entries")):
        name = take(number("a name's length"), "a name").decode("utf-8", "surrogateescape")
        calls, size = number(name), number(name)
        values = np.frombuffer(take(4 * size, name), "<f4")
        if name in entries:
            raise GGUFError(f"{name} occurs twice")
        entries[name] = _entry(name, values * np.float32(CHUNK), calls * CHUNK)
    return entries


def _entry(name, sums, count) -> Entry:
    sums = sums.astype(np.float64)
    if not count > 0 or not np.isfinite(count) or not np.isfinite(sums).all() or (sums < 0).any() or not sums.size:
        raise GGUFError(f"{name} must hold finite sums >= 0 over at least one token, got a count of {count}")
    return Entry(sums, int(count))
