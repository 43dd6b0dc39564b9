"""A worker machine's part of `course grade --scheduler`: grade what comes in a sandbox here, answer with JSON text.

This runs in a Dask worker, which may be killed at any moment. It never sees the gradebook. What it gets, once, is the
instructor's (`Parcel`); then one submission at a time. The grading itself happens in processes of its own, as it does
at home: a task of Dask runs in a thread, where no time limit could interrupt a test.
"""

import asyncio
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from distributed import WorkerPlugin, get_worker
from tornado.ioloop import PeriodicCallback

from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.pool import Pool, PoolBroken
from course_lib.grading.sandbox import PREFIX, Copy
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting

IDLE_S = 300.0  # so long after its last submission a sandbox is put away: the machine that sent it may have died
FIRST_SLOT, SLOTS = 100, 900  # below are the slots of a `course grade` on the same machine


@dataclass(frozen=True)
class Parcel:
    """What a batch sends to every worker: the set, its hidden half, the seed. Paths in `setting` are the sender's."""

    name: str
    setting: Setting
    graded: dict[str, bytes]
    notebooks: dict[str, bytes]
    library: str

    @classmethod
    def pack(cls, name: str, setting: Setting) -> "Parcel":
        graded = _files(Path(setting.root) / "graded", "**/*")
        return cls(name, setting, graded, _files(Path(setting.folder), "*.ipynb"), library())

    def unpack(self, home: Path) -> Setting:
        """Write everything below a folder of this machine; the setting with the paths as they are here."""
        sets = home / "solutions" / Path(self.setting.folder).name
        for folder, files in ((home / "graded", self.graded), (sets, self.notebooks)):
            for name, data in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        return replace(self.setting, root=str(home), folder=str(sets))


def _files(folder: Path, pattern: str) -> dict[str, bytes]:
    found = [path for path in sorted(folder.glob(pattern)) if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def library() -> str:
    """What two machines must have in common to give the same grades: the course's code, Python, torch."""
    home, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes())
    python, torch = ".".join(map(str, sys.version_info[:2])), importlib.metadata.version("torch").split("+")[0]
    return f"course {digest.hexdigest()[:12]}, Python {python}, torch {torch}"


def grade(name: str, unit: Submission) -> str:
    """The task: one submission's answer, (kind, content, what is worth saying) as JSON."""
    return json.dumps(get_worker().plugins[name].grade(unit))


class Grader(WorkerPlugin):
    """Lives in each worker as long as the batch; holds the sandboxes of the tasks that run there."""

    def __init__(self, parcel: Parcel):
        self.parcel = parcel

    def setup(self, worker) -> None:
        self.address, self.library = worker.address, library()
        self.lock, self.idle, self.over = threading.Lock(), [], False
        self.tidying = PeriodicCallback(self.tidy, 60_000)
        self.tidying.start()

    async def teardown(self, worker) -> None:
        self.tidying.stop()
        self.over = True
        await asyncio.to_thread(self.put_away, time.monotonic())

    def grade(self, unit: Submission) -> tuple[str, object, list[str]]:
        """("graded", result or None where it failed, …) or ("refused", why, …), which ends the batch."""
        if self.library != self.parcel.library:
            here = f"The worker {self.address} has another version of the course ({self.library}) than this machine"
            return "refused", f"{here} ({self.parcel.library}). Install the same one there.", []
        house = self.take()
        try:
            result = next(house.pool.run([unit]))[1]
        except (NoSandbox, PoolBroken) as problem:
            house.close()
            return "refused", f"The worker {self.address} cannot grade. {problem}", []
        self.give_back(house)
        return "graded", result, house.said

    def take(self) -> "House":
        """A house that nobody else uses."""
        with self.lock:
            if self.idle:
                return self.idle.pop()
        return House(self.parcel)

    def give_back(self, house: "House") -> None:
        with self.lock:
            house.since = time.monotonic()
            self.idle.append(house)
        if self.over:
            self.put_away(time.monotonic())

    def tidy(self) -> None:
        threading.Thread(target=self.put_away, args=(time.monotonic() - IDLE_S,), daemon=True).start()

    def put_away(self, before: float) -> None:
        """Close the houses that nobody has used since a time."""
        with self.lock:
            old = [house for house in self.idle if house.since <= before]
            self.idle = [house for house in self.idle if house.since > before]
        for house in old:
            house.close()


class House:
    """One grading process with its sandbox, and the folder that holds what it was sent."""

    def __init__(self, parcel: Parcel):
        self.said, self.since = [], 0.0
        self.slot, self.claim = _slot() if os.geteuid() == 0 else (FIRST_SLOT, None)
        self.home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))  # removed by others if this one is killed
        self.copy = Copy.make()
        setting = replace(parcel.unpack(self.home), copy=str(self.copy.path), first_slot=self.slot)
        # Dask's workers are "daemonic", which for multiprocessing means that they may start no process.
        multiprocessing.current_process()._config["daemon"] = False
        self.pool = Pool(1, setting, self.said.append)

    def close(self) -> None:
        self.pool.__exit__()
        self.copy.remove()
        shutil.rmtree(self.home, ignore_errors=True)
        if self.claim:
            self.claim.close()


def _slot() -> tuple[int, socket.socket]:
    """A slot, and so a user, that nothing else on this machine has; a name in the kernel that ends with its owner."""
    for slot in range(FIRST_SLOT, FIRST_SLOT + SLOTS):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0course-grade-slot-{slot}")
            return slot, claim
        except OSError:
            claim.close()
    raise PoolBroken(f"All {SLOTS} slots of this machine are taken.")
