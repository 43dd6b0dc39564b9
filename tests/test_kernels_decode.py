"""A decode step out of our own kernels is the step that transformers takes; the benchmark's models are sound."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.kernels import bench, bench_decode, glue, kv
from course_lib.kernels.decoder import Decoder, Dense, Layer, Paged, Shape, kv_bytes

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
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for module in model.modules():
        if "RMSNorm" in type(module).__name__:
            module.weight.copy_(torch.rand_like(module.weight) + 0.5)
    ids = torch.randint(0, 128, (3, TOKENS))
    past = model(ids[:, :-1], use_cache=True).past_key_values
    return model, ours(model), ids, [(layer.keys, layer.values) for layer in past.layers]


def joined(*linears):
    w = torch.cat([linear.weight for linear in linears])
    return lambda x: F.linear(x, w)


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
    return torch.full((count,), TOKENS - 1, dtype=torch.int32)


def test_a_step_is_the_step_of_transformers(llama):
    model, decoder, ids, past = llama
    room = [tuple(F.pad(t, (0, 0, 0, 1), value=float("nan")) for t in pair) for pair in past]
    decoder.hold([Dense(*pair) for pair in room], last(), TOKENS)
    got = decoder.step(ids[:, -1])
    torch.testing.assert_close(got, model(ids).logits[:, -1], atol=1e-5, rtol=1e-5)


def test_a_step_over_fp8_pages_reads_what_the_pages_hold(llama):
    """The oracle is the dense step over the decoded pages, the new token in them as the kernel cached it."""
    _, decoder, ids, past = llama
    pages = [paged(*pair) for pair in past]
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
        return self.way(shared, self.keys, self.values).reshape(len(q), -1)


def paged(keys, values) -> kv.Pages:
    """E4M3 pages in a mixed order, with room for one token more."""
    order = torch.randperm(3 * TOKENS // PAGE)
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
    x, y, w = torch.randn(3, 80).to(dtype), torch.randn(3, 80).to(dtype), torch.rand(80).to(dtype)
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
    monkeypatch.setattr(bench_decode, "PAGE", PAGE)
    torch.manual_seed(0)
    shape = Shape(hidden=256, layers=2, heads=4, kv_heads=2, width=64, inner=384, vocabulary=512)
    decoder, size = bench_decode.model(variant.split("+")[0], shape)
    table = torch.randperm(2 * TOKENS // PAGE).to(torch.int32).reshape(2, -1)
    held = [
        bench_decode.paged_cache(shape, 2, TOKENS, table)
        if "kv" in variant
        else bench_decode.dense_cache(shape, 2, TOKENS, F.scaled_dot_product_attention)
        for _ in range(2)
    ]
    decoder.hold(held, last(2), TOKENS)
    logits = decoder.step(torch.zeros(2, dtype=torch.long)).float()
    assert logits.isfinite().all() and 0.5 < logits.std() < 2
    parts = {"bf16": 16, "w4a16": 4 + 16 / 128, "fp8": 8, "w4a16+kv_fp8": 4 + 16 / 128}[variant]
    weights = 2 * sum(n * k for n, k in shape.linears.values()) * parts / 8
    rows = 2 * 4 * sum(n for n, _ in shape.linears.values()) if variant == "fp8" else 0
    assert size == weights + rows + 2 * 512 * 256
    kept = sum(
        t.numel() * t.element_size()
        for cache in held
        for name, t in vars(getattr(cache, "pages", cache)).items()
        if name not in ("table", "lengths", "way")
    )
    assert kept == bench_decode.cache_bytes(shape, 2, TOKENS, "kv" in variant)


def test_bytes_of_a_cache_are_the_published_ones():
    assert kv_bytes(Shape(), 1, 16) == 131072  # Llama-3-8B: 128 KiB a token


def test_without_a_gpu_the_command_says_so(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert bench.main(["decode", "--quick"]) == 2
    assert "finds none here" in capsys.readouterr().out
