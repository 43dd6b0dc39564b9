"""Attention over a quantized cache, checked and timed beside the best bf16 attention that torch has on this GPU.

Llama-3-8B's shape: 32 query heads, 8 KV heads, 128 channels, pages of 64 tokens in random order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.kernels import kv
from course_lib.kernels.measure import clock, families
from course_lib.kernels.measure.families import DEVICE

KV_HEADS, SHARED, WIDTH, PAGE = 8, 4, 128, 64
KINDS = {"kv_fp8": torch.float8_e4m3fn, "kv_int8": torch.int8, "kv_int4": torch.uint8}
POINTS = ((1, 4096), (1, 32768), (1, 65536), (1, 131072), (8, 4096), (8, 32768), (32, 4096))  # sequences, tokens
QUICK = ((1, 32768), (8, 32768))


def draw(kind: str, sequences: int, tokens: int) -> kv.Pages:
    each = -(-tokens // PAGE)
    pages, dtype = sequences * each, KINDS[kind]
    shape = (pages, PAGE, KV_HEADS, WIDTH // 2 if kind == "kv_int4" else WIDTH)
    if kind == "kv_fp8":
        keys, values = families.fp8_codes(*shape), families.fp8_codes(*shape)
        unit, middle = 1 / 256, 0.0
    else:
        low, high = (0, 256) if kind == "kv_int4" else (-128, 128)
        keys, values = (torch.randint(low, high, shape, device=DEVICE, dtype=dtype) for _ in range(2))
        unit, middle = (1 / 4, 7.5) if kind == "kv_int4" else (1 / 64, 0.0)
    per_channel, per_token = (pages, KV_HEADS, WIDTH), (pages, PAGE, KV_HEADS)
    ks, vs = (unit * (0.5 + torch.rand(s, device=DEVICE)) for s in (per_channel, per_token))
    zeros = [middle + torch.rand(s, device=DEVICE) for s in (per_channel, per_token)]
    kz, vz = (None, None) if kind == "kv_fp8" else zeros
    table = torch.randperm(pages, device=DEVICE).to(torch.int32).reshape(sequences, each)
    lengths = torch.full((sequences,), tokens, dtype=torch.int32, device=DEVICE)
    return kv.Pages(keys, values, ks, kz, vs, vz, table, lengths).by_head()


def decoded(pages: kv.Pages, kind: str, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    """Keys and values (sequences, heads, tokens, channels) of the pages in their order."""

    def numbers(codes: Tensor) -> Tensor:
        if kind != "kv_int4":
            return codes.to(dtype)
        return torch.cat([codes & 15, codes >> 4], -1).to(dtype)

    k, v = numbers(pages.keys), numbers(pages.values)
    if pages.key_zero is not None:
        k, v = k - pages.key_zero[:, None].to(dtype), v - pages.value_zero[..., None].to(dtype)
    k, v = k * pages.key_scale[:, None].to(dtype), v * pages.value_scale[..., None].to(dtype)
    table = pages.table.long()
    return tuple(t[table].flatten(1, 2).transpose(1, 2) for t in (k, v))  # type: ignore[return-value]


def exact(q: Tensor, pages: kv.Pages, kind: str) -> Tensor:
    k, v = decoded(pages, kind)
    grouped = q.double().reshape(len(q), KV_HEADS, SHARED, WIDTH)
    score = grouped @ k.transpose(-1, -2) / math.sqrt(WIDTH)
    known = torch.arange(k.shape[2], device=q.device) < pages.lengths[:, None]
    score = score.masked_fill(~known[:, None, None], float("-inf"))
    return (score.softmax(-1) @ v).reshape(q.shape)


def check(kind: str) -> dict:
    torch.manual_seed(1)
    worst = 0.0
    with families.poisoned():
        for sequences, tokens in ((1, 64), (3, 1000), (1, 5000)):
            pages = draw(kind, sequences, tokens)
            pages.lengths.copy_(tokens - torch.arange(sequences, device=DEVICE) * 100)
            q = torch.randn(sequences, KV_HEADS * SHARED, WIDTH, dtype=torch.bfloat16, device=DEVICE)
            worst = max(worst, families.close(kv.decode_attention(q, pages), exact(q, pages, kind)))
    allowed = 2 * families.limit(torch.bfloat16)  # two products
    return {"family": kind, "relative_error": worst, "allowed": allowed, "passed": worst <= allowed}


def by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(WIDTH), -1) @ v


def torch_ways() -> dict:
    """Ways to attend in bf16; the query heads that share keys stand as rows of one query, so keys are read once."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def by(backend):
        def call(q, k, v):
            with sdpa_kernel([backend]):
                return scaled_dot_product_attention(q, k, v)

        return call

    ways = {b.name.lower(): by(b) for b in
            (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)}  # fmt: skip
    return ways | {"products": by_products}


def time_torch(sequences: int, tokens: int) -> tuple[float, str]:
    """(µs, name) of the quickest way in bf16."""
    shape = (sequences, KV_HEADS, tokens, WIDTH)
    count = max(1, -(-int(clock.ROTATE) // (4 * math.prod(shape))))
    caches = [tuple(torch.randn(shape, dtype=torch.bfloat16, device=DEVICE) for _ in "kv") for _ in range(count)]
    q = torch.randn(sequences, KV_HEADS, SHARED, WIDTH, dtype=torch.bfloat16, device=DEVICE)
    found = {}
    for name, way in torch_ways().items():
        try:
            found[name] = clock.microseconds([lambda c=c, way=way: way(q, *c) for c in caches])
        except RuntimeError as error:  # a backend that this GPU or shape has not
            print(f"torch's {name}: {str(error).splitlines()[0]}")
            torch.cuda.synchronize()
    best = min(found, key=found.get)
    return found[best], best


def measure(quick: bool, bandwidth: float) -> tuple[list[dict], list[dict]]:
    """(rows, checks); in a row m counts sequences, n is KV heads times channels, k tokens of each sequence."""
    checks = [check(kind) for kind in KINDS]
    print(*checks, sep="\n", flush=True)
    rows = []
    for sequences, tokens in QUICK if quick else POINTS:
        us_torch, way = time_torch(sequences, tokens)
        q = torch.randn(sequences, KV_HEADS * SHARED, WIDTH, dtype=torch.bfloat16, device=DEVICE)
        for kind in [one["family"] for one in checks if one["passed"]]:
            caches = families.in_rotation(draw(kind, sequences, tokens))
            us = clock.microseconds([lambda c=c, q=q: kv.decode_attention(q, c) for c in caches])
            moved = families.nbytes(caches[0])
            rows.append({"kernel": kind, "m": sequences, "n": KV_HEADS * WIDTH, "k": tokens, "us": round(us, 2),
                         "torch_bf16_us": round(us_torch, 2), "torch_way": way, "bytes": moved,
                         "percent_of_copy": round(100 * moved / (us * 1e-6) / bandwidth, 1), "peers": {}})  # fmt: skip
            print(f"{kind:10} {sequences:3} x {tokens:6} tokens {us:9.1f} us  torch ({way}) {us_torch:8.1f} "
                  f"({us_torch / us:.2f}x)  {rows[-1]['percent_of_copy']:.1f} % of copy", flush=True)  # fmt: skip
            del caches
            torch.cuda.empty_cache()
    return rows, checks
