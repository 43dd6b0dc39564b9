"""A reply is a chain of tokens: where another model would have left the path of the first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from course_lib.evaluate import corpus
from course_lib.evaluate.decode import generate_tokens, prompt_tokens


def reply_flips(
    base: nn.Module, other: nn.Module, tokenizer, prompts: Sequence[str], longest: int = 256
) -> list[Tensor]:
    """For each prompt, one bool a token of the reply of `base`: is the likeliest token of `other` another one there?

    Both read the prompt and the reply of `base` up to that token (teacher forcing). Decoded greedily, `other` writes
    the same tokens, up to `longest`, exactly where it has no flip (ties and rounding aside). If each of n tokens
    flipped by itself with chance f, a reply would have none with chance

        (1 − f)ⁿ

    base, other   causal models of one tokenizer, which read tokens as `transformers` models do
    longest       tokens after which a reply is cut

    `sum(not flips.any() for flips in reply_flips(model, small, tokenizer, prompts))` counts the replies that stay.
    """
    rows = [prompt_tokens(tokenizer, prompt) for prompt in prompts]
    if not rows:
        raise ValueError("prompts must hold at least one prompt, got an empty list")
    replies = generate_tokens(base, tokenizer, rows, longest, progress=False)
    whole = [row + reply for row, reply in zip(rows, replies, strict=True)]
    return [~hit for hit in corpus.hits(other, whole, list(map(len, rows)), progress=False)]
