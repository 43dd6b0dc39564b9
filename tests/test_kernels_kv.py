"""Decode attention over codes, against torch's attention over what they decode to."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from course_lib.kernels import ON_GPU, kv, kv_codes
from course_lib.kernels.interpreter import ptx

DEVICE = "cuda" if ON_GPU else "cpu"
KINDS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn, "int4": torch.uint8}


def cache(kind, lengths, heads=2, width=64, size=16, seed=0):
    """Random codes in shuffled pages, and the keys and values (tokens, heads, width) of each sequence."""
    g = torch.Generator().manual_seed(seed)
    most = max(1, -(-max(lengths) // size))
    count = most * len(lengths) + 3
    shape = (count, size, heads, width)
    if kind == "int4":
        raw = [torch.randint(0, 16, shape, generator=g) for _ in range(2)]
        packed = [(c[..., : width // 2] | c[..., width // 2 :] << 4).to(torch.uint8) for c in raw]
    elif kind == "int8":
        raw = [torch.randint(-128, 128, shape, generator=g) for _ in range(2)]
        packed = [c.to(torch.int8) for c in raw]
    else:
        packed = [torch.randn(shape, generator=g).to(torch.float8_e4m3fn) for _ in range(2)]
        raw = [c.float() for c in packed]
    spread = {"int4": 0.2, "int8": 0.02, "fp8": 1.0}[kind]
    ks, vs = (torch.rand(s, generator=g) * spread for s in ((count, heads, width), (count, size, heads)))
    kz, vz = (torch.rand(s, generator=g) * (8 if kind == "int4" else 0) for s in (ks.shape, vs.shape))
    table = torch.randperm(count, generator=g)[: most * len(lengths)].reshape(len(lengths), most).int()
    pages = kv.Pages(*packed, ks, kz, vs, vz, table, torch.tensor(lengths, dtype=torch.int32))
    k = ks[:, None] * (raw[0] - kz[:, None])
    v = vs[..., None] * (raw[1] - vz[..., None])
    decoded = [tuple(t[table[i].long()].flatten(0, 1)[:n].double() for t in (k, v)) for i, n in enumerate(lengths)]
    return pages, decoded


def reference(q, decoded, window=None):
    """(query heads, D) for each sequence, in float64."""
    rows = []
    for one, (k, v) in zip(q.double(), decoded, strict=True):
        k, v = (t[-window:] if window else t for t in (k, v))
        shared = q.shape[1] // k.shape[1]
        k, v = (t.transpose(0, 1).repeat_interleave(shared, 0) for t in (k, v))  # (query heads, tokens, D)
        rows.append(torch.nn.functional.scaled_dot_product_attention(one[:, None], k, v)[:, 0])
    return torch.stack(rows)


def close(got, exact, unit=2**-18):
    return (got.double() - exact).abs().max() <= 4 * unit * exact.abs().max()


@pytest.mark.parametrize("parts, query_heads", [(1, 8), (3, 2), (8, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_attention_over_the_decoded_cache(kind, parts, query_heads):
    pages, decoded = cache(kind, [1, 16, 61])  # the interpreter's time follows sequences · heads · parts
    q = torch.randn(3, query_heads, 64, generator=torch.Generator().manual_seed(1))
    got = kv.decode_attention(q.to(DEVICE), pages.to(DEVICE), parts=parts).cpu()
    assert close(got, reference(q, decoded))


@pytest.mark.parametrize("window", [1, 15, 16, 40, 1000])
def test_a_window_sees_the_last_tokens_only(window):
    pages, decoded = cache("int8", [90, 33], seed=2)
    q = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(3))
    got = kv.decode_attention(q.to(DEVICE), pages.to(DEVICE), window=window, parts=2).cpu()
    assert close(got, reference(q, decoded, window))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "width", "size"), [("int8", 32, 32), ("int4", 128, 64)])
def test_other_widths_pages_and_dtypes(kind, width, size, dtype):
    pages, decoded = cache(kind, [70, 5], width=width, size=size, seed=4)
    q = torch.randn(2, 4, width, generator=torch.Generator().manual_seed(5)).to(dtype)
    got = kv.decode_attention(q.to(DEVICE), pages.to(DEVICE)).cpu()
    assert got.dtype == dtype and close(got, reference(q, decoded), torch.finfo(dtype).eps)


def test_an_empty_sequence_gives_zeros_and_leaves_the_others_alone():
    pages, decoded = cache("fp8", [0, 20], seed=6)
    q = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(7))
    got = kv.decode_attention(q.to(DEVICE), pages.to(DEVICE)).cpu()
    assert (got[0] == 0).all() and close(got[1:], reference(q[1:], decoded[1:]))


def test_no_pages_at_all_give_zeros():
    pages, _ = cache("int8", [20])
    nothing = replace(pages, table=pages.table[:, :0], lengths=torch.zeros(1, dtype=torch.int32))
    assert (kv.decode_attention(torch.randn(1, 2, 64).to(DEVICE), nothing.to(DEVICE)) == 0).all()


def test_scales_of_zero_make_an_average_of_values():
    pages, decoded = cache("int8", [48], seed=8)
    pages.key_scale.zero_()
    q = torch.randn(1, 2, 64)
    assert close(kv.decode_attention(q.to(DEVICE), pages.to(DEVICE)).cpu()[0], decoded[0][1].mean(0))


@pytest.mark.parametrize("kind", KINDS)
def test_value_scales_of_any_sign_and_of_zero(kind):
    pages, _ = cache(kind, [40], seed=9)
    flip = torch.tensor([1.0, 0.0, -1.0, 1e-20])[torch.arange(pages.value_scale.numel()) % 4]
    pages.value_scale.mul_(flip.reshape(pages.value_scale.shape))
    q = torch.randn(1, 2, 64, generator=torch.Generator().manual_seed(10))
    table = pages.table[0].long()
    codes = [pages.keys, pages.values]
    if kind == "int4":
        codes = [torch.cat([c & 15, c >> 4], -1) for c in codes]
    k = pages.key_scale[:, None] * (codes[0].float() - pages.key_zero[:, None])
    v = pages.value_scale[..., None] * (codes[1].float() - pages.value_zero[..., None])
    decoded = [tuple(t[table].flatten(0, 1)[:40].double() for t in (k, v))]
    assert close(kv.decode_attention(q.to(DEVICE), pages.to(DEVICE)).cpu(), reference(q, decoded))


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_smaller_than_a_page_and_both_orders_of_tokens_and_heads(kind):
    pages, decoded = cache(kind, [70, 33], size=64, seed=11)
    q = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(12))
    assert pages.by_head().keys.shape == pages.keys.shape and not pages.by_head().keys.is_contiguous()
    tile = {"T": 32, "STAGES": 3, "num_warps": 1, "resident": 8}
    for lying, window in ((pages, None), (pages.by_head(), None), (pages.by_head(), 40)):
        got, _, _ = kv.launch(q.to(DEVICE), lying.to(DEVICE), window, 2, dict(tile))
        assert close(got.cpu(), reference(q, decoded, window))


@pytest.mark.parametrize("query_heads", [8, 12])  # 4 of a KV head stand in the 8 columns twice, 6 do not
def test_zeros_that_are_not_there(query_heads):
    pages, decoded = cache("fp8", [70, 33], size=64, seed=15)
    q = torch.randn(2, query_heads, 64, generator=torch.Generator().manual_seed(16))
    without = replace(pages, key_zero=None, value_zero=None)
    got = kv.decode_attention(q.to(DEVICE), without.to(DEVICE).by_head()).cpu()
    assert close(got, reference(q, decoded))


@pytest.mark.parametrize("which, bits, lift", [("INT8", 8, 384), ("INT4", 4, 64)], ids=["int8", "int4"])
def test_the_ptx_of_codes_means_their_numbers(which, bits, lift):
    halfwords = np.arange(65536, dtype=np.uint16)
    for j, text in enumerate(getattr(kv_codes, which).value):
        code = ((halfwords >> (bits * j)) & (2**bits - 1)).astype(np.uint8)
        wanted = lift + (code.view(np.int8) if bits == 8 else code).astype(np.int32)
        for neighbours in (halfwords, halfwords[::-1]):
            both = np.stack([halfwords, neighbours], -1).reshape(-1).view(np.int16)
            (got,) = ptx.evaluate(text, [both], [np.float16], 2)
            assert (got.reshape(-1, 2)[:, 0] == wanted).all()


def test_what_a_gpu_is_not_asked_about_comes_back_as_nan():
    """On a GPU nobody waits for `Pages.check`: a length or a page that cannot be must not become a number."""
    pages, _ = cache("int8", [20, 5])
    q = torch.randn(2, 2, 64)
    table = pages.table.clone()
    table[1, 0] = 1000
    long = torch.tensor([33, 5], dtype=torch.int32)
    for broken, which in ((replace(pages, table=table), 1), (replace(pages, lengths=long), 0)):
        got, _, _ = kv.launch(q.to(DEVICE), broken.to(DEVICE), None, 2, kv.TILES[8][0])
        assert got[which].isnan().all() and got[1 - which].isfinite().all()


def test_lse_joins_two_halves():
    pages, decoded = cache("fp8", [48], seed=13)
    q = torch.randn(1, 2, 64, generator=torch.Generator().manual_seed(14))
    _, lse = kv.decode_attention(q.to(DEVICE), pages.to(DEVICE), with_lse=True)
    k = decoded[0][0].transpose(0, 1)  # (heads, tokens, D)
    score = (k @ q[0].double()[:, :, None])[..., 0] / 8
    assert torch.allclose(lse[0].cpu().double() * math.log(2), score.logsumexp(-1), atol=1e-4)


def test_errors():
    pages, _ = cache("int8", [20, 5])
    good = torch.zeros(2, 2, 64)
    narrow, _ = cache("int4", [20, 5], width=32)
    for q, p, words in [
        (good[:, :, :32], narrow, "powers of two from 64 and 16 on, got 32 and 16"),
        (good[:, :, :32], pages, r"q must be \(2, a multiple of 2, 64\), got \(2, 2, 32\)"),
        (torch.zeros(2, 3, 64), pages, "a multiple of 2"),
        (good, replace(pages, lengths=torch.tensor([33, 5], dtype=torch.int32)), "lengths must lie in 0…32"),
        (good, replace(pages, table=pages.table + 100), "the table must name pages 0…6"),
        (good, replace(pages, keys=pages.keys.float()), "keys and values must both be int8"),
        (good, replace(pages, key_zero=None, value_zero=None), "for float8_e4m3fn only, got torch.int8"),
    ]:
        with pytest.raises(ValueError, match=words):
            kv.decode_attention(q, p)
