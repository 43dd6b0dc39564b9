"""Rows of training tokens, drawn from prose, code and the task: what `course train` reads."""

import numpy as np
import torch

from course_lib.models import task, texts

TOKENS = 4096  # of a step: 16 rows of 256 or 8 of 512
MESSAGE_WEIGHT = 0.1  # loss weight of request tokens; answers weigh 1


class Rows:
    """Endless rows of `context + 1` tokens with a loss weight per token, drawn from the three domains."""

    def __init__(self, tok, phase, seed=0):
        self.tok, self.context, self.rng = tok, phase.context, np.random.default_rng(seed)
        self.shares = {"prose": phase.prose, "code": phase.code, "task": phase.task}
        documents = {"prose": texts.train("prose"), "code": texts.train("code")}
        documents["code"] += texts.more_code() if phase.more else []
        self.flat = {d: self._flatten(text) for d, text in documents.items()}
        self.seed, self.task_seed, self.queue = seed, 0, []

    def _flatten(self, documents):
        ids = self.tok(documents).input_ids
        return np.concatenate([np.array([0, *row], dtype=np.int64) for row in ids])

    def _refill(self):
        examples = task.generate(256, f"train {self.seed} {self.task_seed}")
        self.task_seed += 1
        prompts = self.tok([e.prompt for e in examples]).input_ids
        answers = self.tok([e.answer for e in examples]).input_ids
        for p, a in zip(prompts, answers, strict=True):
            self.queue.append(([0, *p, *a], [MESSAGE_WEIGHT] * (len(p) + 1) + [1.0] * len(a)))

    def _task_row(self):
        """Whole examples from the row's start; the last one is cut."""
        tokens, weights = [], []
        while len(tokens) < self.context + 1:
            if not self.queue:
                self._refill()
            t, w = self.queue.pop()
            tokens += t
            weights += [1.0, *w[1:]]  # the end mark before a new request is part of the answer
        return np.array(tokens[: self.context + 1]), np.array(weights[: self.context + 1], np.float32)

    def row(self, domain):
        if domain == "task":
            return self._task_row()
        flat = self.flat[domain]
        start = self.rng.integers(len(flat) - self.context - 1)
        return flat[start : start + self.context + 1], np.ones(self.context + 1, np.float32)

    def batch(self):
        """Return tokens and weights, each (rows, context + 1), and how many of the rows are text; those come first."""
        rows, prose, code = TOKENS // self.context, self.shares["prose"], self.shares["code"]
        text = round(rows * (prose + code))
        domains = self.rng.choice(["prose", "code"], text, p=[prose / (prose + code), code / (prose + code)])
        pairs = [self.row(d) for d in (*domains, *["task"] * (rows - text))]
        tokens, weights = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        return tokens, weights, text
