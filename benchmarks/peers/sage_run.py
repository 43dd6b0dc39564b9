"""SageAttention's own kernels in Triton's interpreter: writes tests/golden/sage.safetensors.

    python benchmarks/peers/sage_run.py FOLDER      FOLDER: the unpacked wheel of sageattention 1.0.6 (Triton only)

256 tokens, whole blocks: of 200 the dense kernel gives a share to the keys that are not there, and of 192 the causal
one reads a scale behind the last (the interpreter's bounds say so).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path[:0] = [sys.argv[1], str(Path(__file__).resolve().parents[2])]

import torch  # noqa: E402
from safetensors.torch import save  # noqa: E402
from sageattention.attn_qk_int8_per_block import forward as dense  # noqa: E402
from sageattention.attn_qk_int8_per_block_causal import forward as causal  # noqa: E402
from sageattention.quant_per_block import per_block_int8  # noqa: E402

import course_lib.kernels.interpreter  # noqa: E402, F401
from course_lib.files import write_atomic  # noqa: E402
from tests.test_kv_sage import GOLDEN, loud_mean  # noqa: E402


def main() -> None:
    q, k, v = loud_mean()
    q8, q_scale, k8, k_scale = per_block_int8(q, k - k.mean(2, keepdim=True))
    found = {"q_codes": q8, "k_codes": k8, "q_scale": q_scale, "k_scale": k_scale}
    for name, forward in (("dense", dense), ("causal", causal)):
        found[name] = forward(q8, k8, v, q_scale, k_scale, output_dtype=torch.float16)
    write_atomic(GOLDEN, save(found))


if __name__ == "__main__":
    main()
