"""Chapter 11's part of the learner's quantizer: a cache for the bundled model that runs on their `leave` and `squeeze`.

Not weights this time: `mine("ch11")` reads held-out prose and task messages from the cache, token by token.
"""

import functools

import torch

from course_lib.checks import curve, pieces, render

BITS, WINDOW, BLOCK = 2, 32, 32
TEXTS, PREFIX, STEPS, MESSAGES = 4, 256, 32, 4
TRY_S = 60.0


def make_cache(functions, layers=4):
    """A transformers cache whose older tokens went through `functions.squeeze`, in blocks that `functions.leave` chose.

    functions has leave(recent, window, block) and squeeze(x, b, per), as in the exercises.
    """
    from transformers.cache_utils import Cache, DynamicLayer

    class Mine(DynamicLayer):
        old_keys = old_values = None

        def update(self, key_states, value_states, *args, **kwargs):
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                self.old_keys, self.old_values = key_states[:, :, :0], value_states[:, :, :0]
            keys, values = super().update(key_states, value_states)
            seen = torch.cat([self.old_keys, keys], 2), torch.cat([self.old_values, values], 2)
            self.keys, self.old_keys = _aged(functions, keys, self.old_keys, "channel")
            self.values, self.old_values = _aged(functions, values, self.old_values, "token")
            return seen

        def get_seq_length(self):
            return 0 if not self.is_initialized else self.keys.shape[2] + self.old_keys.shape[2]

    return Cache(layers=[Mine() for _ in range(layers)])


def _aged(functions, recent, old, per):
    """(recent, old), each (batch, heads, tokens, dim), after whole blocks have left the window and were rounded.

    `leave` sees one row a token, all heads side by side; `squeeze` sees a block: its rows are the tokens of all heads
    where each token has its own range, its columns the channels of all heads where each channel has.
    """
    batch, heads, _, dim = recent.shape
    rows = recent.permute(2, 0, 1, 3).flatten(1)  # (tokens, batch · heads · dim)
    leaving, staying = functions.leave(rows, WINDOW, BLOCK)
    done = [old]
    for part in leaving.split(BLOCK) if len(leaving) else ():
        shape = part.shape
        part = part.reshape(-1, dim) if per == "token" else part
        done.append(functions.squeeze(part, BITS, per).reshape(shape).unflatten(
            1, (batch, heads, dim)).permute(1, 2, 0, 3))  # fmt: skip
    return staying.unflatten(1, (batch, heads, dim)).permute(1, 2, 0, 3), torch.cat(done, 2)


@functools.cache
def _bot():
    """The bundled model and its tokenizer, loaded once."""
    from course_lib import models

    return models.load("bundled")


def measure(functions):
    """KL and top-1 on prose, exact replies on messages, all read from the learner's cache."""
    from course_lib import evaluate, models

    model, tokenizer = _bot()
    prose = [text[:3000] for text in models.texts.heldout("prose") if len(text) > 2500][:TEXTS]
    reference = evaluate.CacheReference(model, tokenizer, prose, PREFIX, STEPS)
    compared = reference.compare(lambda: make_cache(functions))
    examples = models.task.generate(MESSAGES, curve.SEED)
    replies = [evaluate.reply_from_cache(model, tokenizer, e.prompt, make_cache(functions)) for e in examples]
    right = sum(evaluate.is_exact(reply, e.action) for reply, e in zip(replies, examples, strict=True))
    return compared, right


class CacheRun(render.Sheet):
    """One run of *mine* of this chapter; `compared` holds KL and top-1, `right` the replies that are exactly right."""

    def __init__(self, compared, right, whose, notes):
        self.compared, self.right, self.whose, self.notes = compared, right, whose, notes

    def rows(self):
        """The figures and whose pieces made them."""
        from course_lib.kvcache import KVFormat, kv_bytes, stored_bytes

        config, tokens = _bot()[0].config, PREFIX + STEPS
        format = KVFormat(f"int{BITS}", group=BLOCK, residual=WINDOW)
        packed, plain = stored_bytes(config, tokens, format), kv_bytes(config, tokens)
        return [
            (f"bytes, packed, at {tokens} tokens", f"{packed:,} (16 bits: {plain:,})"),
            ("KL to reading without a cache", f"{self.compared.kl:.4f} ± {self.compared.kl_stderr:.4f} nats a token"),
            ("likeliest token the same", f"{self.compared.top1:.1%}"),
            ("replies exactly right", f"{self.right} of {MESSAGES}"),
            *self.whose.items(),
        ]

    def title(self):
        return f"Mine, ch11: a cache of {BITS} bits, the last {WINDOW} tokens as they are"


class CacheRecipe:
    """What `mine("ch11")` runs: the learner's pieces, or the course's where theirs are missing, slow or broken."""

    pieces = ("leave", "squeeze")

    def __call__(self):
        _bot()  # loaded before the clock starts: that is not the learner's time
        (compared, right), whose, notes = pieces.tried(self.pieces, measure, TRY_S)
        return render.show(CacheRun(compared, right, whose, notes))


RECIPE = CacheRecipe()
