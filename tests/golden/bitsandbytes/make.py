"""NF4 codes and an LLM.int8 product by bitsandbytes, on numbers that every machine computes alike: writes golden.json.

    VENV/bin/python tests/golden/bitsandbytes/make.py

VENV is a virtual environment with bitsandbytes 0.50.2, whose CPU wheel does; the course itself needs none.
"""

import json
from pathlib import Path

import bitsandbytes
import bitsandbytes.functional as F
import torch

FOLDER = Path(__file__).parent


def numbers(n, step):
    """n numbers in [-1, 1]: whole numbers, one quotient, one cube."""
    k = (torch.arange(n, dtype=torch.float64) * step % 1009 - 504) / 504
    return (k**3).float()


def nf4():
    """Levels, codes (high nibble first in a byte) and largest |w| of blocks of 64; one block is all zeros."""
    w = numbers(8 * 128, 7919).reshape(8, 128)
    w[3, 64:] = 0
    w[5] *= 100
    packed, state = F.quantize_4bit(w, blocksize=64, quant_type="nf4")
    codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).flatten()
    return {
        "levels": F.get_4bit_type("nf4", device="cpu").double().tolist(),
        "nf4_codes": "".join(f"{c:x}" for c in codes.tolist()),
        "nf4_absmax": state.absmax.double().tolist(),
    }


def llm_int8():
    """Loud channels, sums of the weights' codes, and the product; one input at the threshold, one just below it."""
    x, w = numbers(5 * 128, 617).reshape(5, 128), numbers(8 * 128, 7919).reshape(8, 128)
    x[1:, 7] *= 40
    x[2, 90], x[4, 91] = 6.0, -5.999
    w_codes, w_stats, _ = F.int8_vectorwise_quant(w)
    x_codes, x_stats, columns = F.int8_vectorwise_quant(x.clone(), threshold=6.0)
    mixed = torch.ops.bitsandbytes.int8_mixed_scaled_mm
    y, _ = mixed(x, x_codes, w_codes, x_stats, w_stats, columns, None)
    return {
        "int8_columns": columns.tolist(),
        "int8_w_codes_sum": w_codes.int().sum(1).tolist(),
        "int8_y": [[round(v, 6) for v in row] for row in y.double().tolist()],
    }


if __name__ == "__main__":
    found = {"made_by": f"bitsandbytes {bitsandbytes.__version__}, CPU"} | nf4() | llm_int8()
    text = json.dumps(found, separators=(",", ":"))
    (FOLDER / "golden.json").write_text(text, encoding="utf-8")
