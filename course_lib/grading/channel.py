"""The grader's end of the socket that leads into a sandbox: whole messages, until a deadline, or an error."""

import socket
import struct

from course_lib.checks.limit import TimeUp, now
from course_lib.grading.inside import wire

LOOK_S = 0.05  # how often a wait looks at the clock, which costs more than the wait for a quick answer
PART = 2**20  # bytes that are read at once, at most


class Broken(Exception):
    """The other end is closed, or does not keep to the protocol."""


class Channel:
    """Sends and receives messages; `end` is always a time of `limit.now`."""

    def __init__(self, end_of_socket: socket.socket):
        self.socket, self.read = end_of_socket, bytearray()
        for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # one call into Linux where select would be a second
            self.socket.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", 0, int(LOOK_S * 1e6)))

    def send(self, data: bytes, end: float) -> None:
        """Send a frame. Errors: TimeUp, Broken."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
            except BlockingIOError:  # nobody reads
                pass
            except OSError:
                raise Broken from None
            if rest and now() >= end:
                raise TimeUp

    def receive(self, end: float) -> tuple:
        """The next message: a tuple that begins with its kind. Errors: TimeUp, Broken, wire.Refused."""
        message = wire.decode(self._take(wire.body_bytes(self._take(wire.HEADER.size, end)), end))
        if not isinstance(message, tuple) or not 2 <= len(message) <= 4 or not isinstance(message[0], str):
            raise Broken
        return message

    def _take(self, n: int, end: float) -> bytes:
        """Exactly n bytes. Memory grows with what comes, not with what was declared."""
        while len(self.read) < n:
            try:
                part = self.socket.recv(min(max(n - len(self.read), wire.AT_ONCE), PART))
            except BlockingIOError:  # nothing has come
                part = None
            except OSError:
                part = b""
            if part == b"":
                raise Broken
            self.read += part or b""
            if len(self.read) < n and now() >= end:
                raise TimeUp
        data = bytes(self.read[:n])
        del self.read[:n]
        return data
