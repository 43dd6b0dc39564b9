"""Importance matrices as llama.cpp keeps them: mean square of each linear's input channels, in both file forms."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.artifacts.gguf.architectures import gguf_name
from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, read
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
        gguf_name(f"{name}.weight"): Entry((s.mean_square * s.tokens).double().cpu().numpy(), s.tokens)
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
    return from_gguf(read(path)) if is_gguf else from_legacy(Path(path).read_bytes())


def legacy(entries: Mapping[str, Entry], dataset: str = "", chunk: int = CHUNK) -> bytes:
    """The .dat form: number of entries; of each name, calls, values as mean square * calls; last call, dataset."""
    out = [struct.pack("<i", len(entries))]
    last = 0
    for name, entry in entries.items():
        calls = -(-entry.count // chunk)  # rounded up, as llama-imatrix does
        last = max(last, calls)
        values = (entry.sums / entry.count * calls).astype("<f4")
        out += [struct.pack("<i", len(name.encode())), name.encode(), struct.pack("<ii", calls, len(values))]
        out.append(values.tobytes())
    text = dataset.encode()
    return b"".join([*out, struct.pack("<ii", last, len(text)), text])


def from_gguf(file: GGUFFile) -> dict[str, Entry]:
    """The entries of a GGUF form that is open; tensors other than sums and counts are passed over."""
    kind, entries = file.metadata.get("general.type"), {}
    if kind != "imatrix":
        raise GGUFError(f"general.type must be 'imatrix', got {kind!r:.60}")
    for name, info in file.tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind != "in_sum2":
            continue
        counts = file.tensors.get(f"{stem}.counts")
        one = counts is not None and max(counts.shape) == 1
        if not one or info.shape[:-1] not in ((), (1,)) or {info.type, counts.type} != {"F32"}:
            raise GGUFError(f"{name} must be F32 of the shape (1, in) beside {stem}.counts of one F32, got"
                            f" {info.type} {info.shape}")  # fmt: skip
        entries[stem] = _entry(stem, file.tensor(name).reshape(-1), file.tensor(counts.name).item())
    return _some(entries)


def from_legacy(data: bytes) -> dict[str, Entry]:
    """The entries of a legacy form, with calls taken for chunks of CHUNK tokens; what follows them is passed over."""
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
        entries[name] = _entry(name, values.astype(np.float64) * CHUNK, calls * CHUNK)
    return _some(entries)


def _some(entries: dict[str, Entry]) -> dict[str, Entry]:
    if not entries:
        raise GGUFError("the file holds no entry of an importance matrix")
    return entries


def _entry(name, sums, count) -> Entry:
    sums = sums.astype(np.float64)
    if not 1 <= count < np.inf or not np.isfinite(sums).all() or (sums < 0).any() or not sums.size:
        raise GGUFError(f"{name} must hold finite sums >= 0 over at least one token, got a count of {count}")
    return Entry(sums, int(count))
