"""Random models in a Llama's shape, their caches, and the tiles that suit them: what `course bench decode` times."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from course_lib.kernels import ON_GPU, fused
from course_lib.kernels.decoder import Decoder, Dense, Full, Layer, Paged, Shape, kv_bytes

DEVICE = "cuda" if ON_GPU else "cpu"  # the CPU only to test that the models are right
PAGE = 64


def matrix(kind: str, n: int, k: int):
    """(call, bytes) of a random weight (n, k) whose outputs are about as large as its inputs."""
    if kind == "bf16":
        w = torch.randn(n, k, dtype=torch.bfloat16, device=DEVICE) * k**-0.5
        return Full(w), 2 * n * k
    if kind == "fp8":
        from course_lib.kernels import w8a8
        from course_lib.kernels.measure import families

        codes, scale = families.fp8_codes(n, k), torch.full((n, 1), k**-0.5 / 128, device=DEVICE)
        return partial(_fp8, w8a8.fp8_linear, codes, scale), n * k + 4 * n
    from course_lib.kernels import w4a16
    from course_lib.kernels.measure import families

    packed = families.draw_int4(n, k)
    packed = replace(packed, scale=torch.full_like(packed.scale, k**-0.5 / 4.6))
    return partial(_w4, w4a16.linear, packed), packed.nbytes


def _fp8(linear, codes, scale, x):
    return linear(x, codes, scale)


def _w4(linear, packed, x):
    return linear(x, packed)


def model(kind: str, shape: Shape) -> tuple[Decoder, int]:
    """A random model and the bytes of weights that a step reads; embedding and head stay in bf16."""
    layers, total = [], 0
    for _ in range(shape.layers):
        made = {name: matrix(kind, *size) for name, size in shape.linears.items()}
        total += sum(size for _, size in made.values())
        calls = {name: call for name, (call, _) in made.items()}
        norms = {name: torch.ones(shape.hidden, dtype=torch.bfloat16, device=DEVICE) for name in ("norm", "after")}
        layers.append(Layer(**calls, **norms))
    head, size = matrix("bf16", shape.vocabulary, shape.hidden)
    embedding = torch.randn(shape.vocabulary, shape.hidden, dtype=torch.bfloat16, device=DEVICE)
    norm = torch.ones(shape.hidden, dtype=torch.bfloat16, device=DEVICE)
    return Decoder(shape, layers, embedding, norm, head), total + size


def dense_cache(shape: Shape, batch: int, context: int, way) -> Dense:
    size = (batch, shape.kv_heads, context, shape.width)
    keys, values = (torch.empty(size, dtype=torch.bfloat16, device=DEVICE).normal_() for _ in "kv")
    return Dense(keys, values, way)


def paged_cache(shape: Shape, batch: int, context: int, table: torch.Tensor) -> Paged:
    from course_lib.kernels import kv
    from course_lib.kernels.measure import families

    pages, heads = table.numel(), shape.kv_heads
    keys, values = (families.fp8_codes(pages, PAGE, heads, shape.width) for _ in "kv")
    of_keys, of_values = (pages, heads, shape.width), (pages, PAGE, heads)
    scales = [torch.full(s, 1 / 128, device=DEVICE) for s in (of_keys, of_values)]
    zeros = [torch.zeros(s, device=DEVICE) for s in (of_keys, of_values)]
    lengths = torch.full((batch,), context, dtype=torch.int32, device=DEVICE)
    return Paged(kv.Pages(keys, values, scales[0], zeros[0], scales[1], zeros[1], table, lengths))


def attention_way(decoder: Decoder, batch: int, context: int):
    """The quickest way to attend in bf16 at this size: ours, or one of torch's."""
    from course_lib.kernels.measure import clock, kv_contest

    shape = decoder.shape
    qkv = torch.randn(batch, shape.linears["qkv"][0], device=DEVICE).bfloat16()
    cache, found = dense_cache(shape, batch, context, None), {}
    ways = {name: way for name, way in kv_contest.torch_ways().items() if name in ("flash_attention", "products")}
    for name, way in {"fused.attention": None, **ways}.items():
        call = partial(Dense(cache.keys, cache.values, way).attend, qkv, decoder)
        found[name] = clock.microseconds([call], budget_ms=4, repeats=3), way
    best = min(found, key=lambda name: found[name][0])
    return best, found[best][1]


def fill(decoder: Decoder, batch: int, context: int, paged: bool) -> str:
    """Give the model caches that are full but for the token that a step adds; what attends over them."""
    shape, positions = decoder.shape, torch.full((batch,), context - 1, dtype=torch.int32, device=DEVICE)
    decoder.hold([], positions, context)
    if paged:
        table = torch.randperm(batch * context // PAGE, device=DEVICE).to(torch.int32).reshape(batch, -1)
        held = [paged_cache(shape, batch, context, table) for _ in range(shape.layers)]
        name = "kv.decode_attention"
    else:
        name, way = attention_way(decoder, batch, context) if ON_GPU else ("fused.attention", None)
        held = [dense_cache(shape, batch, context, way) for _ in range(shape.layers)]
    decoder.hold(held, positions, context)
    return name


def cache_bytes(shape: Shape, batch: int, context: int, paged: bool) -> int:
    """What a step reads of the cache: codes, and in pages the scales and zeros."""
    if not paged:
        return kv_bytes(shape, batch * context, 16)
    pages = batch * context // PAGE
    numbers = shape.layers * pages * shape.kv_heads * (shape.width + PAGE)
    return kv_bytes(shape, batch * context, 8) + 2 * 4 * numbers


def choose_tiles(decoder: Decoder) -> None:
    """Let each product of a bf16 model take the tile that is quickest for its shape, weights of all layers in turn."""
    from course_lib.kernels.measure import clock

    def microseconds(name: str, linears: list, tile: dict) -> float:
        fused.CHOSEN[tuple(linears[0].w.shape)] = tile
        x = torch.randn(1, linears[0].w.shape[1], dtype=torch.bfloat16, device=DEVICE)
        more = {"norm": x[0], "eps": 1e-5} if name in ("qkv", "gate_up") else {"add": x.new_zeros(1, len(linears[0].w))}
        calls = [partial(fused.products, x, one.w, gated=name == "gate_up", **more) for one in linears]
        return clock.microseconds(calls, budget_ms=20, repeats=3)

    tiles = [dict(zip(("BN", "BK", "num_warps"), tile, strict=True)) for tile in fused.CANDIDATES]
    for name in decoder.shape.linears:
        linears = [getattr(layer, name) for layer in decoder.layers]
        times = [microseconds(name, linears, tile) for tile in tiles]
        best = min(range(len(tiles)), key=times.__getitem__)
        fused.CHOSEN[tuple(linears[0].w.shape)] = tiles[best]
        print(f"{name}: {', '.join(f'{t:.1f}' for t in times)} us, takes {fused.CANDIDATES[best]}", flush=True)
