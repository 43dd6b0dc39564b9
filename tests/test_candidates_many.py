"""The candidates for many tokens: right in the interpreter, and compiled for a GPU that is not here."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib.kernels.measure import families

FOLDER = Path(__file__).parents[1] / "benchmarks" / "candidates"
INT4 = {
    "g128": {"group": 128},
    "g128 zeros": {"group": 128, "zeros": True},
    "g64 zeros": {"group": 64, "zeros": True},
    "g32": {"group": 32},
    "channel zeros": {"group": None, "zeros": True},
}


@pytest.fixture
def many(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("many")


@pytest.mark.parametrize("shape", [(256, 1024), (200, 640)])  # whole tiles, and none
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", INT4)
def test_int4_is_the_product_of_the_dequantized_weight(many, kind, dtype, shape):
    candidate = importlib.import_module("w4a16_many")
    torch.manual_seed(0)
    weight = families.draw_int4(*shape, dtype=dtype, **INT4[kind])
    x = torch.randn(20, shape[1], dtype=dtype, device=families.DEVICE)
    exact = families.product(x, candidate.packing.unpack(weight))
    how = dict(zip(many.NAMES, (16, 64, 32, 2, 4, 3), strict=True))
    with families.poisoned():
        assert families.close(candidate.run(x, weight, how), exact) < families.limit(dtype)
    assert not weight.locks.any()


@pytest.mark.parametrize("shape", [(256, 1024), (200, 640)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("block", [32, 16])
def test_fp4_is_the_product_of_the_dequantized_weight(many, block, dtype, shape):
    candidate = importlib.import_module("fp4_many")
    torch.manual_seed(0)
    weight = families.draw_fp4(*shape, block)
    x = torch.randn(20, shape[1], dtype=dtype, device=families.DEVICE)
    how = dict(zip(many.NAMES, (16, 64, 32, 2, 4, 3), strict=True))
    with families.poisoned():
        y = candidate.run(x, weight, how)
    assert families.close(y, families.exact_fp4(x, weight)) < families.limit(dtype)


@pytest.mark.long
@pytest.mark.parametrize("name, tokens, rows", [("w4a16_many", ("512", "64"), 6), ("fp4_many", ("64", "1"), 12)])
def test_they_compile_and_the_first_choice_spills_nothing(name, tokens, rows, tmp_path):
    env = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": str(FOLDER.parents[1])}
    words = [sys.executable, FOLDER / f"{name}.py", "table", *tokens]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert len(found) == rows and all("HMMA " in row or "HGMMA " in row for row in found), done.stdout
    first = {row.split(")")[0].split("(")[0]: row for row in reversed(found)}
    assert all(" 0 spilled " in row for row in first.values()), done.stdout
