"""The student's side of the channel: run the cells, say which functions there are, then answer calls until the end."""

import inspect
import os
import socket

import torch

from . import wire
from .cells import MASKED, Space, told

REMOVED = ("torch", "numpy")  # the only libraries from which names are taken away


class Channel:
    """Messages over the one socket that leads out."""

    def __init__(self, fd: int):
        self.socket, self.read, self.body = socket.socket(fileno=fd), bytearray(), b""

    def send(self, message) -> None:
        self.socket.sendall(wire.frame(message))

    def receive(self):
        """The next message; its bytes stay in `body`."""
        self.body = self._take(wire.body_bytes(self._take(wire.HEADER.size)))
        return wire.decode(self.body)

    def _take(self, n: int) -> bytes:
        while len(self.read) < n:
            part = self.socket.recv(max(min(n - len(self.read), 2**20), wire.AT_ONCE))
            if not part:
                os._exit(0)  # the grader is gone
            self.read += part
        data = bytes(self.read[:n])
        del self.read[:n]
        return data


def serve(fd: int) -> None:
    """Everything from the first cell to the last call; never returns."""
    torch.set_num_threads(1)
    channel = Channel(fd)
    job = channel.receive()
    for name in job["removed"]:
        remove(name)
    space = Space()
    for number, source in job["cells"]:
        channel.send(("begin", number))
        error = space.run(number, source, job["cell_s"])
        if error:
            channel.send(("error", number, error))
    channel.send(("ready", {name: described(space.names, name) for name in job["names"]}))
    while True:
        call = channel.receive()
        channel.socket.sendall(answer(space, call, channel.body))


def remove(name: str) -> None:
    """Take a name such as torch.quantize_per_tensor away: a deterrent, not a guarantee."""
    *path, last = name.split(".")
    if path and path[0] in REMOVED:
        owner = __import__(path[0])
        for part in path[1:]:
            owner = getattr(owner, part, None)
        if hasattr(owner, last):
            setattr(owner, last, _Removed(name))


class _Removed:
    """Stands where a removed name was; any use of it says so."""

    def __init__(self, name: str):
        object.__setattr__(self, "_name", name)

    def __getattribute__(self, _):
        raise AttributeError(f"{object.__getattribute__(self, '_name')} is {MASKED}")

    def __call__(self, *_args, **_kwargs):
        raise AttributeError(f"{object.__getattribute__(self, '_name')} is {MASKED}")


def described(names: dict, name: str):
    """What a name holds: ("function", parameters), ("value", it), ("unreadable", why) or None where there is none."""
    if name not in names:
        return None
    value = names[name]
    try:
        if callable(value):
            return "function", _parameters(value)
        wire.encode(value)
        return "value", value
    except wire.Refused as refused:
        return "unreadable", str(refused)
    except BaseException:
        return "unreadable", "an object that cannot be read"


def _parameters(function):
    """[(name, kind, has a default)] or None where a function does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [(p.name, int(p.kind), p.default is not p.empty) for p in parameters][:50]


def answer(space: Space, call, body: bytes) -> bytes:
    """The reply to one call: ("value", result, changed), ("error", what, changed) or ("unreadable", why).

    `changed` holds the arguments if the function has changed them, so that they no longer give the call's bytes.
    """
    _, number, name, args, kwargs = call
    try:
        reply = "value", number, space.names[name](*args, **kwargs)
    except BaseException as error:
        reply = "error", number, told(error)
    try:
        changed = (args, kwargs) if wire.encode(call) != body else None
        return wire.frame((*reply, changed))
    except wire.Refused as refused:
        return wire.frame(("unreadable", number, str(refused)))
    except BaseException:
        return wire.frame(("unreadable", number, "an object that cannot be read"))
