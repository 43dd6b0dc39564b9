"""Chapter 08's part of the learner's quantizer: a GGUF file whose layout and order of rows are theirs, Q8_0 inside.

Their `offsets` place the tensors, their `tensor_info` announces them, their `permute` orders q and k, and their
`header` has to read what was written. Keys, values and Q8_0's blocks are the course's.
"""

import tempfile
from pathlib import Path

import torch

from course_lib.artifacts.gguf import llama
from course_lib.artifacts.gguf.load import load
from course_lib.artifacts.gguf.tensors import type_id
from course_lib.artifacts.gguf.values import typed
from course_lib.artifacts.gguf.writer import encode, string
from course_lib.checks.quantizer import Recipe
from course_lib.files import write_atomic
from course_lib.qtensor import quantize as courses
from course_lib.scheme import Scheme

ALIGNMENT = 32


def write(pieces, model, tokenizer, path):
    """Write `model` as the GGUF file `path` with the pieces' header, infos, layout and permutation; returns the path.

    ValueError where the pieces' own `header` does not read what was written.
    """
    fields = llama.keys(model.config, "Q8_0", len(tokenizer)) | llama.tokenizer_keys(tokenizer)
    tensors = [_stored(pieces, name, w, model.config) for name, w in _weights(model)]
    places = [int(at) for at in pieces.offsets([len(data) for _, _, _, data in tensors], ALIGNMENT)]  # 64.0 passes
    out = bytearray(b"GGUF" + (3).to_bytes(4, "little"))
    out += len(tensors).to_bytes(8, "little") + len(fields).to_bytes(8, "little")
    for key, value in fields.items():
        field = typed(key, value)
        out += string(key) + field.type.to_bytes(4, "little") + encode(field)
    for (name, shape, kind, _), at in zip(tensors, places, strict=True):
        out += pieces.tensor_info(name, shape, kind, at)
    out += bytes(-len(out) % ALIGNMENT)
    start, wanted = len(out), (3, len(tensors), len(fields), next(iter(fields)))
    if tuple(pieces.header(bytes(out))) != wanted:
        raise ValueError(f"header reads {pieces.header(bytes(out))} where {wanted} was written")
    for (_, _, _, data), at in zip(tensors, places, strict=True):
        out += bytes(max(0, start + at - len(out)))
        out[start + at : start + at + len(data)] = data
    write_atomic(path, bytes(out))
    return Path(path)


def _weights(model):
    """(name in Hugging Face's order, weight) of every parameter that the file holds; a tied head is left out."""
    for theirs, w in model.state_dict().items():
        if theirs != "lm_head.weight" or not model.config.tie_word_embeddings:
            yield theirs, w


def _stored(pieces, theirs, w, config):
    """(name, shape, type id, bytes) of one tensor: norms in F32, matrices in Q8_0."""
    name, w = llama.gguf_name(theirs), w.float()
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads:
        w = torch.as_tensor(pieces.permute(w, heads)).float().reshape(w.shape)
    kind = type_id("F32" if w.dim() == 1 else "Q8_0")
    return name, tuple(w.shape), kind, llama.stored(w.contiguous(), kind).tobytes()


def prepare(pieces, model, scheme):
    """The model as the learner's file brings it back."""
    from course_lib.checks.curve import base

    with tempfile.TemporaryDirectory() as folder:
        return load(write(pieces, model, base().tokenizer, Path(folder) / "mine.gguf"))[0]


RECIPE = Recipe(
    "Q8_0 in your own GGUF: one 16-bit scale for 32",
    Scheme.int(8, group=32, scale_dtype=torch.float16),
    ("header", "tensor_info", "offsets", "permute"),
    lambda pieces, w, scheme: courses(w, scheme),
    prepare,
)
