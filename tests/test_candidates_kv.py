"""The candidate for decode attention: right in the interpreter, and compiled for a GPU that is not here."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.kernels.interpreter import ptx
from course_lib.kernels.measure import families, kv_contest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "candidates"


@pytest.fixture
def candidate(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("kv")


@pytest.mark.parametrize("shared", [2, 6])  # query heads of a KV head: they stand twice in 8 columns, or once
@pytest.mark.parametrize("tokens, window, tile", [(90, None, 32), (150, 70, 64)])
@pytest.mark.parametrize("kind", kv_contest.KINDS)
def test_it_is_attention_over_the_decoded_cache(candidate, kind, tokens, window, tile, shared, monkeypatch):
    monkeypatch.setattr(kv_contest, "KV_HEADS", 2)
    monkeypatch.setattr(kv_contest, "SHARED", shared)
    torch.manual_seed(0)
    pages = kv_contest.draw(kind, 2, tokens)
    pages.lengths[1] = 37
    pages.value_scale.mul_(torch.tensor([1.0, 0.0, -1.0, 1e-20]).to(pages.value_scale)[torch.arange(64) % 4][:, None])
    q = torch.randn(2, 2 * shared, 128, device=kv_contest.DEVICE)
    k, v = kv_contest.decoded(pages, kind)
    token = torch.arange(k.shape[2], device=q.device)
    length = pages.lengths[:, None]
    known = ((token < length) & (token >= length - (window or tokens)))[:, None, None]
    score = q.double().reshape(2, 2, shared, 128) @ k.transpose(-1, -2) / 128**0.5
    exact = (score.masked_fill(~known, float("-inf")).softmax(-1) @ v).reshape(q.shape)
    with families.poisoned():
        for lying in (pages, candidate.by_head(pages)):
            how = {"T": tile, "STAGES": 3, "num_warps": 1, "resident": 9}
            assert families.close(candidate.attention(q, lying, how, window, parts=2), exact) < 1e-5


@pytest.mark.parametrize(
    "which, bits, lift, signed", [("INT8", 8, 384, True), ("INT4", 4, 64, False)], ids=["int8", "int4"]
)
def test_the_ptx_of_codes_means_their_numbers(candidate, which, bits, lift, signed):
    texts = getattr(importlib.import_module("kv_kernel"), which).value
    halfwords = np.arange(65536, dtype=np.uint16)
    for j, text in enumerate(texts):
        code = (halfwords >> (bits * j)) & (2**bits - 1)
        wanted = lift + (code.astype(np.uint8).astype(np.int8) if signed else code).astype(np.int32)
        for neighbours in (halfwords, halfwords[::-1]):
            both = np.stack([halfwords, neighbours], -1).reshape(-1).view(np.int16)
            (got,) = ptx.evaluate(text, [both], [np.float16], 2)
            assert (got.reshape(-1, 2)[:, 0] == wanted).all()


@pytest.mark.long
def test_it_compiles_without_spilling(tmp_path):
    env = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": str(FOLDER.parents[1])}
    words = [sys.executable, FOLDER / "kv.py", "table"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) >= 10 and all(" 0 spilled HMMA " in row for row in rows), done.stdout
