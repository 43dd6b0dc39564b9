"""Intervals over documents: held against scipy's bootstrap, the formula of the standard error, and laws."""

import math

import numpy as np
import pytest
import torch

from course_lib import evaluate as ev
from course_lib.evaluate.bootstrap import cluster_bootstrap, weighted_quantile
from course_lib.evaluate.noise import noise_floor
from tests import tiny


def sample(documents=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    cluster = torch.repeat_interleave(torch.arange(documents), torch.randint(5, 40, (documents,), generator=g))
    level = torch.rand(documents, generator=g)[cluster]  # tokens of a document resemble each other
    return (level + 0.3 * torch.rand(len(cluster), generator=g)).double(), cluster


def test_the_mean_s_interval_is_scipy_s():
    from scipy.stats import bootstrap

    values, cluster = sample()
    sums = np.array([float(values[cluster == d].sum()) for d in range(60)])
    sizes = np.array([int((cluster == d).sum()) for d in range(60)])
    theirs = bootstrap((sums, sizes), lambda n, d, axis=-1: n.sum(axis) / d.sum(axis), paired=True, n_resamples=4000,
                       method="percentile", rng=np.random.default_rng(0)).confidence_interval  # fmt: skip
    ours = cluster_bootstrap(lambda w: float(w @ values / w.sum()), cluster, draws=4000)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.004)
    mean, error = ev.cluster_ratio(values, torch.ones_like(values), cluster)
    assert ours == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.01)


def test_documents_not_tokens_are_drawn():
    values, cluster = sample()

    def mean(w):
        return float(w @ values / w.sum())

    low, high = cluster_bootstrap(mean, cluster)
    by_token = cluster_bootstrap(mean, torch.arange(len(values)))
    assert high - low > 2 * (by_token[1] - by_token[0])


def test_a_quantile_with_equal_weights_is_the_inverted_cdf():
    values, _ = sample()
    for share in (0.5, 0.99, 0.999):
        got = weighted_quantile(values, share)(torch.ones_like(values))
        assert got == np.quantile(values.numpy(), share, method="inverted_cdf")


def test_a_document_drawn_twice_counts_twice():
    values = torch.tensor([1.0, 2.0, 3.0])
    assert weighted_quantile(values, 0.5)(torch.tensor([0.0, 1.0, 5.0])) == 3
    assert weighted_quantile(values, 0.5)(torch.tensor([5.0, 1.0, 0.0])) == 1


def test_bad_questions_are_refused():
    with pytest.raises(ValueError, match="at least two of them, got 1"):
        cluster_bootstrap(float, torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        cluster_bootstrap(float, torch.arange(4), confidence=95)


TEXTS = ["the mug is broken", "please send money", '{"do":"refund"} ' * 9, "back to my card.\n" * 9, "a b c d e f g"]


def test_a_comparison_s_intervals_hold_their_figures():
    tok, model, other = tiny.tokenizer(), tiny.llama(context=32), tiny.llama(seed=3, context=32)
    found = ev.compare(model, other, tok, TEXTS)
    ratio = found.perplexity / found.base_perplexity
    for figure, value in (("kl", found.kl), ("top1", found.top1), ("perplexity", found.perplexity),
                          ("perplexity_ratio", ratio), ("kl_p99", found.kl_p99)):  # fmt: skip
        low, high = found.interval(figure)
        assert low <= value <= high + 1e-9, figure
    assert found.kl <= found.kl_p99 <= found.kl_p999 <= float(found.per_token.kl.max())
    assert found.perplexity == pytest.approx(ev.perplexity(other, tok, TEXTS))
    narrow, wide = found.interval("kl", 0.5), found.interval("kl", 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1] and found.interval("kl") == found.interval("kl")
    with pytest.raises(ValueError, match="figure must be one of kl, top1, .* got 'vram'"):
        found.interval("vram")


def test_the_noise_floor_is_there_and_far_below_another_model():
    tok, model = tiny.tokenizer(), tiny.llama()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    noise = noise_floor(model, tok, TEXTS, tiny.EXAMPLES, progress=False)
    other = ev.compare(model, tiny.llama(seed=3), tok, TEXTS)
    assert 0 < noise.language.kl < 0.01 * other.kl and noise.task.n == 3
    assert "of 3 verdicts flip" in str(noise)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert noise_floor(model, tok, TEXTS, progress=False).task is None
    with pytest.raises(TypeError, match="must be a transformers model, got Linear"):
        noise_floor(torch.nn.Linear(2, 2), tok, TEXTS)
    assert not math.isnan(noise.language.kl)
