"""What the names on download pages say, word by word: "…-Q4_K_M.gguf", "…-AWQ", "…-FP8-dynamic", "…-3.0bpw-exl3".

A name is a habit, not a standard. What it leaves open (the calibration text, the group size, whether anybody measured)
only the model's card and its config.json can tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from course_lib.artifacts.gguf.mixes import BASE
from course_lib.capacity.plan.formats import stored, weight_format


@dataclass(frozen=True)
class Word:
    """One word of a name, and what it says.

    weights  the format as `capacity.plan` calls it, or None where the word does not fix one
    inputs   how a layer's inputs enter the product; "" where the word does not say
    home     the runtime that the file is made for; "" where the word does not say
    """

    word: str
    what: str
    weights: str | None = None
    inputs: str = "16 bits"
    home: str = ""
    chapter: str = ""

    def bytes(self, config: Mapping[str, Any]) -> int | None:
        """Bytes of the tensors of a model of this config (a config.json as a dict); None where no format is fixed.

        >>> tiny = dict(model_type="llama", hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        ...             num_attention_heads=1, vocab_size=64)
        >>> read("bot-Q8_0.gguf")[-1].bytes(tiny)
        39936
        """
        if self.weights is None:
            return None
        return math.ceil(sum(bits for _, bits in stored(config, weight_format(self.weights))) / 8)


FIXED = {  # the word in a pattern: what, weights, inputs, home, chapter
    "UD": ("a type for each tensor; the next word is a hint", None, "", "", "09"),
    "i1|imat(?:rix)?": ("made with an importance matrix", None, "", "", "09"),
    "QAT": ("trained under its own rounding before it was rounded", None, "", "", "15"),
    "I?Q[1-8]_K?_?(?:XXL|XL|L)": ("a mix that is not llama.cpp's own", None, "Q8 blocks", "llama.cpp", "09"),
    "AWQ": ("4 bits, columns rescaled before rounding", "awq", "16 bits", "vLLM", "07"),
    "W4A16": ("4-bit weights, as llm-compressor writes them", "w4a16", "16 bits", "vLLM", "05"),
    "FP8.W8A8|W8A8.FP8": ("E4M3 on both sides", "fp8", "FP8", "vLLM", "10"),
    "W8A8": ("whole numbers on both sides", "int8", "INT8", "vLLM", "05"),
    "FP8-dynamic": ("E4M3, inputs scaled as they come", "fp8", "FP8", "vLLM", "10"),
    "FP8": ("E4M3 on both sides", "fp8", "FP8", "vLLM", "10"),
    "NVFP4": ("E2M1 in blocks of 16, two levels of scales", "nvfp4", "NVFP4", "vLLM", "10"),
    "MXFP4": ("E2M1 in blocks of 32, the scale a power of two", "mxfp4", "16 bits", "vLLM, llama.cpp", "10"),
    "bnb-4bit": ("NF4, its scales rounded again", "nf4", "16 bits", "transformers", "05"),
    "HQQ": ("zero points found without any data", None, "16 bits", "transformers", "04"),
    "AutoRound": ("roundings learned by descent", None, "16 bits", "vLLM", "15"),
    "exl3": ("a trellis: neighbours share their bits", None, "16 bits", "ExLlamaV3", "15"),
    "exl2": ("GPTQ in mixed widths", None, "16 bits", "ExLlamaV2", "06"),
}
_MIX = "|".join(sorted(map(re.escape, BASE), key=len, reverse=True))
_MLX = "(?<=mlx-)[3468]-?bit|[3468]-?bit(?=-mlx)"


def _mix(match: re.Match) -> Word:
    mix = match[0].upper()
    plain = mix in ("F32", "F16", "BF16")
    what = "not quantized, in a GGUF" if plain else f"a mix of ggml's types, most of it {BASE[mix][0]}"
    inputs = "16 bits" if plain else "Q8 blocks"  # llama.cpp rounds them on the way into a product
    return Word(match[0], what, f"gguf:{mix}", inputs, "llama.cpp", "08" if plain else "09")


def _gptq(match: re.Match) -> Word:
    bits = match["bits"] or "4"
    what = f"{bits} bits, errors moved into columns not yet rounded"
    return Word(match[0], what, "gptq" if bits == "4" else None, home="vLLM", chapter="06")


def _bpw(match: re.Match) -> Word:
    return Word(match[0], f"{match['bits']} bits a weight on average, without the head", inputs="")


def _mlx(match: re.Match) -> Word:
    what = "a scale and an offset for each 64 weights"
    return Word(match[0], what, f"mlx-{match[0][0]}bit", home="MLX", chapter="04")


_DERIVED = {_MIX: _mix, "GPTQ(?:-Int(?P<bits>[2348]))?": _gptq, r"(?P<bits>\d(?:\.\d+)?)bpw": _bpw, _MLX: _mlx}


def read(name: str) -> tuple[Word, ...]:
    """The words in the name of a file or repository that say how it was quantized, in the order in which they stand.

    >>> [word.word for word in read("Llama-3.1-8B-Instruct-UD-Q4_K_XL.gguf")]
    ['UD', 'Q4_K_XL']
    >>> read("Qwen3-8B-AWQ")[0].weights
    'awq'
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string such as 'Qwen3-8B-AWQ', got {type(name).__name__}")
    rules = _DERIVED | {pattern: lambda m, says=says: Word(m[0], *says) for pattern, says in FIXED.items()}
    if name.lower().startswith("mlx-community/"):  # all that lies there is MLX's
        rules["[3468]-?bit"] = _mlx
    found: dict[int, Word] = {}
    for pattern, word in rules.items():
        for match in re.finditer(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9_])", name, re.IGNORECASE):
            if not any(at <= match.start() < at + len(w.word) for at, w in found.items()):
                found[match.start()] = word(match)
    words = [found[at] for at in sorted(found)]
    if any(word.word.upper() == "UD" for word in words):  # what follows fixes no size then
        words = [replace(word, weights=None) for word in words]
    return tuple(words)
