"""Texts as windows of tokens, so that every token is predicted exactly once and every byte counted exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.progress import bar

DEFAULT_BYTES = 2**16  # of text: about 27,000 tokens of the bundled model, some 1.4 s a pass on two quiet cores
_BATCH_NUMBERS = 2**21  # logits held at a time: 2048 tokens of 1024 choices; small batches stay in cache
_CONTEXT_LIMIT = 2048


@dataclass(frozen=True)
class Batch:
    """Windows of similar length, padded on the right with their own last token (a causal model never looks there)."""

    inputs: Tensor  # (rows, length), each row begins with BOS
    targets: Tensor  # (tokens,) the next token of every real position
    real: Tensor  # (rows, length), False where padded
    window: Tensor  # (tokens,) number of the row it came from
    position: Tensor  # (tokens,) where in its row the target's predecessor stands; 0 is BOS


@dataclass(frozen=True)
class Corpus:
    """Texts split into windows: BOS, then at most `context` tokens to predict.

    A document longer than the context goes on in a further window, which again begins with BOS and sees nothing of
    the one before. So tokens are independent of neighbouring documents and each is scored once.
    """

    batches: tuple[Batch, ...]
    document_of_window: Tensor  # (windows,)
    bytes_of_token: Tensor  # (windows,) bytes a token in the window's document: UTF-8 bytes / tokens
    bytes: int
    tokens: int
    documents: int

    @property
    def clusters(self) -> Tensor:
        """(windows,) what counts as independent: the document, or the window if there is only one document."""
        return self.document_of_window if self.documents > 1 else torch.arange(len(self.document_of_window))


def read(
    model: nn.Module, tokenizer, texts: Sequence[str], max_bytes: int | None = DEFAULT_BYTES, context: int | None = None
) -> Corpus:
    """Tokenize `texts` for `model`: all of them, or evenly spaced ones of at most `max_bytes` UTF-8 bytes together."""
    documents = _cut(_checked(texts), max_bytes)
    context = context or min(getattr(model.config, "max_position_embeddings", _CONTEXT_LIMIT), _CONTEXT_LIMIT)
    start = start_token(tokenizer)
    rows, document_of, bytes_of, total = [], [], [], 0
    for number, text in enumerate(documents):
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        for at in range(0, len(ids), context):
            rows.append([start, *ids[at : at + context]])
            document_of.append(number)
            bytes_of.append(len(text.encode()) / len(ids))
        total += len(ids)
    size = sum(len(text.encode()) for text in documents)
    return Corpus(
        tuple(batches(rows, model.config.vocab_size)),
        torch.tensor(document_of),
        torch.tensor(bytes_of, dtype=torch.float64),
        size,
        total,
        len(documents),
    )


def batches(rows: list[list[int]], vocabulary: int) -> Iterator[Batch]:
    """Rows of tokens as batches, longest first, so that rows of one batch are nearly as long as each other."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        length = len(rows[order[0]]) - 1
        n = max(1, _BATCH_NUMBERS // vocabulary // length)
        chosen, order = order[:n], order[n:]
        padded = torch.tensor([rows[i] + rows[i][-1:] * (length + 1 - len(rows[i])) for i in chosen])
        position = torch.arange(length).expand(len(chosen), length)
        real = position < torch.tensor([len(rows[i]) - 1 for i in chosen])[:, None]  # (rows, length)
        row = torch.tensor(chosen)[:, None].expand_as(real)
        yield Batch(padded[:, :-1].contiguous(), padded[:, 1:][real], real, row[real], position[real])


def start_token(tokenizer) -> int:
    """The token before a text: BOS, or EOS where a tokenizer has no BOS (Qwen), as documents are joined in training."""
    for name in ("bos_token_id", "eos_token_id"):
        if getattr(tokenizer, name, None) is not None:
            return getattr(tokenizer, name)
    raise ValueError(f"tokenizer must have a BOS or an EOS token, got {type(tokenizer).__name__} without either")


@contextmanager
def running(model: nn.Module) -> Iterator[None]:
    """Inference mode, with the model in eval mode; what it was before is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """(tokens, vocab) float32 on the CPU: the model's prediction of every target of the batch."""
    device = next(model.parameters()).device
    out = model(input_ids=batch.inputs.to(device), use_cache=False).logits  # (rows, length, vocab)
    return out[batch.real.to(device)].float().cpu()


def hits(model: nn.Module, rows: list[list[int]], firsts: Sequence[int], progress: bool | None = None) -> list[Tensor]:
    """For each row of tokens, one bool a token from `first` on: is it the likeliest after those before it?

    The rows are read as they are (teacher forcing), so a token counts whatever the model would have said before it.
    """
    found = [torch.zeros(len(row) - first, dtype=torch.bool) for row, first in zip(rows, firsts, strict=True)]
    with running(model):
        for batch in bar(list(batches(rows, model.config.vocab_size)), "tokens", progress):
            hit = logits(model, batch).argmax(-1) == batch.targets  # (tokens,)
            for i in batch.window.unique().tolist():
                found[i] = hit[batch.window == i][firsts[i] - 1 :]  # in the order of the row
    return found


def _cut(texts: list[str], max_bytes: int | None) -> list[str]:
    """Evenly spaced texts that together have about `max_bytes`, the last one cut; empty texts are dropped."""
    texts = [text for text in texts if text]
    total = sum(len(text.encode()) for text in texts)
    if max_bytes is not None and total > max_bytes:
        if max_bytes < 4:
            raise ValueError(f"max_bytes must be at least 4, so that one character fits, or None, got {max_bytes!r}")
        kept, left = [], int(max_bytes)
        for text in texts[:: total // int(max_bytes)]:
            kept.append(text.encode()[:left].decode(errors="ignore"))
            left -= len(text.encode())
            if left <= 0:
                break
        texts = [text for text in kept if text]
    return texts


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings, got one string: put it in brackets")
    texts = list(texts)
    if not any(texts) or not all(isinstance(text, str) for text in texts):
        kinds = ", ".join(sorted({type(text).__name__ for text in texts})) or "an empty list"
        raise ValueError(f"texts must be a list of strings with some text in it, got {kinds}")
    return texts
