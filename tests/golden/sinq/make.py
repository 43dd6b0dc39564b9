"""Write golden.json beside this file with the published code of SINQ (Apache 2.0), which is not copied here.

    git clone https://github.com/huawei-csl/SINQ && git -C SINQ checkout 6930f78dfe1d5df0c4e3e6b8db8816c3ac21498a
    python tests/golden/sinq/make.py SINQ

Scales of sinkhorn_log for some matrices and numbers of turns; and what method="sinq" with 1D tiles of 64 columns makes
of one of them: codes (a digit each), the scale of each row of a tile, which holds its row factor, t, and zero points.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import torch

COMMIT = "6930f78dfe1d5df0c4e3e6b8db8816c3ac21498a"
UNIT = 2.0**-14


def main(clone: str) -> None:
    """Run the two modules without the package around them, which wants a GPU's libraries."""
    package = types.ModuleType("sinq")
    package.__path__ = [str(Path(clone) / "sinq")]
    sys.modules["sinq"] = package
    sinkhorn, dual = (importlib.import_module(f"sinq.{name}") for name in ("sinkhorn", "dual_shift"))
    golden = {"source": "huawei-csl/SINQ", "commit": COMMIT, "torch": torch.__version__.split("+")[0], "unit": UNIT}
    golden["scales"] = [scales(sinkhorn, *case) for case in cases()]
    golden["tiles"] = [tiles(dual, made(5, 24, 128, 0.6), bits) for bits in (2, 3, 4)]
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


def made(seed: int, rows: int, columns: int, uneven: float) -> torch.Tensor:
    """Whole numbers that times UNIT are weights, rows and columns as uneven as exp(uneven · a Gaussian)."""
    g = torch.Generator().manual_seed(seed)
    loud = torch.exp(uneven * torch.randn(rows, 1, generator=g)) * torch.exp(uneven * torch.randn(columns, generator=g))
    return torch.round(0.05 * loud * torch.randn(rows, columns, generator=g) / UNIT)


def cases() -> list:
    """(whole numbers, turns): mild and wild ones, one with a silent column, one with a single loud weight."""
    silent, single = made(3, 12, 16, 0.3), made(4, 12, 16, 0.0)
    silent[:, 5] = 0
    single[2, 3] = 30000
    found = [(made(1, 12, 16, 0.2), turns) for turns in (1, 2, 16)]
    return [*found, (made(2, 16, 8, 1.5), 4), (made(2, 16, 8, 1.5), 16), (silent, 16), (single, 16)]


def scales(sinkhorn, whole: torch.Tensor, turns: int) -> dict:
    """mu1 (columns) and mu2 (rows) of sinkhorn_log."""
    _, t, r = sinkhorn.sinkhorn_log(whole * UNIT, turns)
    return {"w": whole.int().tolist(), "turns": turns, "t": t.flatten().tolist(), "r": r.flatten().tolist()}


def tiles(dual, whole: torch.Tensor, bits: int) -> dict:
    """What the published quantizer stores."""
    q, rows, t, zero = dual.tiled_quant_rectangle(whole * UNIT, [0, 2**bits - 1], 64, "sinq")
    codes = "".join(str(int(code)) if code < 10 else "abcdef"[int(code) - 10] for code in q.flatten())
    parts = {"rows": rows.flatten().tolist(), "t": t.flatten().tolist(), "zero": zero.flatten().tolist()}
    return {"w": whole.int().tolist(), "bits": bits, "codes": codes} | parts


if __name__ == "__main__":
    main(sys.argv[1])
