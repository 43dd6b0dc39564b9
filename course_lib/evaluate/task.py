"""Does the model still do its job: exact match of the parsed JSON action, and how many tokens were right on the way."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from course_lib.evaluate import corpus
from course_lib.evaluate.decode import generate_many, prompt_tokens
from course_lib.evaluate.stats import wilson


@dataclass(frozen=True)
class TaskResult:
    """Share of replies that are exactly right, and why the others may not be.

    exact                the reply parses and the action equals the wanted one (keys in any order, types alike)
    token_accuracy       share of the right answer's tokens that the model would have chosen, given those before
    json_valid           share of replies that parse as a JSON object
    schema_valid         share that also has the keys, types and words that a program expects (models.task.SCHEMA)
    correct              one bool a message, to pair with another model's
    """

    exact: float
    token_accuracy: float
    json_valid: float
    schema_valid: float
    n: int
    replies: tuple[str, ...] = field(repr=False)
    correct: tuple[bool, ...] = field(repr=False)

    @property
    def exact_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `exact`."""
        return wilson(sum(self.correct), self.n)

    def __str__(self) -> str:
        low, high = self.exact_interval
        return (
            f"exact {self.exact:.1%} (95 %: {low:.1%} to {high:.1%}) | right tokens {self.token_accuracy:.1%}"
            f" | valid JSON {self.json_valid:.1%}, schema {self.schema_valid:.1%} | {self.n} messages"
        )


def task_accuracy(
    model: nn.Module,
    tokenizer,
    examples: Sequence,
    batch_size: int = 64,
    progress: bool | None = None,
    replies_only: bool = False,
) -> TaskResult:
    """Let the model answer every example (.prompt, .answer, .action) and compare its action with the right one.

    replies_only saves the second pass, over the right answers: token_accuracy is NaN then.
    """
    examples = list(examples)
    if not examples or not all(hasattr(example, "prompt") for example in examples):
        kinds = ", ".join(sorted({type(example).__name__ for example in examples})) or "an empty list"
        raise ValueError(f"examples must be models.task.Example, such as models.task.generate(100), got {kinds}")
    answers = [tokenizer(example.answer, add_special_tokens=False)["input_ids"] for example in examples]
    longest = max(len(answer) for answer in answers) + 16
    replies = generate_many(model, tokenizer, [e.prompt for e in examples], longest, "\n", batch_size, progress)
    correct = tuple(is_exact(reply, e.action) for reply, e in zip(replies, examples, strict=True))
    exact, n = sum(correct) / len(examples), len(examples)
    actions = [action for reply in replies if (action := _parse(reply)) is not None]
    return TaskResult(
        exact,
        math.nan if replies_only else _token_accuracy(model, tokenizer, examples, answers, progress),
        len(actions) / n,
        sum(map(fits_schema, actions)) / n,
        n,
        tuple(replies),
        correct,
    )


def is_exact(reply: str, action: dict) -> bool:
    """Is the reply JSON that says exactly `action`? true is not 1 and "2" is not 2, but keys may come in any order.

    >>> is_exact('{"b": 2, "a": true}', {"a": True, "b": 2}), is_exact('{"a": 1, "b": 2}', {"a": True, "b": 2})
    (True, False)
    """
    found = _parse(reply)
    return found is not None and _canonical(found) == _canonical(action)


def fits_schema(action: dict) -> bool:
    """Does an action have the form that a program expects of it, whatever it says?

    >>> fits_schema({"order": "nova-1234", "days": 3, "lines": [], "total": 0, "pay": "cash"})
    False
    """
    import fastjsonschema

    try:
        _validator()(action)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


@functools.cache
def _validator():
    import fastjsonschema  # jsonschema takes seconds to import where a package builds a grammar of web addresses for it

    from course_lib.models.task import SCHEMA

    return fastjsonschema.compile(SCHEMA)


def _parse(reply: str) -> dict | None:
    from course_lib.models.task import parse

    return parse(reply)


def _canonical(value: dict) -> str:
    return json.dumps(value, sort_keys=True)


def _token_accuracy(
    model: nn.Module, tokenizer, examples: list, answers: list[list[int]], progress: bool | None
) -> float:
    """Share of answer tokens that are the argmax when the right answer so far is given (teacher forcing)."""
    prompts = [prompt_tokens(tokenizer, example.prompt) for example in examples]
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return torch.cat(corpus.hits(model, rows, list(map(len, prompts)), progress)).double().mean().item()
