"""What may lie beside a weight in a GGUF file: NVFP4's second scale, one float32 for a whole matrix.

ggml's blocks of NVFP4 have E4M3 scales only. A checkpoint's global scale goes into a tensor of its own, such as
`blk.0.ffn_up.scale` beside `blk.0.ffn_up.weight`, and llama.cpp multiplies the product with it; experts have one each.
`….input_scale` belongs to the inputs, and is no part of the weight.
"""

from __future__ import annotations

import numpy as np

from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile

BESIDE = ("scale", "input_scale")


def weights(file: GGUFFile) -> list[str]:
    """Names of the tensors but for scales that belong to a weight of the file."""
    parts = {name: name.rpartition(".") for name in file.tensors}
    return [name for name, (stem, _, leaf) in parts.items() if leaf not in BESIDE or f"{stem}.weight" not in parts]


def scale(file: GGUFFile, name: str) -> np.ndarray | None:
    """What a weight is to be multiplied with, (1, 1), or (experts, 1, 1); None where there is nothing.

    GGUFError unless it is one F32, or one an expert.
    """
    stem, _, leaf = name.rpartition(".")
    beside = file.tensors.get(f"{stem}.scale") if leaf == "weight" else None
    if beside is None:
        return None
    shape = file.tensors[name].shape
    count = shape[0] if len(shape) == 3 else 1
    if beside.shape != (count,) or beside.type != "F32":
        wanted = "one" if count == 1 else count
        raise GGUFError(f"{beside.name} must be {wanted} F32, got {beside.type} of the shape {beside.shape}")
    return file.tensor(beside.name).reshape(count, *(1,) * (len(shape) - 1))
