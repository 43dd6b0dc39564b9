"""What quantization changed: KL divergence, top-1 agreement and bits per byte against the model before it.

    KL(base || other) = sum_v p_base(v) * (ln p_base(v) - ln p_other(v))        nats, averaged over tokens

Perplexity asks only about the one token that came next, where gains and losses cancel; KL asks about all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.evaluate import corpus
from course_lib.evaluate.bootstrap import DRAWS, cluster_bootstrap, weighted_quantile
from course_lib.evaluate.corpus import DEFAULT_BYTES
from course_lib.evaluate.language import LanguageScore
from course_lib.evaluate.stats import cluster_ratio
from course_lib.progress import bar

_CHUNK_NUMBERS = 2**17  # double-precision numbers worked on at a time: these, too, stay in cache
_CACHE_BYTES = 2**30


@dataclass(frozen=True)
class PerToken:
    """One entry a token, for your own statistics: KL, whether the likeliest token is the same, -ln p of both."""

    kl: Tensor
    agree: Tensor
    base_nats: Tensor
    other_nats: Tensor
    cluster: Tensor  # document of the token (window, if there is one document)


@dataclass(frozen=True)
class Comparison:
    """other against base on the same tokens; every `_stderr` is a standard error over documents, not over tokens.

    kl, kl_stderr      mean KL(base || other), nats a token
    kl_p99, kl_p999    the KL that 99 % and 99.9 % of the tokens stay below: rare disasters hide in the mean
    top1, top1_stderr  share of tokens whose likeliest next token is the same in both
    base_bpb, other_bpb, bpb_diff, bpb_diff_stderr      bits per byte, and the paired difference other - base
    """

    kl: float
    kl_stderr: float
    kl_p99: float
    kl_p999: float
    top1: float
    top1_stderr: float
    base_bpb: float
    other_bpb: float
    bpb_diff: float
    bpb_diff_stderr: float
    tokens: int
    bytes: int
    documents: int
    per_token: PerToken = field(repr=False, compare=False)

    @property
    def base_perplexity(self) -> float:
        return self.per_token.base_nats.mean().exp().item()

    @property
    def perplexity(self) -> float:
        """exp of the mean -ln p of the other model's tokens."""
        return self.per_token.other_nats.mean().exp().item()

    def interval(self, figure: str, confidence: float = 0.95, draws: int = DRAWS) -> tuple[float, float]:
        """Bootstrap interval over documents of kl, kl_p99, kl_p999, top1, base_perplexity, perplexity or their ratio.

        "perplexity_ratio" is other / base on the same documents: what both find hard cancels, as in any paired test.
        """
        token = self.per_token
        means = {"kl": token.kl, "top1": token.agree.double()}
        logs = {"base_perplexity": token.base_nats, "perplexity": token.other_nats,
                "perplexity_ratio": token.other_nats - token.base_nats}  # fmt: skip
        shares = {"kl_p99": 0.99, "kl_p999": 0.999}
        if figure in shares:
            statistic = weighted_quantile(token.kl, shares[figure])
        elif figure in means or figure in logs:
            column, after = (means | logs)[figure], math.exp if figure in logs else float

            def statistic(w):
                return after((w @ column / w.sum()).item())

        else:
            raise ValueError(f"figure must be one of {', '.join([*means, *shares, *logs])}, got {figure!r}")
        return cluster_bootstrap(statistic, token.cluster, confidence, draws)

    def __str__(self) -> str:
        return (
            f"KL {self.kl:.5f} ± {self.kl_stderr:.5f} nats a token (99 %: {self.kl_p99:.4f}) | top-1 {self.top1:.2%}"
            f" ± {self.top1_stderr:.2%} | bits per byte {self.base_bpb:.4f} → {self.other_bpb:.4f}"
            f" ({self.bpb_diff:+.4f} ± {self.bpb_diff_stderr:.4f})"
        )


class Reference:
    """A base model's predictions on some texts, computed once, to compare any number of other models with.

        reference = Reference(model, tokenizer, texts)
        for bits in (8, 6, 4, 3): print(bits, reference.compare(quantize_model(model, Scheme.int(bits))))

    Predictions beyond `cache_bytes` (a large vocabulary) are not kept; the base model is then run again each time.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        texts: Sequence[str],
        max_bytes: int | None = DEFAULT_BYTES,
        context: int | None = None,
        cache_bytes: int = _CACHE_BYTES,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.corpus = corpus.read(model, tokenizer, texts, max_bytes, context)
        self.vocabulary = model.config.vocab_size
        kept = self.corpus.tokens * self.vocabulary * 4 <= cache_bytes
        self._logits: list[Tensor] | None = [] if kept else None
        nats = 0.0
        with corpus.running(model):
            for batch in bar(self.corpus.batches, "base model", progress):
                found = corpus.logits(model, batch)
                nats += -sum(
                    _log_probs(part).gather(1, t[:, None]).sum().item() for part, t in _chunks(found, batch.targets)
                )
                if kept:
                    self._logits.append(found)
        self.score = LanguageScore(nats, self.corpus.tokens, self.corpus.bytes, self.corpus.documents)

    @property
    def bits_per_byte(self) -> float:
        return self.score.bits_per_byte

    @property
    def perplexity(self) -> float:
        return self.score.perplexity

    def compare(self, other: nn.Module, progress: bool | None = None) -> Comparison:
        """Run `other` on the same tokens; ValueError if its vocabulary differs or it predicts NaN."""
        if other.config.vocab_size != self.vocabulary:
            raise ValueError(
                f"other must have the base's vocabulary of {self.vocabulary}, got {other.config.vocab_size}"
            )
        parts = []
        with corpus.running(self.model), corpus.running(other):
            for i, batch in enumerate(bar(self.corpus.batches, "comparing", progress)):
                base = self._logits[i] if self._logits is not None else corpus.logits(self.model, batch)
                found = corpus.logits(other, batch)
                if not torch.isfinite(found).all():
                    raise ValueError("other must predict finite logits, got NaN or infinity: look at its weights first")
                parts += [_differ(*chunk) for chunk in _chunks(base, found, batch.targets)]
        columns = [torch.cat(column).clone() for column in zip(*parts, strict=True)]
        return _summary(self.corpus, *columns)


def compare(
    base: nn.Module,
    other: nn.Module,
    tokenizer,
    texts: Sequence[str],
    max_bytes: int | None = DEFAULT_BYTES,
    progress: bool | None = None,
) -> Comparison:
    """Compare two models on about `max_bytes` of `texts` (None: all); for a sweep build one `Reference` instead."""
    return Reference(base, tokenizer, texts, max_bytes, progress=progress).compare(other, progress)


def kl_divergence(base_logits: Tensor, other_logits: Tensor) -> Tensor:
    """KL(base || other) of the last axis, in nats, in double precision: never below zero but by rounding.

    >>> base, other = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    >>> print(f"{kl_divergence(base, other).item():.4f}")                  # (ln 2 + ln 2/3) / 2
    0.1438
    """
    p, q = _log_probs(base_logits), _log_probs(other_logits)
    return (p.exp() * (p - q)).sum(-1)


def _differ(base: Tensor, other: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    p, q = _log_probs(base), _log_probs(other)  # (tokens, vocab)
    nats = (-logs.gather(1, targets[:, None])[:, 0] for logs in (p, q))
    return (p.exp() * (p - q)).sum(-1), base.argmax(-1) == other.argmax(-1), *nats


def _log_probs(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(-1)


def _chunks(first: Tensor, *more: Tensor):
    """The same rows of several tensors, a few at a time."""
    rows = max(1, _CHUNK_NUMBERS // first.shape[-1])
    return zip(*(t.split(rows) for t in (first, *more)), strict=True)


def _summary(text: corpus.Corpus, kl: Tensor, agree: Tensor, base_nats: Tensor, other_nats: Tensor) -> Comparison:
    window = torch.cat([batch.window for batch in text.batches])  # (tokens,)
    cluster, size = text.clusters[window], text.bytes_of_token[window]
    one = torch.ones_like(kl)
    base_bits, other_bits = base_nats / math.log(2), other_nats / math.log(2)
    return Comparison(
        *cluster_ratio(kl, one, cluster),
        _quantile(kl, 0.99),
        _quantile(kl, 0.999),
        *cluster_ratio(agree, one, cluster),
        base_bits.sum().item() / text.bytes,
        other_bits.sum().item() / text.bytes,
        *cluster_ratio(other_bits - base_bits, size, cluster),
        text.tokens,
        text.bytes,
        text.documents,
        PerToken(kl, agree, base_nats, other_nats, cluster),
    )


def _quantile(values: Tensor, share: float) -> float:
    if len(values) < 2**24:  # torch's limit
        return torch.quantile(values, share).item()
    return values.kthvalue(math.ceil(share * len(values))).values.item()
