"""Importance matrices as llama.cpp keeps them: mean square of each linear's input channels, in both file forms.

A tensor of experts has a row of sums and a count for each of them: an expert hears the tokens that it was sent. One
that heard nothing holds all its columns alike, as llama-quantize takes it (tools/imatrix/imatrix.cpp).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.artifacts.gguf.architectures import gguf_name
from course_lib.artifacts.gguf.experts import merged
from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, read
from course_lib.artifacts.gguf.tensors import type_id
from course_lib.artifacts.gguf.writer import Part, write
from course_lib.files import write_atomic

CHUNK = 512  # tokens of a chunk, llama-imatrix's default


class Entry(NamedTuple):
    """One linear: sum over tokens of x² for each input channel, and over how many tokens.

    sums (in,) and a number; of experts (experts, in) and (experts,).
    """

    sums: np.ndarray
    count: int | np.ndarray

    @property
    def importance(self) -> np.ndarray:
        """Mean square of each channel in the shape of sums, 1 where nothing was heard: an imatrix of `llama.export`."""
        return self.mean.astype(np.float32)

    @property
    def mean(self) -> np.ndarray:
        """The same in float64."""
        count = np.asarray(self.count)[..., None]
        return np.where(count > 0, self.sums / np.maximum(count, 1), 1.0)

    @property
    def most(self) -> int:
        """Tokens that the expert which heard most has heard, or the linear."""
        return int(np.max(self.count))

    def calls(self, chunk: int) -> int:
        """Chunks of so many tokens, the last one counted whole, as llama-imatrix does."""
        return -(-self.most // chunk)


def of_stats(stats: Mapping) -> dict[str, Entry]:
    """The importance matrix in calibrate.collect's statistics, under llama.cpp's tensor names.

    ValueError for a tensor of experts of which one is missing: unheard="empty" collects those that heard nothing, too.
    """
    found, single = {}, {}
    for name, s in stats.items():
        entry = Entry((s.mean_square * s.tokens).double().cpu().numpy(), s.tokens)
        number, theirs = merged(f"{name}.weight")[1], gguf_name(f"{name}.weight")
        found[theirs] = entry
        if number is not None:
            single.setdefault(theirs, {})[number] = entry
    return found | {name: _of_experts(name, experts) for name, experts in single.items()}


def _of_experts(name: str, experts: Mapping[int, Entry]) -> Entry:
    numbers = sorted(experts)
    if numbers != list(range(len(numbers))):
        missing = min(set(range(numbers[-1])) - set(numbers))
        raise ValueError(f"stats must hold every expert of {name}, got none of expert {missing}")
    counts = np.array([experts[number].count for number in numbers])
    return Entry(np.stack([experts[number].sums for number in numbers]), counts)


def importance(entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """Tensor name -> mean square of each column, or of each expert's, as `llama.export` takes it."""
    return {name: entry.importance for name, entry in entries.items()}


def unheard(entries: Mapping[str, Entry]) -> str:
    """How many experts heard nothing, in words to go on with; "" where none did.

    >>> unheard({"blk.0.ffn_up_exps.weight": Entry(np.ones((2, 4)), np.array([3, 0]))})
    ' (1 of 2 experts heard nothing: more text, or other text, would reach them)'
    """
    counts = [entry.count for name, entry in entries.items() if "ffn_up_exps." in name and np.ndim(entry.count)]
    silent, experts = sum(int((count == 0).sum()) for count in counts), sum(map(len, counts))
    said = f" ({silent} of {experts} experts heard nothing: more text, or other text, would reach them)"
    return said if silent else ""


def save(path, entries: Mapping[str, Entry], dataset: str = "", chunk: int = CHUNK) -> Path:
    """Write the GGUF form, or the legacy one where `path` ends in .dat."""
    path = Path(path)
    if path.suffix == ".dat":
        write_atomic(path, legacy(entries, dataset, chunk))
        return path
    chunks = max((entry.most // chunk for entry in entries.values()), default=0)
    keys = {
        "general.type": "imatrix",
        "imatrix.datasets": [dataset],
        "imatrix.chunk_count": chunks,
        "imatrix.chunk_size": chunk,
    }
    f32, parts = type_id("F32"), []
    for name, entry in entries.items():
        sums, counts = np.atleast_2d(entry.sums.astype(np.float32)), np.float32(entry.count).reshape(-1, 1)
        parts.append(Part(f"{name}.in_sum2", sums.shape, f32, lambda sums=sums: sums))
        parts.append(Part(f"{name}.counts", counts.shape, f32, lambda counts=counts: counts))
    return write(path, keys, parts)


def load(path) -> dict[str, Entry]:
    """Read either form, told apart by the first bytes; GGUFError says what is wrong with the file."""
    with open(path, "rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    return from_gguf(read(path)) if is_gguf else from_legacy(Path(path).read_bytes())


def legacy(entries: Mapping[str, Entry], dataset: str = "", chunk: int = CHUNK) -> bytes:
    """The .dat form: number of entries; of each name, calls, values as mean square * calls; last call, dataset.

    Experts lie one after the other, and share the calls of the one that heard most: which it was is lost.
    """
    out = [struct.pack("<i", len(entries))]
    last = 0
    for name, entry in entries.items():
        calls = entry.calls(chunk)
        last = max(last, calls)
        values = (entry.mean * calls).astype("<f4").reshape(-1)
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
        counts, rows = file.tensors.get(f"{stem}.counts"), info.shape[0] if len(info.shape) == 2 else 1
        fits = counts is not None and counts.shape in ((rows,), (rows, 1)) and counts.type == "F32"
        if not fits or len(info.shape) > 2 or info.type != "F32":
            raise GGUFError(f"{name} must be F32 of the shape (experts, in), 1 of a linear, beside as many F32 in"
                            f" {stem}.counts, got {info.type} {info.shape}")  # fmt: skip
        sums, heard = file.tensor(name), file.tensor(counts.name).reshape(-1)
        entries[stem] = _entry(stem, sums.reshape(-1), heard) if rows == 1 else _entry(stem, sums, heard)
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
        entries[name] = _entry(name, values.astype(np.float64) * CHUNK, np.float64([calls * CHUNK]))
    return _some(entries)


def _some(entries: dict[str, Entry]) -> dict[str, Entry]:
    if not entries:
        raise GGUFError("the file holds no entry of an importance matrix")
    return entries


def _entry(name, sums, counts) -> Entry:
    """An entry of sums (in,) and one count, or (experts, in) and as many."""
    sums, whole = sums.astype(np.float64), ((counts >= 1) & (counts < np.inf) | (counts == 0)).all()
    if not whole or not counts.any() or not np.isfinite(sums).all() or (sums < 0).any() or not sums.size:
        raise GGUFError(f"{name} must hold finite sums >= 0 over at least one token, got a count of {counts.max():g}")
    return Entry(sums, int(counts[0]) if sums.ndim == 1 else counts.astype(np.int64))
