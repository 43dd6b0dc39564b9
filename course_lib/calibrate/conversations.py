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
    documents, text = [], Path(path).read_text(encoding="utf-8-sig")
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would cut at signs that JSON may hold
        if not line.strip():
            continue
        try:
            documents.append(_document(line, tokenizer))
        except ValueError as error:
            raise ValueError(f"calibration: line {number} of {path} {error}") from None
    if not documents:
        raise ValueError(f"calibration: {path} holds no line of text")
    return documents


def _document(line: str, tokenizer) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if isinstance(record, dict) and is_conversation(record.get("messages")):
        return written(record["messages"], tokenizer)
    if isinstance(record, dict) and isinstance(record.get("text"), str) and record["text"].strip():
        return record["text"]
    raise ValueError(f"must be {FORMS}, got {line[:60]!r}")


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
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("is a conversation, but the model's tokenizer has no chat template: give text")
    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False)
    except TemplateError as error:
        raise ValueError(f"is refused by the model's chat template: {error}") from None
    bos = tokenizer.bos_token
    return text.lstrip().removeprefix(bos) if bos and text.lstrip().startswith(bos) else text
