"""What a cache does to a model: tokens are read one by one from it, and each prediction is held against the plain one.

    KL = mean over tokens of Σ p log(p / p̂)      p: the whole text read at once, nothing cached; p̂: read from the cache

Without this detour a cache is not measured at all: a forward pass over a whole text never reads one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.evaluate.corpus import running
from course_lib.evaluate.decode import one_thread, prompt_tokens


@dataclass(frozen=True)
class CacheComparison:
    """KL in nats a token with its standard error over texts, share of equal likeliest tokens, and what was counted."""

    kl: float
    kl_stderr: float
    top1: float
    tokens: int

    def __repr__(self):
        return f"KL {self.kl:.4f} ± {self.kl_stderr:.4f}, top-1 {self.top1:.1%} ({self.tokens} tokens)"


class CacheReference:
    """A model's own predictions for some texts, computed once; `compare(make_cache)` holds a cache against them."""

    def __init__(self, model: nn.Module, tokenizer, texts: Sequence[str], prefix: int = 256, steps: int = 96):
        """The first `prefix` tokens of each text are read at once, the next `steps` one by one."""
        length = prefix + steps
        rows = [prompt_tokens(tokenizer, text)[:length] for text in texts]
        short = [len(row) for row in rows if len(row) < length]
        if short or not rows:
            raise ValueError(f"texts must hold {length} tokens each (prefix + steps), got {short or 'none'}")
        self.model, self.prefix, self.ids = model, prefix, torch.tensor(rows, device=next(model.parameters()).device)
        with running(model):
            logits = model(input_ids=self.ids, use_cache=False).logits[:, prefix:]
        self.log_p = logits.float().log_softmax(-1)  # (texts, steps, vocabulary)

    def compare(self, make_cache: Callable[[], object]) -> CacheComparison:
        """Read the texts again from a fresh cache and compare every prediction after the prefix."""
        cache, found = make_cache(), []
        with running(self.model), one_thread():
            self.model(input_ids=self.ids[:, : self.prefix], past_key_values=cache, logits_to_keep=1)
            for at in range(self.prefix, self.ids.shape[1]):
                out = self.model(input_ids=self.ids[:, at : at + 1], past_key_values=cache, logits_to_keep=1)
                found.append(out.logits[:, -1].float().log_softmax(-1))
        return self._compared(torch.stack(found, 1))

    def _compared(self, log_q: Tensor) -> CacheComparison:
        kl = (self.log_p.exp() * (self.log_p - log_q)).sum(-1).double()  # (texts, steps)
        per_text = kl.mean(1)
        error = float(per_text.std() / math.sqrt(len(per_text))) if len(per_text) > 1 else math.nan
        same = (self.log_p.argmax(-1) == log_q.argmax(-1)).float().mean()
        return CacheComparison(float(kl.mean()), error, float(same), kl.numel())


def reply_from_cache(model: nn.Module, tokenizer, prompt: str, cache: object, max_new_tokens: int = 180) -> str:
    """What the model writes after `prompt` when it reads from this (empty) cache: likeliest tokens, up to a newline."""
    ids = torch.tensor([prompt_tokens(tokenizer, prompt)], device=next(model.parameters()).device)
    reply: list[int] = []
    with running(model), one_thread():
        for _ in range(max_new_tokens):
            best = model(input_ids=ids, past_key_values=cache, logits_to_keep=1).logits[:, -1].argmax(-1)
            reply.append(int(best))
            if reply[-1] == tokenizer.eos_token_id or "\n" in tokenizer.decode(best):
                break
            ids = best[:, None]
    return tokenizer.decode(reply, skip_special_tokens=True).split("\n")[0]  # together: a letter may be several tokens
