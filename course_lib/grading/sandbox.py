"""A sandbox seen from the grader: start the template, get a fork for a question, end it."""

import compileall
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from course_lib.grading import bubblewrap
from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.warm import Warm

PREFIX = "course-grade-"
COMPILED = (".", "formats")
CREDENTIALS = socket.CMSG_SPACE(12)  # pid, uid, gid of who has sent a packet
START_S, ORDER_S = 300.0, 300.0  # importing torch, an order to a template that waits: seconds on a very busy machine


@dataclass(frozen=True)
class Limits:
    """What one question's sandbox may use."""

    memory_mb: int = 1536  # beyond what torch itself takes
    cpu_s: int = 90
    life_s: float = 300.0  # whatever happens; what counts is far shorter
    processes: int = 48
    files: int = 128  # sockets too, whose buffers nobody counts
    file_mb: int = 64
    scratch_mb: int = 128


class Copy:
    """The sandbox's own copy of course_lib, so that nothing is masked that a change on disk could unmask."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def make(cls) -> "Copy":
        """A new copy in a temporary folder, readable for the sandbox's user."""
        _remove_left_over()
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        library = Path(bubblewrap.__file__).parent.parent
        shutil.copytree(library, path / "course_lib", ignore=shutil.ignore_patterns(".*", "__pycache__"))
        for name in COMPILED:  # what most answers import, so that not every sandbox has to do it
            options = {"quiet": 2, "maxlevels": 0, "invalidation_mode": PycInvalidationMode.UNCHECKED_HASH}
            compileall.compile_dir(path / "course_lib" / name, **options)
        masks = path / "masks"
        (masks / "folder").mkdir(parents=True)
        for file in (masks / "file", masks / "folder" / "__init__.py"):
            file.write_text('raise ImportError(f"{__name__} is masked for this question")\n')
        for folder, _, files in os.walk(path):
            os.chmod(folder, 0o755)
            for name in files:
                os.chmod(os.path.join(folder, name), 0o644)
        return cls(path)

    def masks(self, modules: list[str]) -> list[str]:
        """The paths in the sandbox that hide these modules of course_lib, compiled copies included."""
        found = []
        for module in modules:
            path = self.path.joinpath(*module.split("."))
            if path.is_dir():
                found.append(path)
            elif path.with_suffix(".py").is_file():
                found += [path.with_suffix(".py"), *path.parent.glob(f"__pycache__/{path.name}.*.pyc")]
            else:
                raise ValueError(f"{module} is to be masked, but there is no such module")
        return [str(Path(bubblewrap.COURSE) / path.relative_to(self.path)) for path in found]

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_left_over() -> None:
    """Remove the copies of graders that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)


class Sandbox:
    """One running fork: `channel` leads to it."""

    def __init__(self, template: "Template", number: int, channel: socket.socket):
        self.template, self.number, self.channel = template, number, channel
        self._schedule, self._waited = _opened(f"/proc/{_youngest(template.parent)}/schedstat"), 0.0

    def waited_s(self) -> float:
        """Seconds that its first process has waited for a processor, as Linux counts them."""
        try:
            self._waited = int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # it has ended
            pass
        return self._waited

    def end(self) -> str:
        """End it and everything that it has started; returns why it had ended before, or "killed"."""
        self.template.waited += self.waited_s()
        self.template.sandbox = None
        os.close(self._schedule)
        self.channel.close()
        return self.template.end(self.number)


def _youngest(pid: int) -> int:
    """The youngest process below another one: the fork below bubblewrap's."""
    while True:
        try:
            with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
                pid = int(file.read().split()[-1])
        except (OSError, IndexError):
            return pid


def _opened(path: str) -> int:
    """A file to read from; an empty one where there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Template:
    """What a slot's sandboxes are forked from; itself a fork of a process that has imported torch. A slot has a user.

    warm: that process, where slots share it; else this template has one of its own.
    """

    def __init__(self, copy: Copy, slot: int = 0, limits: Limits = Limits(), cold: bool = False, warm=None):
        self.copy, self.slot, self.limits, self.cold = copy, slot, limits, cold
        self.uid, self.shared, self.warm, self.numbers = bubblewrap.user_for(slot), warm, None, 0
        self.sandbox, self.waited = None, 0.0  # the running fork; how long those before it have waited
        if not cold:
            self.launch()

    @property
    def process(self) -> subprocess.Popen | None:
        """bubblewrap's process, with everything in it; None where there is none at present."""
        return self.warm.process if self.warm else None

    def launch(self, masks=None) -> None:
        """Have the template start; `ready` waits for it. masks: of the only question, where each one starts cold."""
        if masks is None and self.shared:
            self.warm = self.shared
        else:
            self.warm = Warm(self.copy.path, self.slot, self.limits.scratch_mb, masks)
        self.control = self.warm.control if self.cold else self.warm.fork(self.uid)
        self.is_ready, self.parent = False, self.process.pid  # of its forks

    def warm_up(self) -> None:
        """Start one fork and end it: from then on `cold` is known. Errors: NoSandbox."""
        self.spawn().end()

    def ready(self) -> None:
        """Wait until torch is imported. Errors: NoSandbox with the last words of a template that has failed."""
        if not self.is_ready:
            self.receive(START_S)
            self.is_ready = True

    def spawn(self, modules=()) -> Sandbox:
        """A fresh fork in which these modules of course_lib are hidden."""
        masks = self.copy.masks(list(modules))
        if self.cold:
            self.close()
            self.launch(masks)
        self.ready()
        self.numbers += 1
        ours, theirs = socket.socketpair()
        order = {"spawn": self.numbers, "masks": masks, "cold": self.cold, "limits": asdict(self.limits)}
        try:
            said = self.order(order, [theirs.fileno()])
        finally:
            theirs.close()
        if "refused" in said:
            ours.close()
            if self.cold:
                raise NoSandbox(f"The sandbox could not be started: {said['why']}. Nothing was graded.")
            self.close()
            self.cold = True
            return self.spawn(modules)
        self.sandbox = Sandbox(self, self.numbers, ours)
        return self.sandbox

    def waited_s(self) -> float:
        """Seconds that its forks have waited for a processor, so far."""
        return self.waited + (self.sandbox.waited_s() if self.sandbox else 0.0)

    def end(self, number: int) -> str:
        """End a fork, and say why it had ended before, or "killed"."""
        if self.warm is None:
            return "killed"
        why = self.order({"kill": number})["why"]
        if self.cold:
            self.close()
        return why

    def order(self, order: dict, fds=()) -> dict:
        """Have the template do something; its reply. Errors: NoSandbox if it cannot any more."""
        try:
            socket.send_fds(self.control, [json.dumps(order).encode()], fds)
        except OSError:
            pass  # it has ended; `receive` finds out why
        return self.receive(ORDER_S)

    def receive(self, seconds: float) -> dict:
        """The template's next words."""
        ready, _, _ = select.select([self.control], [], [], seconds)
        try:
            data, sender, _, _ = self.control.recvmsg(2**16, CREDENTIALS) if ready else (b"", [], 0, None)
        except OSError:
            data = b""
        if not data:
            time.sleep(0.05)
            why = self.warm.last_words() or "it does not answer"
            self.close()
            raise NoSandbox(f"The sandbox has failed: {why}.")
        if sender:
            self.parent = struct.unpack("3i", sender[0][2])[0]
        return json.loads(data)

    def close(self) -> None:
        """End the template and everything in it."""
        if self.warm is not None:
            self.control.close()
            if self.warm is not self.shared:
                self.warm.close()
            self.warm = None
