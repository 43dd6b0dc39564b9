"""Chapter 12's part of the learner's quantizer: their GEMV under every linear layer of the bot, and its machine code.

`mine("ch12")` writes the first tokens of a reply twice, with the kernel and with torch on the same 4-bit weights, and
compiles the kernel for a GPU that need not be here.
"""

import copy
import functools

import torch
from torch import nn

from course_lib.checks import curve, pieces, render
from course_lib.checks.ch12 import compiled
from course_lib.checks.ch12.words import words

W, TOKENS = 32, 6  # 32 words a block: a group of 256 columns has one scale
TRY_S = 60.0


class KernelLinear(nn.Module):
    """y = x W_hatᵀ in 4 bits: one token goes through `gemv(x, words, scale, W, BN)`, several through torch."""

    def __init__(self, weight, gemv):
        super().__init__()
        n, k = weight.shape
        groups = weight.reshape(n, -1, 8 * W)
        scale = (groups.abs().amax(2) / 7).half()
        codes = torch.round(groups / scale.float()[..., None]).clamp(-8, 7) + 8
        self.words, self.scale, self.gemv = words(codes.reshape(n, k).long(), W), scale, gemv
        self.weight = (scale.float()[..., None] * (codes - 8)).reshape(n, k)

    def forward(self, x):
        if self.gemv is None or x.numel() != x.shape[-1]:
            return x @ self.weight.T
        y = self.gemv(x.reshape(-1).half(), self.words, self.scale, W, len(self.words))
        return y.reshape(*x.shape[:-1], len(self.words))


@functools.cache
def _bot():
    """The bundled model and its tokenizer, loaded once."""
    from course_lib import models

    return models.load("bundled")


def bot_with(gemv):
    """A copy of the bundled model whose decoder layers multiply by `gemv`, or by torch where it is None."""
    bot = copy.deepcopy(_bot()[0])
    for block in bot.model.layers:
        for part in (block.self_attn, block.mlp):
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(part, name, KernelLinear(layer.weight.detach().float(), gemv))
    return bot


def reply(bot, prompt):
    """(tokens, logits of each step): the prompt read at once, then TOKENS steps of one token."""
    from transformers import DynamicCache

    cache, tokens, logits = DynamicCache(config=bot.config), [], []
    ids = prompt
    with torch.inference_mode():
        for _ in range(TOKENS):
            logits.append(bot(input_ids=ids, past_key_values=cache, logits_to_keep=1).logits[0, -1])
            ids = logits[-1].argmax().reshape(1, 1)
            tokens.append(int(ids))
    return tokens, torch.stack(logits)


def measure(gemv):
    """(text by the kernel, steps with torch's token, largest difference of a logit, largest logit)."""
    from course_lib import evaluate, models
    from course_lib.evaluate.decode import prompt_tokens

    tokenizer = _bot()[1]
    prompt = torch.tensor([prompt_tokens(tokenizer, models.task.generate(1, curve.SEED)[0].prompt)])
    with evaluate.one_thread():
        (mine, theirs), (ours, want) = (reply(bot_with(g), prompt) for g in (gemv, None))
    same = sum(a == b for a, b in zip(mine, ours, strict=True))
    return tokenizer.decode(mine), same, float((theirs - want).abs().max()), float(want.abs().max())


class KernelRun(render.Sheet):
    """One run of *mine* of this chapter; `code` says what the machine code costs, `same` counts equal tokens."""

    def __init__(self, measured, code, whose, notes):
        self.written, self.same, self.off, self.top = measured
        self.code, self.whose, self.notes = code, whose, notes

    def rows(self):
        """The figures and whose kernel made them."""
        rows = [
            ("writes", self.written.strip().replace("\n", " ")),
            ("the token that torch takes", f"{self.same} of {TOKENS} steps"),
            ("largest difference of a logit", f"{self.off:.2g}, of {self.top:.3g}"),
        ]
        if self.code is not None:
            c = self.code
            rows.append((f"compiled for {c.arch}", f"{c.per_weight} instructions a weight, {c.registers} registers"))
        return [*rows, *self.whose.items()]

    def title(self):
        return "Mine, ch12: 28 linear layers in 4 bits, one token at a time through the kernel"


class KernelRecipe:
    """What `mine("ch12")` runs: the learner's gemv, or the course's where it is missing, slow or broken."""

    pieces = ("gemv",)

    def __call__(self):
        _bot()  # loaded before the clock starts: that is not the learner's time
        (measured, kernel), whose, notes = pieces.tried(self.pieces, lambda own: (measure(own.gemv), own.gemv), TRY_S)
        code, problem = compiled.count(kernel.source())
        return render.show(KernelRun(measured, code, whose, [*notes, *filter(None, [problem])]))


RECIPE = KernelRecipe()
