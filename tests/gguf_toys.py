"""Small whole GGUF files, in bytes: a llama of one layer, importance matrices in both forms, every kind of key."""

from __future__ import annotations

import contextlib
import functools

import numpy as np

from course_lib.artifacts.gguf import imatrix, tensors, writer
from course_lib.artifacts.gguf.imatrix import Entry
from course_lib.artifacts.gguf.values import ARRAY, SCALARS, STRING, Value, typed
from course_lib.artifacts.gguf.writer import Part
from course_lib.formats import ggml

HIDDEN, HEADS, KV_HEADS, INNER = 32, 4, 2, 32
FFN = ("gate", "up", "down")
TOKENS = ["a", "b", "c", "ab", "abc", "Ġ", "<end>"]
LLAMA_KEYS = {
    "general.architecture": "llama",
    "llama.vocab_size": len(TOKENS),
    "llama.context_length": 16,
    "llama.embedding_length": HIDDEN,
    "llama.block_count": 1,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 1e4,
    "llama.rope.dimension_count": HIDDEN // HEADS,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": np.int32([1, 1, 1, 1, 1, 1, 3]),
    "tokenizer.ggml.merges": ["a b", "ab c"],
    "tokenizer.ggml.eos_token_id": 6,
}
SHAPES = {
    "token_embd.weight": (len(TOKENS), HIDDEN),
    "blk.0.attn_norm.weight": (HIDDEN,),
    "blk.0.attn_q.weight": (HIDDEN, HIDDEN),
    "blk.0.attn_k.weight": (HIDDEN // HEADS * KV_HEADS, HIDDEN),
    "blk.0.attn_v.weight": (HIDDEN // HEADS * KV_HEADS, HIDDEN),
    "blk.0.attn_output.weight": (HIDDEN, HIDDEN),
    "blk.0.ffn_norm.weight": (HIDDEN,),
    "blk.0.ffn_gate.weight": (INNER, HIDDEN),
    "blk.0.ffn_up.weight": (INNER, HIDDEN),
    "blk.0.ffn_down.weight": (HIDDEN, INNER),
    "output_norm.weight": (HIDDEN,),
}
ENTRIES = {"blk.0.attn_q.weight": Entry(np.arange(1.0, 5) * 512, 1024), "blk.0.ffn_up.weight": Entry(np.ones(3), 512),
           "blk.0.ffn_up_exps.weight": Entry(np.ones((2, 3)), np.array([512, 0]))}  # fmt: skip


def joined(keys: dict, parts: list[Part], version: int = 3) -> bytes:
    """The bytes that `write` would put into a file."""
    out = bytearray(writer.header({key: typed(key, value) for key, value in keys.items()}, parts, version))
    for part in parts:
        data = np.ascontiguousarray(part.data()).tobytes()
        out += data + bytes(-len(data) % 32)
    return bytes(out)


def llama(kind: str = "Q4_0") -> bytes:
    """A whole model of one layer whose matrices have this type."""
    rng, parts = np.random.default_rng(0), []
    for name, shape in SHAPES.items():
        w = rng.standard_normal(shape).astype(np.float32)
        matrix = len(shape) > 1
        data = ggml.quantize(w, kind) if matrix else w
        parts.append(Part(name, shape, tensors.type_id(kind if matrix else "F32"), lambda data=data: data))
    return joined(LLAMA_KEYS, parts)


def qwen() -> bytes:
    """A whole Qwen3 of one layer with yarn, its tokenizer of SentencePiece's kind."""
    rng, parts = np.random.default_rng(0), []
    keys = {key.replace("llama.", "qwen3."): value for key, value in LLAMA_KEYS.items() if "merges" not in key}
    keys |= {"general.architecture": "qwen3", "tokenizer.ggml.model": "llama", "qwen3.attention.key_length": 8,
             "tokenizer.ggml.scores": np.float32([0, 0, 0, -1, -2, 0, 0]), "tokenizer.ggml.add_space_prefix": True,
             "qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 2.0,
             "qwen3.rope.scaling.original_context_length": 8}  # fmt: skip
    norms = {f"blk.0.attn_{role}_norm.weight": (HIDDEN // HEADS,) for role in "qk"}
    for name, shape in (SHAPES | norms).items():
        w = rng.standard_normal(shape).astype(np.float32)
        parts.append(Part(name, shape, tensors.type_id("F32"), lambda w=w: w))
    return joined(keys, parts)


def mixture() -> bytes:
    """A whole Qwen3-MoE of one layer, two experts of which one is used."""
    rng, parts = np.random.default_rng(0), []
    keys = {key.replace("llama.", "qwen3moe."): value for key, value in LLAMA_KEYS.items()}
    keys |= {"general.architecture": "qwen3moe", "qwen3moe.attention.key_length": 8, "qwen3moe.expert_count": 2,
             "qwen3moe.expert_used_count": 1, "qwen3moe.expert_feed_forward_length": INNER}  # fmt: skip
    shapes = {name: shape for name, shape in SHAPES.items() if "ffn_norm" in name or "ffn" not in name}
    shapes |= {f"blk.0.attn_{role}_norm.weight": (HIDDEN // HEADS,) for role in "qk"}
    shapes |= {f"blk.0.ffn_{role}_exps.weight": (2, *SHAPES[f"blk.0.ffn_{role}.weight"]) for role in FFN}
    for name, shape in (shapes | {"blk.0.ffn_gate_inp.weight": (2, HIDDEN)}).items():
        w = rng.standard_normal(shape).astype(np.float32)
        blocks = len(shape) > 1 and "gate_inp" not in name
        data = ggml.quantize(w.reshape(-1, shape[-1]), "Q4_0") if blocks else w
        parts.append(Part(name, shape, tensors.type_id("Q4_0" if blocks else "F32"), lambda data=data: data))
    return joined(keys, parts)


def scaled() -> bytes:
    """A whole llama of one layer with biases and Llama 3.1's divisors."""
    rng, parts = np.random.default_rng(0), []
    biases = {f"blk.0.attn_{role}.bias": SHAPES[f"blk.0.attn_{role}.weight"][:1] for role in ("q", "k", "v", "output")}
    for name, shape in (SHAPES | biases).items():
        w = rng.standard_normal(shape).astype(np.float32)
        parts.append(Part(name, shape, tensors.type_id("F32"), lambda w=w: w))
    parts.append(Part("rope_freqs.weight", (4,), tensors.type_id("F32"), lambda: np.float32([1, 1, 8, 8])))
    return joined(LLAMA_KEYS, parts)


def every_value() -> bytes:
    """A key of each value type, arrays of each, arrays within arrays, and a tensor of each block type."""
    import gguf

    rng = np.random.default_rng(1)
    keys = {f"one.{k}": Value(1, k) for k in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12)}
    keys |= {f"many.{k}": Value([1, 0, 1], ARRAY, k) for k in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12)}
    keys["text"] = "naïve\x1b[2J"
    keys["texts"] = Value(["", "é", "x"], ARRAY, STRING)
    inner = Value([Value([1, 2], ARRAY, 4), Value(["a"], ARRAY, STRING)], ARRAY, ARRAY)
    keys["nested"] = Value([inner, Value([], ARRAY, 0)], ARRAY, ARRAY)
    parts = []
    sizes = {known.value: (known.name, *size) for known, size in gguf.GGML_QUANT_SIZES.items()}
    sizes |= {t.type_id: (t.name, t.elements, t.block_bytes) for t in ggml.TYPES.values()}
    for number, (name, elements, size) in sizes.items():
        data = rng.integers(0, 256, size, dtype=np.uint8)
        parts.append(Part(f"t.{name}", (1, elements), number, lambda data=data: data))
    return joined(keys, parts, 2)


def matrices() -> tuple[bytes, bytes]:
    """An importance matrix in the GGUF form and in the legacy one."""
    f32, parts = tensors.type_id("F32"), []
    for name, entry in ENTRIES.items():
        sums, count = np.atleast_2d(entry.sums).astype(np.float32), np.float32(entry.count).reshape(-1, 1)
        parts.append(Part(f"{name}.in_sum2", sums.shape, f32, lambda sums=sums: sums))
        parts.append(Part(f"{name}.counts", count.shape, f32, lambda count=count: count))
    keys = {"general.type": "imatrix", "imatrix.datasets": ["x"], "imatrix.chunk_count": 2, "imatrix.chunk_size": 512}
    return joined(keys, parts), imatrix.legacy(ENTRIES, "x")


def seeds() -> dict[str, bytes]:
    """Name -> bytes: what a fuzzer starts from."""
    ours, legacy = matrices()
    whole = {"llama": llama(), "llama-q8": llama("Q8_0"), "qwen3": qwen(), "mixture": mixture(), "scaled": scaled(),
             "values": every_value(), "imatrix": ours, "empty": joined({}, [])}  # fmt: skip
    return {name: data + bytes(64) for name, data in whole.items()} | {"legacy": legacy}  # room for a longer key


def consume(data: bytes, deep: bool = True) -> str:
    """Everything that the course does with a file from a stranger; how far it came, in one word.

    deep=False leaves out what is slow and has no more lies to look at: building a model, decoding tensors.
    """
    from course_lib.artifacts.gguf import GGUFError, load, parse, show

    if data[:4] != b"GGUF":
        imatrix.from_legacy(data)
        return "legacy"
    file = parse(data)
    show.summary(file)
    if file.metadata.get("general.type") == "imatrix":
        imatrix.from_gguf(file)
        return "imatrix"
    if file.metadata.get("general.architecture") in ("llama", "qwen3", "qwen3moe"):
        (load.keeping_blocks(load.model_of(file), file) if deep else load.config_of(file))
        load.tokenizer_of(file)
        return "llama"
    for name in file.tensors if deep else ():
        with contextlib.suppress(GGUFError):  # a type that is not decoded
            file.tensor(name)
    return "container"


def numbers(data: bytes) -> list[tuple[int, int]]:
    """(place, bytes) of every count, length, type, dimension and offset: what a reader believes or does not.

    Of a damaged file those before the damage.
    """
    return _places(data)[0]


def values(data: bytes) -> list[tuple[int, int]]:
    """(begin, end) of the type and value of every key, which may stand behind another key as well."""
    return _places(data)[1]


@functools.lru_cache(maxsize=512)
def _places(data):
    found, spans = [], []
    try:
        _walk(data, found, spans) if data[:4] == b"GGUF" else _walk_legacy(data, found)
    except EOFError:
        pass
    return found, spans


def _number(data, at, size, found):
    if at + size > len(data) or len(found) > 10_000:
        raise EOFError
    found.append((at, size))
    return int.from_bytes(data[at : at + size], "little"), at + size


def _text(data, at, found):
    size, at = _number(data, at, 8, found)
    return at + size


def _value(data, at, kind, found):
    if kind in SCALARS:
        return _number(data, at, SCALARS[kind].itemsize, found)[1]
    if kind == STRING:
        return _text(data, at, found)
    items, at = _number(data, at, 4, found)
    n, at = _number(data, at, 8, found)
    for _ in range(n):
        at = _value(data, at, items, found)
    return at


def _walk(data, found, spans):
    _, at = _number(data, 4, 4, found)
    tensors, at = _number(data, at, 8, found)
    keys, at = _number(data, at, 8, found)
    for _ in range(keys):
        begin = _text(data, at, found)
        kind, at = _number(data, begin, 4, found)
        at = _value(data, at, kind, found)
        spans.append((begin, at))
    for _ in range(tensors):
        dims, at = _number(data, _text(data, at, found), 4, found)
        for size in (8,) * min(dims, 9) + (4, 8):
            _, at = _number(data, at, size, found)


def _walk_legacy(data, found):
    entries, at = _number(data, 0, 4, found)
    for _ in range(entries):
        size, at = _number(data, at, 4, found)
        _, at = _number(data, at + size, 4, found)
        n, at = _number(data, at, 4, found)
        at += 4 * n
