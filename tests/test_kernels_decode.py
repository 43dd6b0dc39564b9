"""A decode step out of our own kernels is the step that transformers takes; the benchmark's models are sound."""

import argparse
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from course_lib.kernels import fused, glue, kv, lanes
from course_lib.kernels.decoder import Decoder, Dense, Full, Layer, Paged, Shape, kv_bytes
from course_lib.kernels.measure import bench, bench_decode, decode_models
from course_lib.kernels.measure.decode_models import DEVICE

SHAPE = Shape(hidden=64, layers=2, heads=4, kv_heads=2, width=32, inner=96, vocabulary=128, base=10000.0)
TOKENS, PAGE = 64, 16


@pytest.fixture(scope="module")
def llama():
    """(transformers' model, our decoder with its weights, ids, keys and values of all but the last token)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        intermediate_size=96, vocab_size=128, rms_norm_eps=1e-5, rope_theta=10000.0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False).to(DEVICE)
    for module in model.modules():
        if "RMSNorm" in type(module).__name__:
            module.weight.copy_(torch.rand_like(module.weight) + 0.5)
    ids = torch.randint(0, 128, (3, TOKENS), device=DEVICE)
    past = model(ids[:, :-1], use_cache=True).past_key_values
    return model, ours(model), ids, [(layer.keys, layer.values) for layer in past.layers]


def joined(*linears):
    return Full(torch.cat([linear.weight for linear in linears]))


def ours(model) -> Decoder:
    layers = []
    for part in model.model.layers:
        at, mlp = part.self_attn, part.mlp
        layers.append(Layer(
            part.input_layernorm.weight, joined(at.q_proj, at.k_proj, at.v_proj), joined(at.o_proj),
            part.post_attention_layernorm.weight, joined(mlp.gate_proj, mlp.up_proj), joined(mlp.down_proj),
        ))  # fmt: skip
    return Decoder(SHAPE, layers, model.model.embed_tokens.weight, model.model.norm.weight, joined(model.lm_head))


def last(count: int = 3) -> torch.Tensor:
    return torch.full((count,), TOKENS - 1, dtype=torch.int32, device=DEVICE)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("way", [None, F.scaled_dot_product_attention])
def test_a_step_is_the_step_of_transformers(llama, way, count):
    """One sequence goes the fused way, three the general one."""
    model, decoder, ids, past = llama
    room = [tuple(F.pad(t[:count], (0, 0, 0, 1), value=float("nan")) for t in pair) for pair in past]
    decoder.hold([Dense(*pair, way) for pair in room], last(count), TOKENS)
    got = decoder.step(ids[:count, -1])
    torch.testing.assert_close(got, model(ids[:count]).logits[:, -1], atol=1e-5, rtol=1e-5)
    for held, pair in zip(room, model(ids[:count], use_cache=True).past_key_values.layers, strict=True):
        torch.testing.assert_close(held[0], pair.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(held[1], pair.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 255, 256, 700])
def test_our_attention_reads_the_tokens_that_are_there_and_no_others(tokens):
    torch.manual_seed(tokens)
    room, heads, kv_heads, width = tokens + 5, 6, 2, 32
    keys, values = (torch.full((2, kv_heads, room, width), float("nan"), device=DEVICE) for _ in "kv")
    keys[:, :, :tokens], values[:, :, :tokens] = torch.randn(2, 2, kv_heads, tokens, width, device=DEVICE)
    qkv = torch.randn(2, (heads + 2 * kv_heads) * width, device=DEVICE)
    shared = heads // kv_heads
    qkv[0, heads * width :][: kv_heads * width] = qkv[0, : heads * width].view(kv_heads, shared, width)[:, 0].flatten()
    cos, sin = torch.ones(room, width // 2, device=DEVICE), torch.zeros(room, width // 2, device=DEVICE)
    positions = torch.full((2,), tokens, dtype=torch.int32, device=DEVICE)  # of one sequence the new key scores highest
    got = fused.attention(qkv, cos, sin, positions, keys, values, heads)
    q, k, v = qkv.split([heads * width, kv_heads * width, kv_heads * width], 1)
    assert torch.equal(keys[:, :, tokens].flatten(1), k) and torch.equal(values[:, :, tokens].flatten(1), v)
    wanted = F.scaled_dot_product_attention(
        q.reshape(2, heads, 1, width), keys[:, :, : tokens + 1], values[:, :, : tokens + 1], enable_gqa=True
    )
    torch.testing.assert_close(got, wanted.reshape(2, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n, k", [(3, 8), (64, 256), (130, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_with_norm_gate_and_residual_equal_torch(n, k, dtype):
    torch.manual_seed(0)
    x, w, g, y = (torch.randn(*size, device=DEVICE).to(dtype) for size in ((1, k), (2 * n, k), (k,), (1, n)))
    h = F.rms_norm(x.double(), (k,), g.double(), 1e-5)
    plain, up = (h @ part.double().T for part in w.split(n))
    unit = 4 * torch.finfo(dtype).eps  # sums are in float32; the result is rounded once
    size = (h.abs() @ w[:n].double().abs().T).max().item()
    got = fused.products(x, w[:n].contiguous(), g, 1e-5)
    torch.testing.assert_close(got.double(), plain, atol=unit * size / 8, rtol=unit)
    got = fused.products(x, w, g, 1e-5, gated=True)
    torch.testing.assert_close(got.double(), F.silu(plain) * up, atol=unit * size**2 / 64, rtol=unit)
    wanted = y.double() + x.double() @ w[:n].double().T
    assert fused.products(x, w[:n].contiguous(), add=y) is y
    torch.testing.assert_close(y.double(), wanted, atol=unit * size / 8, rtol=unit)
    with pytest.raises(ValueError, match=r"x must be \(1, "):
        fused.products(x[:, :-1], w)


@pytest.mark.parametrize("by_head", [False, True])
def test_a_step_over_fp8_pages_reads_what_the_pages_hold(llama, by_head):
    """The oracle is the dense step over the decoded pages, the new token in them as the kernel cached it."""
    _, decoder, ids, past = llama
    pages = [paged(*pair).by_head() if by_head else paged(*pair) for pair in past]
    decoder.hold([Paged(p) for p in pages], last(), TOKENS)
    got = decoder.step(ids[:, -1])
    decoder.hold([Frozen(*decoded(p)) for p in pages], last(), TOKENS)
    torch.testing.assert_close(got, decoder.step(ids[:, -1]), atol=1e-4, rtol=1e-4)
    for held, (k, v) in zip(pages, past, strict=True):
        for found, wanted in zip(decoded(held), (k, v), strict=True):
            close = (found[:, :, :-1] - wanted).abs() <= wanted.abs() / 16 + 0.002 * wanted.abs().max()  # E4M3: 1/16
            assert close.all()


class Frozen(Dense):
    """A dense cache that is read and not written."""

    def attend(self, qkv, model):
        keys, values = self.keys.clone(), self.values.clone()
        q = glue.rotate(qkv, model.cos, model.sin, model.positions, keys, values, model.shape.heads)
        shared = q.view(len(q), 2, 2, 32)
        return F.scaled_dot_product_attention(shared, self.keys, self.values).reshape(len(q), -1)


def paged(keys, values) -> kv.Pages:
    """E4M3 pages in a mixed order, with room for one token more."""
    order = torch.randperm(3 * TOKENS // PAGE, device=DEVICE)
    found = []
    for t in (keys, values):
        t = F.pad(t, (0, 0, 0, 1)).transpose(1, 2).reshape(-1, PAGE, 2, 32)
        found.append(torch.empty_like(t).index_copy_(0, order, t))
    ks, vs = found[0].abs().amax(1) * 1.5 / 448, found[1].abs().amax(-1) / 448
    vs = torch.where(vs > 0, vs, 1.0)
    codes = [(t / s).to(torch.float8_e4m3fn) for t, s in ((found[0], ks[:, None]), (found[1], vs[..., None]))]
    table = order.to(torch.int32).reshape(3, -1)
    return kv.Pages(*codes, ks, torch.zeros_like(ks), vs, torch.zeros_like(vs), table, last() + 1)


def decoded(pages: kv.Pages):
    k = pages.keys.float() * pages.key_scale[:, None]
    v = pages.values.float() * pages.value_scale[..., None]
    return tuple(t[pages.table.long()].flatten(1, 2).transpose(1, 2) for t in (k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_add_norm_and_silu_mul_equal_torch(dtype):
    x, y, w = (torch.rand(*size, device=DEVICE).to(dtype) - 0.5 for size in ((3, 80), (3, 80), (80,)))
    total = x + y
    normal = F.rms_norm(total.float(), (80,), None, 1e-5).to(dtype)
    got = glue.add_norm(x, y, w, 1e-5)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(x, total, atol=0, rtol=0)
    torch.testing.assert_close(got, normal * w, atol=0, rtol=2 * eps)
    gate, up = total.chunk(2, -1)
    torch.testing.assert_close(glue.silu_mul(total), F.silu(gate) * up, atol=eps, rtol=2 * eps)


@pytest.mark.parametrize("variant", bench_decode.VARIANTS)
def test_the_benchmarks_models_keep_numbers_at_their_size(variant, monkeypatch):
    """Random codes neither overflow nor vanish on the way through the layers; bytes are those of the tensors."""
    monkeypatch.setattr(decode_models, "PAGE", PAGE)
    torch.manual_seed(0)
    shape = Shape(hidden=256, layers=2, heads=4, kv_heads=2, width=64, inner=384, vocabulary=512)
    decoder, size = decode_models.model(variant.split("+")[0], shape)
    decode_models.fill(decoder, 2, TOKENS, "kv" in variant)
    held = decoder.caches
    logits = decoder.step(torch.zeros(2, dtype=torch.long, device=DEVICE)).float()
    assert logits.isfinite().all() and 0.5 < logits.std() < 2
    parts = {"bf16": 16, "w4a16": 4 + 16 / 128, "fp8": 8, "w4a16+kv_fp8": 4 + 16 / 128}[variant]
    weights = 2 * sum(n * k for n, k in shape.linears.values()) * parts / 8
    rows = 2 * 4 * sum(n for n, _ in shape.linears.values()) if variant == "fp8" else 0
    assert size == weights + rows + 2 * 512 * 256
    kept = sum(
        t.numel() * t.element_size()
        for cache in held
        for name, t in vars(getattr(cache, "pages", cache)).items()
        if name not in ("table", "lengths", "way") and t is not None
    )
    assert kept == decode_models.cache_bytes(shape, 2, TOKENS, "kv" in variant)


def test_the_likeliest_token_is_argmax():
    logits = torch.randn(3, 40000, device=DEVICE).bfloat16()
    assert torch.equal(logits.gather(1, glue.likeliest(logits)[:, None])[:, 0], logits.max(1).values)
    logits[:, [5, 39999]] = 9.0
    assert glue.likeliest(logits).tolist() == [5, 5, 5]  # of equals the first


def test_bytes_of_a_cache_are_the_published_ones():
    assert kv_bytes(Shape(), 1, 16) == 131072  # Llama-3-8B: 128 KiB a token


def test_sizes_are_read_or_refused(capsys):
    assert bench_decode.size("16x4096") == (16, 4096)
    args = argparse.Namespace(quick=False, points=[(1, 64), (16, 4096)], variant=["fp8"])
    assert bench_decode.command(args) == "course bench decode --points 1x64 16x4096 --variant fp8"
    for text in ("16", "16x100", "0x64", "ax64", "4x-64"):
        with pytest.raises(SystemExit):
            bench_decode.decode_main(["--points", text])
        assert "whole pages of 64" in capsys.readouterr().err


def test_without_a_gpu_the_command_says_so(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert bench.main(["decode", "--quick"]) == 2
    assert "finds none here" in capsys.readouterr().out


def test_each_shape_takes_the_tile_that_was_quickest(monkeypatch, capsys):
    """The clock is ours: the third candidate is the quickest for all but `down`, which takes the first."""
    from course_lib.kernels.measure import clock

    shape = Shape(hidden=64, layers=2, heads=4, kv_heads=2, width=32, inner=96, vocabulary=128)
    decoder, _ = decode_models.model("bf16", shape)
    monkeypatch.setattr(fused, "CHOSEN", {})
    monkeypatch.setattr(fused, "CANDIDATES", ((64, 256, 4), (32, 256, 4), (16, 128, 4)))

    def microseconds(calls, **_):
        down = calls[0].args[1].shape == (64, 96)
        calls[0]()
        return fused.CHOSEN[tuple(calls[0].args[1].shape)]["BN"] * (-1 if down else 1)

    monkeypatch.setattr(clock, "microseconds", microseconds)
    decode_models.choose_tiles(decoder)
    assert {size: tile["BN"] for size, tile in fused.CHOSEN.items()} == {
        (256, 64): 16, (64, 128): 16, (192, 64): 16, (64, 96): 64, (128, 64): 16,
    }  # fmt: skip
    assert "down: -64.0, -32.0, -16.0 us, takes (64, 256, 4)" in capsys.readouterr().out


def test_a_tile_that_goes_wrong_is_no_candidate_any_more(monkeypatch):
    def run(words, **_):
        return SimpleNamespace(returncode=int(words[-3:] == ["w4a16", "1", "4"]), stderr="differs")

    monkeypatch.setattr(bench_decode.subprocess, "run", run)
    before = lanes.CANDIDATES, fused.CANDIDATES
    monkeypatch.setattr(lanes, "CANDIDATES", before[0])
    monkeypatch.setattr(fused, "CANDIDATES", before[1])
    assert bench_decode.compile_all(("bf16", "w4a16"), [(1, 64)], 2) == ["w4a16 at batch 1, tile 4: differs"]
    assert (lanes.CANDIDATES, fused.CANDIDATES) == (before[0][:4] + before[0][5:], before[1])
