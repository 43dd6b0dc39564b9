"""An engine's log beside the plan: which of its lines agree, which differ, and by how much.

vLLM and llama.cpp say at start what they found. Read are the lines of vLLM 0.6 to 0.11 and of llama.cpp from 2024 on,
ollama's included. vLLM printed "GB" for 2^30 bytes before version 0.7; every figure here is in GiB or MiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from course_lib.capacity.bytes import GIB
from course_lib.capacity.offload_file import compute_bytes, window_cells
from course_lib.capacity.plan.figures import size
from course_lib.capacity.plan.memory import Plan
from course_lib.capacity.plan.tensors import tied
from course_lib.kvcache.config import HEADS, WIDTH, optional, whole

NUMBER = r"(\d+(?:\.\d+)?)"
LONGEST = 4 * 2**20  # characters of a log that are read
CLOSE = 0.01  # one percent

VLLM = {  # what: patterns, the first that matches counts
    "weights": (rf"(?:Loading model weights|Model loading) took {NUMBER} Gi?B",
                rf"model weights take\s+{NUMBER}\s?GiB"),
    "kv room": (rf"Available KV cache memory: {NUMBER} GiB", rf"kv_cache_size={NUMBER}GiB",
                rf"reserved for KV Cache is {NUMBER}GiB", rf"available_kv_cache_memory\s+{NUMBER}GiB"),
    "activations": (rf"activation peak memory\s+(?:takes )?{NUMBER}GiB",),
    "peak": (rf"peak_torch_memory={NUMBER}GiB",),
    "memory": (rf"total_gpu_memory[ =(]+{NUMBER}GiB",),
    "utilization": (rf"gpu_memory_utilization[ =(]+{NUMBER}",),
    "blocks": (r"(?:GPU|CUDA) blocks: (\d+)",),
    "tokens": (r"GPU KV cache size: ([\d,]+) tokens",),
}  # fmt: skip
BUFFER = re.compile(rf"\b(?!output )([A-Za-z]\w*) +(model |KV |compute |)buffer size *= *{NUMBER} MiB")
PART = re.compile(r"creating +(non-SWA|SWA) KV cache")  # layers with a window have a cache, and lines, of their own
N_CTX, N_SEQ = re.compile(r"\bn_ctx *= *(\d+)"), re.compile(r"\bn_seq_max *= *(\d+)")
UNIFIED = re.compile(r"\bkv_unified *= *true")
FILE_SIZE = re.compile(rf"(?:file|model) size *= *{NUMBER} GiB")


@dataclass(frozen=True)
class Finding:
    """One figure of a log and the plan's: in bytes, or in tokens. note says what the plan's figure holds."""

    what: str
    logged: float
    planned: float
    unit: str = "bytes"
    note: str = ""
    half: float = 0.0  # half of the last digit that the log prints

    @property
    def difference(self) -> float:
        """Logged less planned."""
        return self.logged - self.planned

    @property
    def agrees(self) -> bool:
        """Equal to the log's last digit, or within one percent."""
        return abs(self.difference) <= max(self.half * 1.001, CLOSE * abs(self.planned))

    def sentence(self, gb: bool = False) -> str:
        """`weights: log 14.99 GiB, plan 14.99 GiB: agree`."""
        logged, planned, off = (self._shown(n, gb) for n in (self.logged, self.planned, abs(self.difference)))
        share = f" ({abs(self.difference) / self.planned:.1%})" if self.planned else ""
        more = "more" if self.difference > 0 else "less"
        verdict = "agree" if self.agrees else f"differ, the log has {off}{share} {more}"
        return f"{self.what}: log {logged}, plan {planned}: {verdict}" + (f". {self.note}" if self.note else "")

    def _shown(self, n: float, gb: bool) -> str:
        return size(n, gb) if self.unit == "bytes" else f"{n:,.0f} {self.unit}"


def reconcile(p: Plan, log: str) -> list[Finding]:
    """Every figure of the log that the plan also has; ValueError for a text without any.

    Line by line of what one GPU says: a vLLM worker prints its own share, and so does the plan here.
    """
    if not isinstance(log, str):
        raise ValueError(f"log must be the text of an engine's log, got {type(log).__name__}")
    log = log[:LONGEST]
    found = [*_vllm(p, log), *_llama_cpp(p, log)]
    if not found:
        raise ValueError("log must hold lines that vLLM or llama.cpp print at start, such as 'Model loading took 14.99"
                         " GiB' or 'CUDA0 model buffer size = 4403.49 MiB'; none was found")  # fmt: skip
    return found


def read(log: str) -> dict[str, tuple[float, float]]:
    """vLLM's figures by name: (value, half of the last digit printed); sizes in bytes.

    >>> read("Loading model weights took 14.9888 GB")["weights"][0] / 2**30
    14.9888
    """
    found = {}
    for what, patterns in VLLM.items():
        match = next(filter(None, (re.search(pattern, log) for pattern in patterns)), None)
        if match:
            text = match[1].replace(",", "")
            scale = 1 if what in ("utilization", "blocks", "tokens") else GIB
            found[what] = float(text) * scale, 0.5 * 10.0 ** -len(text.partition(".")[2]) * scale
    return found


def _vllm(p: Plan, log: str) -> Iterator[Finding]:
    said = read(log)
    if "weights" in said:
        logged, half = said["weights"]
        yield Finding("weights", logged, p.weights.value / p.gpus + rotary_bytes(p), half=half,
                      note=f"With the rotary table of {rotary_bytes(p) / 2**20:.0f} MiB that vLLM keeps.")  # fmt: skip
    if "peak" in said and "weights" in said:
        said["activations"] = said["peak"][0] - said["weights"][0], said["peak"][1]
    if "activations" in said:
        logged, half = said["activations"]
        yield Finding("activations", logged, p.activations.value / p.gpus, half=half,
                      note=f"Planned for chunks of {p.assume.chunk:,} tokens.")  # fmt: skip
    if "kv room" in said:
        logged, half = said["kv room"]
        room = (p.memory - p.weights.value - p.activations.value - p.reserve.value) / p.gpus
        yield Finding("memory left for the cache", logged, room, half=half, note=_memory_note(p, said))
        yield from _pages(p, said, logged, half)


def _pages(p: Plan, said: dict, room: float, half: float) -> Iterator[Finding]:
    """Tokens that the logged memory holds, by the plan's bytes a token and by the engine's own count."""
    if any(layer.cap is not None for layer in p.kv_layers):
        return  # with windows the engine's blocks differ from layer to layer
    token = float(p.kv_of(1, 1)) / p.gpus
    page = p.assume.page
    if "blocks" in said or "tokens" in said:
        logged = said["tokens"][0] if "tokens" in said else said["blocks"][0] * page
        planned = room // (page * token) * page
        yield Finding("tokens in that memory", logged, planned, "tokens", half=half / token + page,
                      note=f"{token:,.0f} bytes a token.")  # fmt: skip


def _memory_note(p: Plan, said: dict) -> str:
    """What the log says of the memory itself, beside what the plan took for it."""
    if "memory" not in said:
        return ""
    share = f", of which it may use {said['utilization'][0]:.0%}" if "utilization" in said else ""
    return (f"The engine sees {size(said['memory'][0])} a GPU{share}; the plan took"
            f" {p.on.memory_gib:g} GiB less {p.reserve.value / p.gpus / GIB:.2f} of reserve.")  # fmt: skip


def rotary_bytes(p: Plan) -> int:
    """vLLM's table of cosines and sines: positions x rotated numbers a head x 2 bytes; 0 where the config is silent."""
    positions = optional(p.config, "max_position_embeddings") or 0
    rotated = optional(p.config, ("qk_rope_head_dim",)) or optional(p.config, "head_dim")
    return positions * (rotated or whole(p.config, WIDTH) // whole(p.config, HEADS)) * 2


def _llama_cpp(p: Plan, log: str) -> Iterator[Finding]:
    buffers, half = _buffers(log), 0.005 * 2**20
    if "model" in buffers:
        copy = _embedding(p) if tied(p.config) and len(buffers["model"]) > 1 else 0
        yield Finding("weights in all buffers", sum(buffers["model"].values()), p.weights.value + copy,
                      half=half * len(buffers["model"]),
                      note="Tied: the GPU holds a second copy of the embedding." if copy else "")  # fmt: skip
    elif size_line := FILE_SIZE.search(log):
        yield Finding("weights in the file", float(size_line[1]) * GIB, p.weights.value, half=0.005 * GIB)
    context = N_CTX.search(log)
    if "KV" in buffers:
        tokens = int(context[1]) if context else p.context * p.batch
        yield Finding(f"cache of {tokens:,} tokens", sum(buffers["KV"].values()), _cache(p, log, tokens),
                      half=half * len(buffers["KV"]), note="n_ctx counts the tokens of all sequences.")  # fmt: skip
    gpu = [n for name, n in buffers.get("compute", {}).items() if not name.startswith("CPU") and "Host" not in name]
    if gpu:
        tokens = int(context[1]) if context else p.context
        yield Finding("compute buffer", max(gpu), _compute(p, tokens), half=half,
                      note="Planned for 512 tokens at once and flash attention; without it there is more.")  # fmt: skip


def _buffers(log: str) -> dict[str, dict[str, float]]:
    """Kind of buffer -> where it lies -> bytes; a repeated line counts once."""
    found: dict[str, dict[str, float]] = {}
    windows = False
    for line in log.splitlines():
        if said := PART.search(line):
            windows = said[1] == "SWA"
        for name, kind, mib in BUFFER.findall(line):
            kind = kind.strip() or "model"  # llama.cpp before December 2024 left the word out
            place = f"{name} of windows" if kind == "KV" and windows else name
            found.setdefault(kind, {})[place] = float(mib) * 2**20
    return found


def _cache(p: Plan, log: str, tokens: int) -> float:
    """Bytes of a cache of so many tokens; a layer with a window keeps a batch beside it (`window_cells`)."""
    if all(layer.cap is None for layer in p.kv_layers):
        return float(p.kv_of(tokens, 1))
    said = N_SEQ.search(log)
    sequences = max(1, int(said[1])) if said else 1
    together, apart = (sequences, 1) if UNIFIED.search(log) else (1, sequences)
    each = tokens // apart
    kept = [each if layer.cap is None else window_cells(layer.cap, each, together) for layer in p.kv_layers]
    numbers = sum(n * layer.elements for n, layer in zip(kept, p.kv_layers, strict=True))
    return apart * numbers * p.kv_bits / 8


def _compute(p: Plan, tokens: int) -> int:
    """llama.cpp's compute buffer, of a mixture by what a token meets of its experts."""
    hidden, wide, vocab = p.widths
    experts = [part for part, _ in p.parts if part.role == "experts" and part.name.endswith("up_proj.weight")]
    ffn, used = (experts[0].shape[0], experts[0].used) if experts else (wide, 0)
    cells = [window_cells(layer.cap, tokens) for layer in p.kv_layers if layer.cap is not None]
    return compute_bytes(vocab, hidden, ffn, tokens, used, max(cells, default=0))


def _embedding(p: Plan) -> float:
    return sum(float(bits) / 8 for part, bits in p.parts if part.role == "embed")
