"""Chapter 09's part of the learner's quantizer: Q4_0 with their own bytes, and a GGUF file that llama.cpp runs."""

import torch

from course_lib.artifacts.gguf import Part, llama, mixes, write
from course_lib.artifacts.gguf.tensors import type_id
from course_lib.checks import curve
from course_lib.checks.quantizer import Recipe
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

SCHEME = Scheme.int(4, "full", group=32, scale_dtype=torch.float16)


def quantize(pieces, w, scheme):
    """w (out, in) through `q4_0`, its bytes taken apart again. ValueError for another scheme: Q4_0 is one format."""
    if scheme != SCHEME:
        raise ValueError(f"this chapter's quantizer writes Q4_0, which is {SCHEME.name}, got {scheme.name}")
    blocks = pieces.q4_0(w.float().reshape(-1, 32))
    d = blocks[:, :2].contiguous().view(torch.float16).reshape(len(w), -1)
    codes = torch.cat([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], dim=1).reshape(w.shape)
    return QTensor(codes, d, torch.full(d.shape, 8, dtype=torch.uint8), scheme, tuple(w.shape))


def gguf_file(pieces, path):
    """The bundled model as a Q4_0 file, every Q4_0 block written by `pieces.q4_0`; returns its path.

    Names, keys, norms and the tied Q6_K matrix are the course's; llama.cpp sees one more Q4_0 file.
    """
    model, tokenizer = curve.base().model, curve.base().tokenizer
    shape = mixes.Model(model.config.num_hidden_layers, 2, tied=True)
    parts = []
    for name, w in llama.tensors(model):
        number = type_id(mixes.tensor_type(name, tuple(w.shape), "Q4_0", shape))
        parts.append(Part(name, tuple(w.shape), number, lambda w=w, number=number: _stored(pieces, w, number)))
    keys = llama.keys(model.config, "Q4_0", len(tokenizer)) | llama.tokenizer_keys(tokenizer)
    return write(path, keys, parts)


def _stored(pieces, w, number):
    if number != type_id("Q4_0"):
        return llama.stored(w, number)
    return pieces.q4_0(w.float().reshape(-1, 32)).numpy().reshape(-1)


RECIPE = Recipe("Q4_0, your bytes", SCHEME, ("q4_0",), quantize)
