"""The process in bubblewrap that imports torch: one for all slots, where each can have a user of its own."""

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from course_lib.grading import bubblewrap

OWN = -1  # as if it were a slot: no slot's user


class Warm:
    """Imports torch, and then forks a template for each slot that asks for one.

    folder: what `Copy` has made. masks: what is hidden from the only question that it runs, for systems without nested
    user namespaces; else forks hide it from themselves. slot: whose user runs that question. A process that forks
    templates for several slots has a user of its own, and may change to theirs.
    """

    def __init__(self, folder: Path, slot: int, scratch_mb: int = 128, masks: list[str] | None = None):
        may_mount = bubblewrap.may_mount()
        self.is_anyones = masks is None and (may_mount or bubblewrap.user_for(slot) is None)
        uid = bubblewrap.user_for(OWN if self.is_anyones else slot)
        self.control, theirs = connection()
        self.errors = tempfile.TemporaryFile()
        # Root that may mount lets bubblewrap do so, and becomes the user inside: no folder above Python need be
        # readable for that user. Root that may not, as in many containers, becomes it before.
        before = uid is not None and not may_mount
        user = {"user": uid, "group": uid, "extra_groups": []} if before else {}
        inside = None if before else uid
        command = bubblewrap.command(bubblewrap.find(), folder, inside, theirs.fileno(), masks, scratch_mb)
        # bubblewrap itself gets no secret either: where its process can be seen, its environment can be read.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors,
            pass_fds=[theirs.fileno()], cwd="/", env=bubblewrap.environment(), **user,
        )  # fmt: skip
        theirs.close()

    def fork(self, uid: int | None) -> socket.socket:
        """The socket of a new template; its first word comes when torch is imported. uid: whom it becomes."""
        ours, theirs = connection()
        order = json.dumps({"uid": uid if self.is_anyones else None}).encode()
        with theirs:
            try:
                socket.send_fds(self.control, [order], [theirs.fileno()])
            except OSError:
                pass  # it has ended; whoever listens to the socket finds out
        return ours

    def last_words(self) -> str:
        """The last line that it has written, or nothing."""
        size = os.fstat(self.errors.fileno()).st_size
        said = os.pread(self.errors.fileno(), 2000, max(size - 2000, 0)).decode("utf-8", "replace")
        return said.strip().rpartition("\n")[2]

    def close(self) -> None:
        """End it, and every template and sandbox that has come of it."""
        self.control.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()


def connection() -> tuple[socket.socket, socket.socket]:
    """A connected pair for packets, whose first end learns which process has sent each of them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs
