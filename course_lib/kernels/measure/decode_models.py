"""Random models in a Llama's shape, their caches, and the tiles that suit them: what `course bench decode` times."""

from __future__ import annotations

from functools import partial

import torch

from course_lib.kernels import ON_GPU, fused, lanes
from course_lib.kernels.decoder import E4M3, Decoder, Dense, Full, Int4, Layer, Paged, Shape, kv_bytes
from course_lib.kernels.packing import PackedInt4

DEVICE = "cuda" if ON_GPU else "cpu"  # the CPU only to test that the models are right
PAGE = 64


def matrix(kind: str, n: int, k: int):
    """(call, bytes) of a random weight (n, k) whose outputs are about as large as its inputs."""
    if kind == "bf16":
        w = torch.randn(n, k, dtype=torch.bfloat16, device=DEVICE) * k**-0.5
        return Full(w), 2 * n * k
    if kind == "fp8":
        from course_lib.kernels.measure import families

        w = lanes.Codes(families.fp8_codes(n, k), torch.full((n, 1), k**-0.5 / 128, device=DEVICE))
        return E4M3(w), n * k + 4 * n
    words = torch.randint(-(2**31), 2**31, (k // 128, n, 16), dtype=torch.int32, device=DEVICE)
    scale = torch.full((k // 128, n), k**-0.5 / 4.6, dtype=torch.bfloat16, device=DEVICE)
    packed = PackedInt4(words, scale, None, (n, k), group=128)
    return Int4(packed), packed.nbytes


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
    lengths = torch.full((batch,), context, dtype=torch.int32, device=DEVICE)
    return Paged(kv.Pages(keys, values, scales[0], None, scales[1], None, table, lengths).by_head())


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
    """What a step reads of the cache: codes, and in pages the scales."""
    if not paged:
        return kv_bytes(shape, batch * context, 16)
    pages = batch * context // PAGE
    numbers = shape.layers * pages * shape.kv_heads * (shape.width + PAGE)
    return kv_bytes(shape, batch * context, 8) + 4 * numbers


def choose_tiles(decoder: Decoder) -> None:
    """Let each product of one token take the tile that is quickest for its shape, weights of all layers in turn."""
    for name in [*decoder.shape.linears, "head"]:
        linears = [decoder.head] if name == "head" else [getattr(layer, name) for layer in decoder.layers]
        full = isinstance(linears[0], Full)
        tiles = fused.tiles() if full else lanes.tiles()
        times = [microseconds(name, linears, tile) for tile in tiles]
        best = min(range(len(tiles)), key=times.__getitem__)
        take(linears[0], tiles[best])
        names = (fused if full else lanes).CANDIDATES
        print(f"{name}: {', '.join(f'{t:.1f}' for t in times)} us, takes {names[best]}", flush=True)


def take(linear, tile: dict[str, int]) -> None:
    """Remember a tile for this shape."""
    if isinstance(linear, Full):
        fused.CHOSEN[tuple(linear.w.shape)] = tile
    else:
        lanes.CHOSEN[lanes.key(linear.w)] = tile


def microseconds(name: str, linears: list, tile: dict[str, int]) -> float:
    """Of one of the linears, as the step calls it."""
    from course_lib.kernels.measure import clock

    take(linears[0], tile)
    w, full = linears[0].w, isinstance(linears[0], Full)
    rows, k = w.shape if full else lanes.key(w)[1:]
    x = torch.randn(1, k, dtype=torch.bfloat16, device=DEVICE)
    more = {"gated": name == "gate_up"}
    if name in ("o", "down"):
        more |= {"add": x.new_zeros(1, rows)} | ({} if full else {"norm": x.new_ones(rows)})
    elif full:
        more |= {"norm": x[0], "eps": 1e-5}
    else:
        x = lanes.Normal(x, torch.ones(256, device=DEVICE), 1e-5)
    calls = [partial((fused if full else lanes).products, x, one.w, **more) for one in linears]
    return clock.microseconds(calls, budget_ms=20, repeats=3)
