"""How well a model predicts text: bits per byte, which any two tokenizers share, and perplexity, which they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from course_lib.evaluate import corpus
from course_lib.evaluate.corpus import DEFAULT_BYTES
from course_lib.progress import bar


@dataclass(frozen=True)
class LanguageScore:
    """The sum of -ln p(token) over all tokens, and what it was summed over.

    >>> LanguageScore(nats=math.log(2) * 300, tokens=100, bytes=200, documents=1).bits_per_byte
    1.5
    """

    nats: float
    tokens: int
    bytes: int
    documents: int

    @property
    def bits_per_byte(self) -> float:
        """nats / ln 2 / UTF-8 bytes of the text."""
        return self.nats / math.log(2) / self.bytes

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens): "as unsure as between that many tokens"; it depends on the tokenizer."""
        return math.exp(self.nats / self.tokens)

    def __str__(self) -> str:
        return f"{self.bits_per_byte:.4f} bits per byte, perplexity {self.perplexity:.3f} ({self.tokens:,} tokens)"


def score(
    model: nn.Module,
    tokenizer,
    texts: Sequence[str],
    max_bytes: int | None = DEFAULT_BYTES,
    context: int | None = None,
    progress: bool | None = None,
) -> LanguageScore:
    """Score `texts` in windows of `context` tokens behind a BOS.

    More than `max_bytes` of text is thinned to evenly spaced documents (None: read everything).

    The context is the model's own, at most 2048 tokens. Every token of the text counts once, BOS and EOS never.
    """
    text = corpus.read(model, tokenizer, texts, max_bytes, context)
    nats = 0.0
    with corpus.running(model):
        for batch in bar(text.batches, "reading", progress):
            nats += F.cross_entropy(corpus.logits(model, batch).double(), batch.targets, reduction="sum").item()
    return LanguageScore(nats, text.tokens, text.bytes, text.documents)


def bits_per_byte(
    model: nn.Module,
    tokenizer,
    texts: Sequence[str],
    max_bytes: int | None = DEFAULT_BYTES,
    progress: bool | None = None,
) -> float:
    """Bits that the model needs per UTF-8 byte of the texts; `score` gives what it is made of."""
    return score(model, tokenizer, texts, max_bytes, progress=progress).bits_per_byte


def perplexity(
    model: nn.Module,
    tokenizer,
    texts: Sequence[str],
    max_bytes: int | None = DEFAULT_BYTES,
    progress: bool | None = None,
) -> float:
    """exp of the mean -ln p(token); compare it only between models of one tokenizer."""
    return score(model, tokenizer, texts, max_bytes, progress=progress).perplexity
