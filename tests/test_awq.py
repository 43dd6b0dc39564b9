"""AWQ against loops written from the paper and AutoAWQ's published rules in float64, and against laws."""

import copy

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_calibrate_pipeline import family
from torch import nn

from course_lib import Scheme, quantize
from course_lib.calibrate import awq
from course_lib.calibrate import folds as folds_module
from course_lib.calibrate.awq import scales
from course_lib.calibrate.blocks import Flow
from course_lib.calibrate.folds import Fold, folds_of, hear


def inputs(tokens=200, n=32, seed=0):
    """x (tokens, n), correlated, with three loud channels."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, n, generator=g) @ (torch.randn(n, n, generator=g) / n**0.5)
    x[:, torch.randperm(n, generator=g)[:3]] *= 12
    return x


class Toy(nn.Module):
    """norm → gate, up → product → down, as a block without attention."""

    def __init__(self, n=32, hidden=48, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.norm, self.gate_proj = nn.RMSNorm(n), nn.Linear(n, hidden, bias=False)
        self.up_proj, self.down_proj = nn.Linear(n, hidden), nn.Linear(hidden, n)
        nn.init.uniform_(self.norm.weight, 0.5, 2)

    def forward(self, x):
        h = self.norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


def llama_calls(model, rows=4, length=24):
    ids = torch.randint(1, model.config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return list(Flow(model, [f"model.layers.{i}" for i in range(len(model.model.layers))], [ids]).calls())


def output(block, call):
    with torch.no_grad():
        out = block(call.hidden, **call.others)
    return out[0] if isinstance(out, tuple) else out


# ------------------------------------------------------------------ the slow one


def rounded(w, bits, group, symmetric):
    """w (out, in) to the grid and back, group by group, in numpy."""
    out = np.empty_like(w)
    for r in range(w.shape[0]):
        for at in range(0, w.shape[1], group):
            g = w[r, at : at + group]
            if symmetric:
                top = 2 ** (bits - 1) - 1
                s = abs(g).max() / top
                out[r, at : at + group] = np.clip(np.round(g / s), -top, top) * s
            else:
                lo, hi, n = min(g.min(), 0), max(g.max(), 0), 2**bits - 1
                s = (hi - lo) / n
                z = np.clip(np.round(-lo / s), 0, n)
                out[r, at : at + group] = (np.clip(np.round(g / s) + z, 0, n) - z) * s
    return out


def slow(w, x, bits, group, symmetric, duo, clip, steps=20):
    """s (in,) and the weight w·s, clipped, that AWQ gives a single linear behind a norm."""
    w, x = w.astype(np.float64), x.astype(np.float64)
    size, best = abs(x).mean(0), (np.inf, None)
    groups = abs(w).reshape(len(w), -1, group)
    relative = (groups / (groups.max(-1, keepdims=True) + 1e-6)).reshape(w.shape).mean(0)
    for i in range(steps):
        s = size ** (i / steps)
        s = np.maximum(s / (relative ** (1 - i / steps) + 1e-4) if duo else s, 1e-4)
        s /= np.sqrt(s.max() * s.min())
        loss = ((x @ (rounded(w * s, bits, group, symmetric) / s - w).T) ** 2).mean()
        if loss < best[0]:
            best = (loss, s)
    s = best[1]
    w, x = w * s, x / s
    for r in range(len(w)) if clip else ():
        for at in range(0, w.shape[1], group):
            part, seen = w[r, at : at + group].copy(), x[:, at : at + group]
            least = np.inf
            for i in range(10):
                top = abs(part).max() * (1 - i / 20)
                cut = np.clip(part, -top, top)
                loss = ((seen @ (rounded(cut[None], bits, group, symmetric)[0] - part)) ** 2).mean()
                if loss < least:
                    least, w[r, at : at + group] = loss, cut
    return s, w


@pytest.mark.parametrize("duo", [False, True])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("bits, symmetric", [(4, True), (3, False), (3, True)])
def test_a_linear_behind_a_norm_equals_the_slow_one(duo, clip, bits, symmetric):
    torch.manual_seed(1)
    block = nn.Sequential(nn.RMSNorm(32), nn.Linear(32, 12))
    nn.init.uniform_(block[0].weight, 0.2, 3)
    x = inputs()
    with torch.no_grad():
        seen = block[0](x)
    s, w = slow(block[1].weight.detach().numpy(), seen.numpy(), bits, 8, symmetric, duo, clip)
    result = awq(block, x, Scheme.int(bits, symmetric, 8), clip=clip, duo=duo)
    np.testing.assert_allclose(result[0].weight.detach(), block[0].weight.detach().numpy() / s, rtol=1e-4)
    same = np.isclose(result[1].weight.detach(), w, rtol=1e-4, atol=1e-6)
    assert same.mean() > 0.99  # two limits may cost the same but for the last digit
    assert torch.equal(result[1].bias, block[1].bias)


def test_one_scale_serves_gate_and_up_judged_by_the_mlp():
    """The α of the grid whose rounded gate and up move the block's output least, tried one by one here."""
    model = tiny.llama(seed=3)
    block, (call,) = model.model.layers[0], llama_calls(model)
    scheme, want = Scheme.int(3, group=8), output(block, call)
    seen = []
    handle = block.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    output(block, call)
    handle.remove()
    x = seen[0].detach()
    losses = {}
    for i in range(20):
        trial, s = copy.deepcopy(block), scales(x.abs().mean((0, 1)), i / 20)
        for name in ("gate_proj", "up_proj"):
            linear = trial.mlp.get_submodule(name)
            linear.weight.data = quantize(linear.weight.data * s, scheme).dequantize() / s
        losses[i] = (trial.mlp(x) - block.mlp(x)).square().mean().item(), s
    _, s = min(losses.values(), key=lambda pair: pair[0])
    result = awq(block, [call], scheme, clip=False)
    torch.testing.assert_close(result.post_attention_layernorm.weight, block.post_attention_layernorm.weight / s)
    torch.testing.assert_close(output(result, call), want, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------ laws


@pytest.mark.parametrize("heads, shared", [(4, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize("duo", [False, True])
def test_the_function_is_preserved_before_rounding(heads, shared, duo):
    model = tiny.llama(num_attention_heads=heads, num_key_value_heads=heads // shared)
    block, calls = model.model.layers[1], llama_calls(model)
    before = {name: t.clone() for name, t in block.state_dict().items()}
    result = awq(block, calls, Scheme.int(3, group=8), clip=False, duo=duo)
    torch.testing.assert_close(output(result, calls[0]), output(block, calls[0]), rtol=1e-4, atol=1e-4)
    moved = {name for name, t in result.state_dict().items() if not torch.allclose(t, before[name])}
    assert {"input_layernorm.weight", "post_attention_layernorm.weight", "self_attn.v_proj.weight",
            "self_attn.o_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"} <= moved  # fmt: skip
    assert all(torch.equal(t, before[name]) for name, t in block.state_dict().items())


@pytest.mark.parametrize("name, second", [
    ("Gemma", "post_attention"), ("Gemma2", "pre_feedforward"), ("Gemma3", "pre_feedforward"),
])  # fmt: skip
def test_the_function_is_preserved_where_a_norm_adds_one_to_its_weight(name, second):
    model = family(name, head_dim=8, **({} if name == "Gemma" else dict(sliding_window=16, query_pre_attn_scalar=8)))
    for module in model.modules():
        if type(module).__name__.endswith("Norm"):
            torch.nn.init.normal_(module.weight, std=0.3)
    block, calls = model.model.layers[0], llama_calls(model)
    before = {name: t.clone() for name, t in block.state_dict().items()}
    result = awq(block, calls, Scheme.int(3, group=8), clip=False)
    torch.testing.assert_close(output(result, calls[0]), output(block, calls[0]), rtol=1e-4, atol=1e-4)
    moved = {name for name, t in result.state_dict().items() if not torch.allclose(t, before[name])}
    assert {"input_layernorm.weight", f"{second}_layernorm.weight", "self_attn.q_proj.weight",
            "mlp.gate_proj.weight"} <= moved  # fmt: skip


@pytest.mark.parametrize("norm, one", [(torch.nn.LayerNorm(31), 0), (torch.nn.RMSNorm(32), 0)])
def test_only_norms_that_add_one_are_taken_for_such(norm, one):
    for mean in (-2.0, -1.0, 0.0, 1.0):
        for t in norm.parameters():
            torch.nn.init.normal_(t, mean, 0.1)
        assert folds_module._added(norm) == one


def test_query_heads_that_share_a_value_head_share_its_scales():
    model = tiny.llama(num_attention_heads=4, num_key_value_heads=2)
    block, calls = model.model.layers[0], llama_calls(model)
    result = awq(block, calls, Scheme.int(3, group=8), clip=False)
    s = (result.self_attn.o_proj.weight / block.self_attn.o_proj.weight).mean(0).reshape(2, 2, 8)
    torch.testing.assert_close(s[:, 0], s[:, 1], rtol=1e-4, atol=1e-5)
    assert s.max() > 1.02 * s.min()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    kv=st.integers(1, 3),
    shared=st.integers(1, 3),
    width=st.integers(1, 4),
    norm=st.booleans(),
)
def test_a_fold_cancels_for_any_scale(seed, kv, shared, width, norm):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 6, generator=g).double()
    n = kv * shared * width
    prev = nn.LayerNorm(6).double() if norm else nn.Linear(6, kv * width).double()
    linear = nn.Linear(6 if norm else n, 3).double()
    heads = None if norm else (kv, shared, width)

    def whole():
        y = prev(x)
        return linear(y if norm else y.reshape(5, kv, 1, width).expand(5, *heads).reshape(5, n))

    with torch.no_grad():
        before, fold = whole(), Fold(prev, [linear], heads=heads)
        fold.apply(fold.tied(0.1 + torch.rand(linear.in_features, generator=g).double() * 5))
        torch.testing.assert_close(whole(), before)


def test_tied_channels_get_the_mean_of_their_query_heads():
    fold = Fold(nn.Linear(1, 2), [], heads=(2, 2, 1))
    assert fold.tied(torch.tensor([1.0, 3.0, 0.0, 8.0])).tolist() == [2, 2, 4, 4]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), alpha=st.floats(0, 0.99), duo=st.booleans())
def test_scales_are_balanced_positive_and_one_at_alpha_zero(seed, alpha, duo):
    g = torch.Generator().manual_seed(seed)
    x, w = torch.rand(16, generator=g) * 10, torch.rand(16, generator=g)
    x[seed % 16] = 0  # a channel that is never on
    s = scales(x, alpha, w if duo else None)
    assert (s > 0).all() and s.isfinite().all() and s.max() * s.min() == pytest.approx(1, rel=1e-3)
    assert torch.equal(scales(x, 0.0), torch.ones(16))


@pytest.mark.parametrize("bits", [3, 4])
def test_it_beats_rounding_duo_and_clip_help(bits):
    scheme, block, x = Scheme.int(bits, group=16), Toy(), inputs(600)
    train, held_out = x[:300], x[300:]

    def error(result):
        result = copy.deepcopy(result)
        for module in result.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = quantize(module.weight.data, scheme).dequantize()
        with torch.no_grad():
            return (result(held_out) - block(held_out)).square().mean().item()

    plain, scaled = error(block), error(awq(block, train, scheme, clip=False))
    assert error(awq(block, train, scheme)) < scaled < 0.8 * plain
    assert error(awq(block, train, scheme, duo=True)) < 0.8 * plain


def test_a_float16_block_gets_the_scales_of_a_float32_one():
    """Squared errors leave float16's range: summed there, every α would cost infinity, and none would be taken."""
    block, x, scheme = Toy(), inputs(2000), Scheme.int(3, group=16)
    block.down_proj.weight.data *= 300
    wide, narrow = awq(block, x, scheme, clip=False), awq(copy.deepcopy(block).half(), x.half(), scheme, clip=False)
    want = block.norm.weight / wide.norm.weight
    assert want.max() > 1.2 * want.min()
    torch.testing.assert_close(block.norm.weight / narrow.norm.weight.float(), want, rtol=0.01, atol=0)


class Backwards(nn.Module):
    """A flat block whose linears are defined in another order than they run in, as those of Phi-3's attention."""

    def __init__(self, n=32):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up, self.gate, self.out, self.value, self.query = (nn.Linear(n, n) for _ in range(6))
        self.first_norm, self.second_norm = nn.RMSNorm(n), nn.RMSNorm(n)
        for norm in (self.first_norm, self.second_norm):
            nn.init.uniform_(norm.weight, 0.2, 3)

    def forward(self, x):
        h = self.first_norm(x)
        x = x + self.out(torch.tanh(self.query(h)) * self.value(h))
        h = self.second_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def test_the_order_of_definition_does_not_matter_and_two_norms_may_share_a_judge():
    block, x = Backwards(), inputs()
    result = awq(block, x, Scheme.int(3, group=8), clip=False)
    torch.testing.assert_close(result(x), block(x), rtol=1e-4, atol=1e-4)
    for norm in ("first_norm", "second_norm"):
        s = block.get_submodule(norm).weight / result.get_submodule(norm).weight
        assert s.max() > 1.05 * s.min(), norm


def test_queries_and_keys_are_not_clipped():
    model = tiny.llama()
    block, calls = model.model.layers[0], llama_calls(model)
    scheme = Scheme.int(2, group=8)
    loose, tight = (awq(block, calls, scheme, clip=clip) for clip in (False, True))
    changed = {name for name, t in tight.state_dict().items() if not torch.equal(t, loose.state_dict()[name])}
    assert changed == {f"self_attn.{x}_proj.weight" for x in "vo"} | {
        f"mlp.{x}_proj.weight" for x in ("gate", "up", "down")
    }


@pytest.mark.parametrize("block", [(1, -1), (-1, -1), (4, 8)])
def test_any_block_shape(block):
    scheme, toy, x = Scheme("int3", block), Toy(), inputs()
    result = awq(toy, x, scheme)
    assert all(t.isfinite().all() for t in result.state_dict().values())


def test_folds_of_a_llama_block():
    model = tiny.llama()
    block, calls = model.model.layers[0], llama_calls(model)
    names = {module: name for name, module in block.named_modules()}
    with torch.no_grad():
        folds = folds_of(block, calls[0], {m for m in block.modules() if isinstance(m, nn.Linear)})
    found = [(names[f.prev], [names[m].rpartition(".")[2] for m in f.linears], names.get(f.judge)) for f in folds]
    assert found == [
        ("input_layernorm", ["q_proj", "k_proj", "v_proj"], "self_attn"),
        ("post_attention_layernorm", ["gate_proj", "up_proj"], "mlp"),
        ("self_attn.v_proj", ["o_proj"], None),
        ("mlp.up_proj", ["down_proj"], None),
    ]
    assert [f.heads for f in folds] == [None, None, (2, 2, 8), None]


def test_judges_keep_the_calls_that_they_judge_by_and_no_others():
    model = tiny.llama()
    block, calls = model.model.layers[0], llama_calls(model) + llama_calls(model, 2, 9) + llama_calls(model, 1, 5)
    attended = []
    handle = block.self_attn.register_forward_hook(lambda module, args, out: attended.append(out[0]))
    with torch.no_grad():
        folds = folds_of(block, calls[1], {m for m in block.modules() if isinstance(m, nn.Linear)})
        attended.clear()
        before = hear(folds, block, calls, [calls[1], calls[-1]])
    handle.remove()
    assert len(attended) == len(calls) and torch.equal(before, output(block, calls[1]))
    assert [len(fold.calls) for fold in folds] == [2, 2, 0, 0]
    assert all(kept is attended[i] for (*_, kept), i in zip(folds[0].calls, (1, len(calls) - 1), strict=True))


# ------------------------------------------------------------------ bad input


class Leaky(Toy):
    """Something beside the linears reads what the norm gives."""

    def forward(self, x):
        return super().forward(x) + self.norm(x)


@pytest.mark.parametrize(
    "change, kind, names",
    [
        ({"scheme": 4}, TypeError, "scheme must be a Scheme"),
        ({"alpha_grid": 0}, ValueError, "alpha_grid must be a whole number"),
        ({"block": Leaky()}, ValueError, "scales cannot be folded into Leaky: its output would move by"),
        ({"inputs": torch.full((4, 32), torch.nan)}, ValueError, "gate_proj: its inputs must be finite"),
    ],
)
def test_bad_input_is_one_clear_sentence(change, kind, names):
    with pytest.raises(kind, match=names) as caught:
        awq(**{"block": Toy(), "inputs": inputs(), "scheme": Scheme.int(4, group=8)} | change)
    assert "\n" not in str(caught.value)
