"""The noise floor: a model against itself, the same 16-bit weights with additions in another order.

Two runtimes, two GPUs, two batch sizes: each adds in its own order, and in bfloat16 the sum depends on it. What differs
here differs without any quantization, and a difference of this size says nothing against an artifact.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from course_lib.evaluate.compare import Comparison, Reference
from course_lib.evaluate.corpus import DEFAULT_BYTES
from course_lib.evaluate.paired import Paired, paired
from course_lib.evaluate.task import task_accuracy


@dataclass(frozen=True)
class Noise:
    """What two runs of the same bfloat16 weights differ by: on texts, and, if there were examples, on the task."""

    language: Comparison
    task: Paired | None

    def __str__(self) -> str:
        flips = f" | {self.task.lost + self.task.won} of {self.task.n} verdicts flip" if self.task else ""
        return f"KL {self.language.kl:.5f} nats a token, top-1 {self.language.top1:.2%}{flips}"


def noise_floor(
    model: nn.Module,
    tokenizer,
    texts: Sequence[str],
    examples: Sequence = (),
    max_bytes: int | None = DEFAULT_BYTES,
    progress: bool | None = None,
) -> Noise:
    """Run the model in bfloat16 with fused attention and with attention step by step, and compare the two.

    `model` stays as it is. TypeError for a model whose attention has one implementation only.
    """
    fused = copy.deepcopy(model).to(torch.bfloat16)
    stepwise = copy.deepcopy(fused)
    if not hasattr(stepwise, "set_attn_implementation"):
        raise TypeError(f"model must be a transformers model, got {type(model).__name__}")
    fused.set_attn_implementation("sdpa")
    stepwise.set_attn_implementation("eager")
    language = Reference(fused, tokenizer, texts, max_bytes, progress=progress).compare(stepwise, progress)
    runs = [task_accuracy(m, tokenizer, examples, progress=progress) for m in (fused, stepwise) if examples]
    return Noise(language, paired(*(run.correct for run in runs)) if runs else None)
