"""Write golden.json beside this file with hqq's own Quantizer, in an environment of its own.

    pip install hqq==0.2.8.post1 && python tests/golden/hqq/make.py

axis=1, groups of 64, float32: codes (two hexadecimal digits each), scales and zero points of four rows, of which the
last has heavy tails. hqq takes p and beta from its solver's options; the kappa in them has no effect there.
"""

import json
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from hqq.core import optimize
from hqq.core.quantize import Quantizer

UNIT = 2.0**-14
OPTIONS = {"kappa": 1.01, "iters": 20}


def main() -> None:
    """Quantize the rows at 2, 3, 4 and 8 bits and write what comes back."""
    g = torch.Generator().manual_seed(7)
    rows = torch.randn(4, 128, generator=g) * torch.tensor([[0.02], [0.2], [1.0], [0.05]])
    rows[3] *= torch.exp(torch.randn(128, generator=g))
    w = torch.round(rows / UNIT)
    golden = {"hqq": version("hqq"), "torch": torch.__version__.split("+")[0], "unit": UNIT, "w": w.int().tolist()}
    golden["cases"] = [case(w * UNIT, bits, p, beta) for bits in (2, 3, 4, 8)
                       for p, beta in ((0.7, 10.0), (0.7, 100.0), (1.0, 100.0))]  # fmt: skip
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


def case(w: torch.Tensor, bits: int, p: float, beta: float) -> dict:
    """What hqq makes of w (rows, columns)."""
    solver = partial(optimize.optimize_weights_proximal_legacy, opt_params={"lp_norm": p, "beta": beta} | OPTIONS)
    Quantizer.optimize_weights = solver
    q, meta = Quantizer.quantize(w, nbits=bits, group_size=64, axis=1, bitpack=False, device="cpu")
    codes = "".join(f"{int(code):02x}" for code in q.flatten())
    parts = {"codes": codes, "scale": meta["scale"].flatten().tolist(), "zero": meta["zero"].flatten().tolist()}
    return {"bits": bits, "p": p, "beta": beta} | parts


if __name__ == "__main__":
    main()
