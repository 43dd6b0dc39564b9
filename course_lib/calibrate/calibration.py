"""The text that a method looks at while it calibrates, as windows of tokens that all have the same length."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.calibrate import conversations

NAMES = ("prose", "code", "task")
SAMPLES, LENGTH = 32, 512
_ROWS = 8  # windows in a batch


def calibration_batches(
    tokenizer, source: str | Path | Sequence[str], samples: int = SAMPLES, length: int = LENGTH
) -> list[Tensor]:
    """At most `samples` windows of `length` tokens as batches (rows, length), int64; every window begins with BOS.

    source  "prose", "code" or "task" (training parts of the bundled texts), the path of a text file or of a .jsonl
            file of conversations, or a list of texts. Bundled documents come in one fixed shuffled order; documents
            are joined by BOS.

    ValueError where the text is shorter than one window.
    """
    if samples < 1 or length < 2:
        raise ValueError(f"samples must be at least 1 and length at least 2, got {samples} and {length}")
    what, documents = _documents(source, samples, tokenizer)
    start, wanted = _start_token(tokenizer), samples * (length - 1)
    stream: list[int] = []
    for text in documents:
        ids = tokenizer(text[: 16 * wanted], add_special_tokens=False, verbose=False)["input_ids"]
        stream += [start, *ids] if stream else ids
        if len(stream) >= wanted:
            break
    windows = min(samples, len(stream) // (length - 1))
    if not windows:
        raise ValueError(f"calibration: {what} has {len(stream)} tokens, fewer than one window of {length - 1} + BOS:"
                         " give more text or a smaller length")  # fmt: skip
    rows = torch.tensor(stream[: windows * (length - 1)]).reshape(windows, length - 1)
    return list(torch.cat([torch.full((windows, 1), start), rows], dim=1).split(_ROWS))


def batches_for(model: nn.Module, calibration, tokenizer=None) -> list[Tensor]:
    """What a user gave as `calibration`, as batches of tokens (rows, length) on the model's device.

    Tensors of tokens (length,) or (rows, length) are checked and kept; anything that calibration_batches takes goes
    through it, with `tokenizer` or the one that lies beside the model's checkpoint.
    """
    if calibration is None:
        raise ValueError('calibration must be "prose", "code", "task", a file, texts or token tensors, got None')
    device = next(model.parameters()).device
    if isinstance(calibration, Tensor):
        calibration = [calibration]
    if not isinstance(calibration, str | Path):
        calibration = list(calibration)
        if calibration and all(isinstance(t, Tensor) for t in calibration):
            return [check_tokens(model, t).to(device) for t in calibration]
    tokenizer = tokenizer or _tokenizer_of(model)
    context = getattr(model.config, "max_position_embeddings", LENGTH)
    batches = calibration_batches(tokenizer, calibration, length=min(LENGTH, context))
    return [check_tokens(model, t).to(device) for t in batches]


def _documents(source, samples: int, tokenizer) -> tuple[str, Iterable[str]]:
    """What the text is called in an error, and its documents."""
    if isinstance(source, str | Path):
        if source in NAMES:
            from course_lib.models import texts

            documents = texts.train(source, 50 * samples if source == "task" else None)
            random.Random("calibration").shuffle(documents)
            return f"{source!r}", documents
        if not Path(source).is_file():
            raise ValueError(f"calibration must be one of {', '.join(NAMES)} or a text file, got {str(source)!r}")
        try:
            if Path(source).suffix == ".jsonl":
                return str(source), conversations.read(source, tokenizer)
            return str(source), [Path(source).read_text(encoding="utf-8")]
        except UnicodeDecodeError as error:
            raise ValueError(f"calibration: {source} is not UTF-8 text: {error}") from error
    texts = list(source)
    if not texts or not all(isinstance(text, str) for text in texts):
        kinds = ", ".join(sorted({type(text).__name__ for text in texts})) or "an empty list"
        raise ValueError(f"calibration must be a name, a file, a list of texts or a list of token tensors, got {kinds}")
    return f"{len(texts)} texts", texts


def check_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens as (rows, length), int64, all of them inside the model's vocabulary; or one clear sentence."""
    if tokens.is_floating_point() or tokens.dim() not in (1, 2) or tokens.numel() == 0:
        raise ValueError(f"calibration tokens must be whole numbers of shape (length,) or (rows, length), got"
                         f" {tokens.dtype} of shape {tuple(tokens.shape)}")  # fmt: skip
    lo, hi = (t.item() for t in torch.aminmax(tokens))
    vocabulary = model.get_input_embeddings().num_embeddings
    if lo < 0 or hi >= vocabulary:
        raise ValueError(f"calibration tokens must lie in 0…{vocabulary - 1}, the model's vocabulary, got {lo}…{hi}")
    return tokens.to(torch.int64).reshape(-1, tokens.shape[-1])


def _start_token(tokenizer) -> int:
    """BOS, or EOS where a tokenizer has no BOS (Qwen), as documents are joined in training."""
    for name in ("bos_token_id", "eos_token_id"):
        if getattr(tokenizer, name, None) is not None:
            return getattr(tokenizer, name)
    raise ValueError(f"tokenizer must have a BOS or an EOS token, got {type(tokenizer).__name__} without either")


def _tokenizer_of(model: nn.Module):
    from transformers import AutoTokenizer

    where = getattr(model, "name_or_path", "")
    try:
        return AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ValueError(f"calibration is text, but no tokenizer lies beside the model ({where!r}): pass"
                         " calibration_batches(tokenizer, …) instead") from error  # fmt: skip
