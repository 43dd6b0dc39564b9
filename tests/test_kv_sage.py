"""Attention on few bits: the integers of SageAttention's own kernels, what softmax does not see, bounds, models."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from course_lib.evaluate import kl_divergence
from course_lib.kvcache import attention, sage
from course_lib.kvcache.sage import Sage
from tests import tiny

GOLDEN = Path(__file__).parent / "golden" / "sage.safetensors"  # written by benchmarks/peers/sage_run.py


def loud_mean():
    """q, k, v in float16, two heads of queries to one of keys, whose mean is far from zero."""
    make = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 256, 64, generator=make).half() for heads in (2, 1, 1))
    return q, k + 3 * torch.randn(1, 1, 1, 64, generator=make).half(), v


def seen(tokens):
    return torch.ones(tokens, tokens, dtype=torch.bool).tril()


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_codes_and_scales_are_those_of_sageattention():
    """Its q is scaled by log2(e) / √d first, which changes scales and no code."""
    theirs, (q, k, _) = load_file(GOLDEN), loud_mean()
    codes, scale = sage.integers(q.float(), 127, 128)
    assert torch.equal(codes, theirs["q_codes"].float())
    torch.testing.assert_close(scale[..., ::128, :] / 8 * math.log2(math.e), theirs["q_scale"], rtol=1e-6, atol=0)
    codes, scale = sage.integers((k - k.mean(2, keepdim=True)).float(), 127, 64)
    assert torch.equal(codes, theirs["k_codes"].float())
    assert torch.equal(scale[..., ::64, :], theirs["k_scale"])


@pytest.mark.parametrize("causal", [False, True])
def test_the_output_is_that_of_sageattention(causal):
    """Their shares, and a block's sum of shares times v, have 11 bits: each is off by 2^-11 of max|v| at most."""
    q, k, v = loud_mean()
    way = Sage(8, True, (128, 64))
    centred = (k - k.mean(2, keepdim=True)).float()  # in float16, as theirs
    scores = Sage(8, False, (128, 64)).scores(q, centred)
    if causal:
        scores = scores.masked_fill(~seen(256), -math.inf)
    theirs = load_file(GOLDEN)["causal" if causal else "dense"].float()
    tolerance = 2 * 2**-11 * float(v.abs().max())
    assert (way.output(scores, v) - theirs).abs().max() < tolerance
    exact = torch.nn.functional.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), is_causal=causal, enable_gqa=True
    )
    assert (theirs - exact).abs().max() > 1.5 * tolerance, "else the test could not tell eight bits from sixteen"


def test_softmax_does_not_see_a_shift_of_all_keys():
    q, k = randn(0, 5, 32).double(), randn(1, 40, 32).double()
    shift = 100 * randn(2, 32).double()
    assert torch.allclose(attention.weights(q, k + shift), attention.weights(q, k), atol=1e-12)
    way = Sage(4)
    near, far = (torch.softmax(way.scores(q, keys), -1) for keys in (k, k + shift))
    assert (near - far).abs().max() < 1e-4, "left out, it costs nothing but float32's rounding of the larger keys"
    rough = torch.softmax(Sage(4, smooth=False).scores(q, k + shift), -1)
    assert (rough - near).abs().max() > 0.1


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("blocks", [(1, 1), (128, 64), (7, 5)])
def test_a_score_is_off_by_no_more_than_two_half_steps_allow(bits, blocks):
    """|q·k - q̂·k̂| <= Σ|q| s_k / 2 + Σ|k̂| s_q / 2, s the scales of their blocks."""
    q, k, top = randn(0, 2, 50, 16), randn(1, 2, 70, 16), 2 ** (bits - 1) - 1
    (q_codes, s_q), (k_codes, s_k) = (sage.integers(x, top, n) for x, n in zip((q, k), blocks, strict=True))
    assert int(q_codes.abs().max()) == int(k_codes.abs().max()) == top
    for x, scale, block in ((q, s_q, blocks[0]), (k, s_k, blocks[1])):
        for part, shared in zip(x.split(block, 1), scale.split(block, 1), strict=True):
            assert torch.equal(shared, (part.abs().amax((1, 2), keepdim=True) / top).expand_as(shared))
    bound = (q.abs().sum(-1)[..., None] * s_k.mT + s_q * (k_codes * s_k).abs().sum(-1)[..., None, :]) / 2
    off = (Sage(bits, False, blocks).scores(q, k).double() - q.double() @ k.double().mT / 4).abs()
    assert (off <= bound / 4 + 1e-5).all() and off.max() > bound.max() / 400


def test_the_products_of_integers_are_exact():
    """1,040 numbers of 127 times 127 still add up below 2^24, where float32 holds every integer."""
    ones = torch.ones(1, 1040) * 127
    ones[0, 0] = 126
    assert Sage(8, False).scores(ones, ones).item() == pytest.approx(
        (1039 * 127**2 + 126**2) / math.sqrt(1040), rel=1e-7
    )
    with pytest.raises(ValueError, match="head_dim must stay below 1040 at 8 bits, got 1041"):
        Sage(8).scores(torch.ones(1, 1041), torch.ones(1, 1041))


@pytest.mark.parametrize(
    ("shares", "values"), [(None, None), ("int8", None), ("fp8", None), (None, "int8"), (None, "fp8")]
)
def test_shares_and_values_are_off_by_their_own_steps(shares, values):
    """INT8: half of 1/127 of the largest. E4M3: 2^-4 of the number, or half of the least step."""
    scores, v = 3 * randn(0, 20, 300), randn(1, 300, 16)
    v[:, 3] *= 50  # a loud channel spoils no other
    p = torch.exp(scores - scores.amax(-1, keepdim=True)).double()
    largest = v.abs().amax(0, keepdim=True).double()
    off_p = {None: 0 * p, "int8": 0 * p + 1 / 254, "fp8": (p / 16).clamp(min=2**-10 / 448)}[shares]
    size = v.abs().double()
    off_v = {None: 0 * size, "int8": largest / 254 + 0 * size, "fp8": (size / 16).clamp(min=largest * 2**-10 / 448)}
    bound = (off_p @ size + p @ off_v[values]) / p.sum(-1, keepdim=True) + 1e-5 * largest
    exact = p @ v.double() / p.sum(-1, keepdim=True)
    off = (Sage(shares=shares, values=values).output(scores, v).double() - exact).abs()
    assert (off <= bound).all()
    assert (off > bound / 100).any(0).all() or (shares, values) == (None, None)


def test_small_shares_vanish_in_int8_and_not_in_fp8():
    """One loud token and 400 that each have a 300th of its share: together they are more than it is."""
    scores = torch.full((1, 401), -math.log(300))
    scores[0, 0] = 0
    v = torch.ones(401, 1)
    kept = {kind: Sage(shares=kind).output(scores, v).item() for kind in (None, "int8", "fp8")}
    assert kept[None] == pytest.approx(1)
    assert kept["int8"] == pytest.approx(300 / 700, rel=1e-5)
    assert kept["fp8"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("padded", [False, True])
def test_a_whole_model_attends_so(padded):
    """Four query heads to two; at 8 bits near, at 3 far, and what is planted in the keys is left out again."""
    model = tiny.llama(seed=3)
    ids = torch.randint(model.config.vocab_size, (2, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :9] = 0
    with torch.no_grad():
        base = model(input_ids=ids, attention_mask=mask).logits

        def kl(way, shift=0.0):
            logits = sage.attending(model, way, shift)(input_ids=ids, attention_mask=mask).logits
            return float(kl_divergence(base, logits)[mask.bool()].mean())

        eight, three = kl(Sage(8)), kl(Sage(3))
        assert 0 < 100 * eight < three
        assert kl(Sage(3), 50.0) == pytest.approx(three, rel=0.05)
        assert kl(Sage(3, smooth=False), 50.0) > 2 * three
        again = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(again, base), "the model itself is untouched"


@pytest.mark.parametrize("family, more", [("gemma2", {"attn_logit_softcapping": 2.0}), ("gpt_oss", {})])
def test_attention_with_more_to_it_than_softmax_is_refused(family, more):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
                 num_key_value_heads=2, vocab_size=40, bos_token_id=0, eos_token_id=0, pad_token_id=0)  # fmt: skip
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes | more)).eval()
    with torch.no_grad(), pytest.raises(ValueError, match="by softmax of its scores and nothing else, got s"):
        sage.attending(model, Sage())(torch.arange(1, 9)[None])


def test_it_writes_a_reply_from_a_cache():
    model = tiny.llama(seed=3)
    ids = torch.randint(model.config.vocab_size, (1, 12), generator=torch.Generator().manual_seed(1))
    wanted, got = (m.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)
                   for m in (model, sage.attending(model, Sage(8))))  # fmt: skip
    assert torch.equal(wanted, got)


def test_zeros_stay_zeros():
    codes, scale = sage.integers(torch.zeros(3, 4), 127, 2)
    assert not codes.any() and (scale == 1).all()
    for kind in ("int8", "fp8"):
        assert not Sage(values=kind).output(torch.zeros(2, 3), torch.zeros(3, 4)).any()
    equal = Sage().scores(torch.ones(2, 4), torch.ones(3, 4))  # every key is the mean
    assert not equal.any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 1}, "bits must be 2 to 8, got 1"),
        ({"bits": 16}, "bits must be 2 to 8, got 16"),
        ({"blocks": (0, 64)}, r"blocks must be two counts of tokens of at least 1, got \(0, 64\)"),
        ({"shares": "fp4"}, "shares must be None, 'int8' or 'fp8', got 'fp4'"),
        ({"values": "int4"}, "values must be None, 'int8' or 'fp8', got 'int4'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Sage(**fields)


def test_bad_shapes():
    with pytest.raises(ValueError, match="q and k must have the same head_dim, got 16 and 8"):
        Sage().scores(torch.ones(2, 16), torch.ones(2, 8))
