"""A sandbox seen from the grader: start the template, get a fork for a question, end it."""

import compileall
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from course_lib.grading import bubblewrap
from course_lib.grading.bubblewrap import NoSandbox

PREFIX = "course-grade-"
COMPILED = (".", "formats")
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
    """A bubblewrapped process that has imported torch, and its forks. One slot has one user."""

    def __init__(self, copy: Copy, slot: int = 0, limits: Limits = Limits(), cold: bool = False):
        self.copy, self.slot, self.limits, self.cold = copy, slot, limits, cold
        self.bwrap, self.uid = bubblewrap.find(), bubblewrap.user_for(slot)
        self.process, self.numbers = None, 0
        self.sandbox, self.waited = None, 0.0  # the running fork; how long those before it have waited
        if not cold:
            self.launch()

    def launch(self, masks=None) -> None:
        """Start the process; `ready` waits for it."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.errors = tempfile.TemporaryFile()
        # Root that may mount lets bubblewrap do so, and becomes the slot's user inside: no folder above Python need be
        # readable for that user. Root that may not, as in many containers, becomes it before.
        before = self.uid is not None and not bubblewrap.may_mount()
        user = {"user": self.uid, "group": self.uid, "extra_groups": []} if before else {}
        inside = None if before else self.uid
        command = bubblewrap.command(
            self.bwrap, self.copy.path, inside, theirs.fileno(), masks, self.limits.scratch_mb
        )  # fmt: skip
        # bubblewrap itself gets no secret either: where its process can be seen, its environment can be read.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors,
            pass_fds=[theirs.fileno()], cwd="/", env=bubblewrap.environment(), **user,
        )  # fmt: skip
        theirs.close()
        self.is_ready, self.parent = False, self.process.pid  # of its forks

    def warm_up(self) -> None:
        """Start one fork and end it: from then on `cold` is known. Errors: NoSandbox."""
        self.spawn().end()

    def ready(self) -> None:
        """Wait until torch is imported. Errors: NoSandbox with the last words of a template that has failed."""
        if not self.is_ready:
            self.receive(START_S)
            self.is_ready, self.parent = True, _youngest(self.process.pid)

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
        if self.process is None:
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
            data = self.control.recv(2**16) if ready else b""
        except OSError:
            data = b""
        if not data:
            time.sleep(0.05)
            self.errors.seek(0)
            last = self.errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
            self.close()
            raise NoSandbox(f"The sandbox has failed: {last[-1] if last else 'it does not answer'}.")
        return json.loads(data)

    def close(self) -> None:
        """End the template and everything in it."""
        if self.process is not None:
            self.control.close()
            self.process.kill()
            self.process.wait()
            self.errors.close()
            self.process = None
