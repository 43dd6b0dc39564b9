"""What a completion request may ask for. Whatever else comes is answered with one sentence, never with a guess."""

from __future__ import annotations

import json
from dataclasses import dataclass

FIELDS = ("prompt", "max_tokens", "stop", "temperature", "stream", "n", "model", "user")


@dataclass(frozen=True)
class Limits:
    """Bounds of one service. A request beyond them gets 400 or 413, one too many at a time gets 429."""

    body_bytes: int = 64 * 1024
    prompt_chars: int = 4_000
    max_tokens: int = 256
    at_once: int = 32  # requests inside; llama.cpp and torch take them one by one
    timeout_s: float = 30.0  # for one runtime's answer


class BadRequest(ValueError):
    """A request that cannot be answered as it is; the message says which field, what was expected, what came."""


def read_request(body: bytes, limits: Limits) -> dict:
    """The fields of a /v1/completions request, checked and completed; BadRequest for anything else.

    >>> read_request(b'{"prompt": "Hello"}', Limits())
    {'prompt': 'Hello', 'max_tokens': 256, 'stop': [], 'user': ''}
    """
    try:
        asked = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body must be JSON: {error}") from None
    except ValueError:  # Python reads no longer ones
        raise BadRequest("the body holds a whole number of thousands of digits") from None
    if not isinstance(asked, dict):
        raise BadRequest(f"the body must be a JSON object, got a {type(asked).__name__}")
    if unknown := [name for name in asked if name not in FIELDS]:
        raise BadRequest(f"{unknown[0][:40]!r} is not supported here; the fields are {', '.join(FIELDS)}")
    for name, only, kinds in (("temperature", 0, (int, float)), ("stream", False, (bool,)), ("n", 1, (int,))):
        value = asked.get(name, only)
        if type(value) not in kinds or value != only:  # false is no 0, and true no 1
            raise BadRequest(f"{name} must be {json.dumps(only)} here: replies are greedy and come in one piece")
    if not isinstance(asked.get("model", ""), str):
        raise BadRequest(f"model must be a string, got {type(asked['model']).__name__}")
    return {
        "prompt": _text(asked, "prompt", limits.prompt_chars),
        "max_tokens": _whole(asked, limits.max_tokens),
        "stop": _stops(asked),
        "user": _text(asked, "user", 200) if "user" in asked else "",
    }


def _text(asked: dict, name: str, longest: int) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        came = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise BadRequest(f"{name} must be a string of 1 to {longest} characters, got {came}")
    return _whole_characters(value, name)


def _whole_characters(value: str, name: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRequest(f"{name} holds half of a surrogate pair, which is no character")
    return value


def _whole(asked: dict, most: int) -> int:
    value = asked.get("max_tokens", most)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadRequest(f"max_tokens must be a whole number from 1 to {most}, got {str(value)[:40]}")
    return value


def _stops(asked: dict) -> list[str]:
    value = asked.get("stop")
    value = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(value, list) or len(value) > 4 or not all(isinstance(s, str) and 0 < len(s) <= 40 for s in value):
        raise BadRequest("stop must be a string or at most four of them, of 1 to 40 characters each")
    return [_whole_characters(text, "stop") for text in value]
