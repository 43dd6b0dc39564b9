"""What a sandbox says is believed only in the forms that are checked here."""

import builtins
import inspect

import torch


class OtherError(Exception):
    """A student's function has raised something that is not one of Python's ordinary errors."""


class SandboxEnded(Exception):
    """A student's function has ended the process that it ran in."""


NOT_PLAIN = (Warning, StopIteration, StopAsyncIteration, UnicodeError, ExceptionGroup)  # odd to raise or to make
ERRORS = {
    name: cls
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, NOT_PLAIN)
}


def error(said) -> dict:
    """A student's error in a form that can be relied on: type, text, line, and the line's number or None."""
    said = said if isinstance(said, dict) else {}
    text = {key: printable(said.get(key)) for key in ("type", "text", "line")}
    number = said.get("number")
    number = number if isinstance(number, int) and 0 < number < 10**6 else None
    return {"type": text["type"][:60], "text": text["text"][:300], "line": text["line"][:200], "number": number}


def printable(text) -> str:
    """A text without anything that a terminal or an encoder would stumble over; nothing for what is no text."""
    return "".join(c if c.isprintable() else "?" for c in text) if isinstance(text, str) else ""


def described(said, names) -> dict:
    """{name: (kind, content)} for the names that were asked for."""
    found = {}
    for name in names:
        entry = said.get(name) if isinstance(said, dict) else None
        if isinstance(entry, tuple) and len(entry) == 2 and entry[0] in ("function", "value", "unreadable"):
            found[name] = entry
    return found


class Default:
    """Stands for a default value that is not known here."""

    def __repr__(self):
        return "…"


def signature(parameters) -> inspect.Signature:
    """The signature that a student's function has. Errors: ValueError, TypeError for one that cannot be."""
    made = []
    for name, kind, has_default in parameters:
        if not isinstance(name, str) or not name.isidentifier() or len(name) > 60:
            raise ValueError
        default = Default() if has_default is True else inspect.Parameter.empty
        made.append(inspect.Parameter(name, inspect._ParameterKind(kind), default=default))
    return inspect.Signature(made)


def write_back(args: tuple, kwargs: dict, changed) -> None:
    """Do to the arguments what the function has done to its copies of them, where that is possible."""
    if not isinstance(changed, tuple) or len(changed) != 2:
        return
    new_args, new_kwargs = changed
    pairs = list(zip(args, new_args, strict=False)) if isinstance(new_args, tuple) else []
    pairs += [(kwargs[k], v) for k, v in new_kwargs.items() if k in kwargs] if isinstance(new_kwargs, dict) else []
    for old, new in pairs:
        if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
            if old.shape == new.shape and old.dtype == new.dtype:
                old.copy_(new)
        elif isinstance(old, list) and isinstance(new, list):
            old[:] = new
        elif isinstance(old, dict) and isinstance(new, dict):
            old.clear()
            old.update(new)
