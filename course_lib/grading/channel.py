"""The grader's end of the socket that leads into a sandbox: whole messages, until a deadline, or an error."""

import select
import socket

from course_lib.checks.limit import TimeUp, now
from course_lib.grading.inside import wire

LOOK_S = 0.05  # how often a wait looks at the clock, which costs more than the wait for a quick answer


class Broken(Exception):
    """The other end is closed, or does not keep to the protocol."""


class Channel:
    """Sends and receives messages; `end` is always a time of `limit.now`."""

    def __init__(self, end_of_socket: socket.socket):
        self.socket = end_of_socket

    def send(self, data: bytes, end: float) -> None:
        """Send a frame. Errors: TimeUp, Broken."""
        self.socket.settimeout(max(0.01, end - now()))
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise TimeUp from None
        except OSError:
            raise Broken from None

    def receive(self, end: float) -> tuple:
        """The next message: a tuple that begins with its kind. Errors: TimeUp, Broken, wire.Refused."""
        message = wire.decode(self._take(wire.body_bytes(self._take(wire.HEADER.size, end)), end))
        if not isinstance(message, tuple) or not 2 <= len(message) <= 4 or not isinstance(message[0], str):
            raise Broken
        return message

    def _take(self, n: int, end: float) -> bytes:
        """Exactly n bytes. Memory grows with what comes, not with what was declared."""
        data = bytearray()
        while len(data) < n:
            ready = select.select([self.socket], [], [], LOOK_S)[0]
            if (data or not ready) and now() >= end:
                raise TimeUp
            if not ready:
                continue
            try:
                part = self.socket.recv(min(n - len(data), 2**20))
            except OSError:
                part = b""
            if not part:
                raise Broken
            data += part
        return bytes(data)
