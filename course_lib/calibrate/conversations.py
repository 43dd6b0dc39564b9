"""Conversations as calibration text: a .jsonl file, each line one document, put into the model's own chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

FORMS = 'a JSON object with "messages" (a list of {"role", "content"}) or "text"'


def read(path: str | Path, tokenizer) -> list[str]:
    """The documents of a .jsonl file: {"text": …} as it is, {"messages": […]} as the chat template writes them.

    ValueError naming the line that is neither, and where a tokenizer has no chat template.
    """
    documents = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"calibration: line {number} of {path} is no JSON: {error}") from None
        if isinstance(record, dict) and isinstance(record.get("text"), str):
            documents.append(record["text"])
        elif isinstance(record, dict) and is_conversation(record.get("messages")):
            documents.append(written(record["messages"], tokenizer))
        else:
            raise ValueError(f"calibration: line {number} of {path} must be {FORMS}, got {line[:60]!r}")
    if not documents:
        raise ValueError(f"calibration: {path} holds no line of text")
    return documents


def is_conversation(messages) -> bool:
    """A list of messages, each a dict with a role and a content that are strings?

    >>> is_conversation([{"role": "user", "content": "hello"}]), is_conversation("hello")
    (True, False)
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        return False
    return all(isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
               for m in messages)  # fmt: skip


def written(messages: Sequence[dict], tokenizer) -> str:
    """A conversation as the tokenizer's chat template writes it, without the BOS that windows begin with anyway."""
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("calibration holds conversations, but the model's tokenizer has no chat template: give text")
    text = tokenizer.apply_chat_template(list(messages), tokenize=False)
    return text.removeprefix(tokenizer.bos_token or "")
