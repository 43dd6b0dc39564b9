"""The workers: trusted processes with a sandbox each, forked from one that has imported what they need.

Each grades one submission after the other.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path

from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.sandbox import Copy, Limits, Template
from course_lib.grading.warm import Warm

DIE_WITH_PARENT = 1


@dataclass(frozen=True)
class Setting:
    """What all workers of a batch share. root: the folder that holds graded/; folder: the set in solutions/.

    copy: where the sandbox's course_lib lies. seed: of the hidden cases; None if it comes with each submission.
    time_limit: COURSE_TIME_LIMIT where the batch was started.
    """

    root: str
    folder: str
    copy: str
    seed: int | None
    limits: Limits = Limits()
    cold: bool = False
    first_slot: int = 0
    time_limit: str = field(default_factory=lambda: os.environ.get("COURSE_TIME_LIMIT", ""))


class Work:
    """What a batch's workers have in common: made once, before they are forked. `serve` is a worker's whole life."""

    def __init__(self, setting: Setting, slots: int):
        if setting.time_limit:
            os.environ["COURSE_TIME_LIMIT"] = setting.time_limit
        os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads is not to be forked
        self.setting, self.copy, self.warm = setting, Copy(Path(setting.copy)), {}
        for slot in range(slots):
            self.renew(slot)  # imports torch meanwhile
        with _no_collection():
            self.context = prepare(setting, None)

    def renew(self, slot: int) -> None:
        """See to it that there is what a slot's sandboxes come from."""
        if self.setting.cold:
            return
        warm = self._warm(slot)
        if warm is None or warm.process.poll() is not None:
            warm = Warm(self.copy.path, self.setting.first_slot + slot)
            self.warm[None if warm.is_anyones else slot] = warm

    def _warm(self, slot: int) -> Warm | None:
        return self.warm.get(None) or self.warm.get(slot)

    def serve(self, pipe: Connection, slot: int) -> None:
        """Grade what comes through the pipe, (submission, seed or None), until it closes; answer (kind, content)."""
        setting = self.setting
        try:
            uid_slot, warm = setting.first_slot + slot, self._warm(slot)
            self.context.template = template = Template(self.copy, uid_slot, setting.limits, setting.cold, warm)
            template.warm_up()
            pipe.send(("ready", template.cold))
            while True:
                handed_in, seed = pipe.recv()
                os.environ["COURSE_SECRET_SEED"] = str(setting.seed if seed is None else seed)
                pipe.send(_graded(handed_in, self.context))
        finally:
            if self.context.template is not None:
                self.context.template.close()

    def close(self) -> None:
        """End all that was started."""
        for warm in self.warm.values():
            warm.close()


def mother(pipe: Connection, setting: Setting, slots: int, work: Callable = Work) -> None:
    """Make the work, then fork its workers: ("start", slot) with the worker's end of a pipe, or ("end", slot)."""
    _in_the_background()
    made, problem, workers = None, None, {}
    try:
        made = work(setting, slots)
    except BaseException as error:
        problem = _told(error)
    try:
        while True:
            order, slot = pipe.recv()
            if slot in workers:
                os.kill(workers[slot], signal.SIGKILL)
                os.waitpid(workers.pop(slot), 0)
            if order == "start":
                with Connection(reduction.recv_handle(pipe)) as theirs:
                    if problem is None:
                        workers[slot] = _forked(made, pipe, theirs, slot)
                    else:
                        theirs.send(problem)
    except EOFError:
        pass
    finally:
        for pid in workers.values():
            os.kill(pid, signal.SIGKILL)
        if made is not None:
            made.close()
        sys.stderr.flush()
        os._exit(0)  # nothing is left to do, and taking torch apart takes half a second


def _forked(made: Work, mothers: Connection, pipe: Connection, slot: int) -> int:
    """The pid of a new worker. Nothing runs beside the only thread here, and torch has run on no other."""
    made.renew(slot)
    pid = os.fork()
    if pid:
        return pid
    try:
        _in_the_background()
        mothers.close()
        made.serve(pipe, slot)
    except EOFError:
        pass
    except BaseException as error:
        pipe.send(_told(error))
    finally:
        sys.stderr.flush()
        os._exit(0)


def _in_the_background() -> None:
    """End with the process that has started this one, whose own matter an interruption is."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _told(error: BaseException) -> tuple[str, str]:
    """An error as an answer."""
    kind = "no sandbox" if isinstance(error, NoSandbox) else "broken"
    return kind, str(error) if kind == "no sandbox" else "".join(traceback.format_exception(error))


@contextlib.contextmanager
def _no_collection():
    """While torch is imported the garbage collector would look at all of it again and again, and never needs to."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def prepare(setting: Setting, template: Template | None):
    """The context of a batch: the set, and what its graded/ module hides from each question."""
    import torch

    from course_lib.grading import source
    from course_lib.grading.unit import Context

    torch.set_num_threads(1)
    sys.path.insert(0, setting.root)
    assignment = source.load(Path(setting.folder))
    try:
        masks = getattr(importlib.import_module(f"graded.{assignment.short}"), "MASKS", {})
    except ModuleNotFoundError as error:
        if error.name not in ("graded", f"graded.{assignment.short}"):
            raise
        masks = {}
    return Context(assignment, template, masks)


def _graded(handed_in, context) -> tuple[str, dict]:
    from course_lib.grading import unit
    from course_lib.grading.score import TestBroken

    try:
        return "graded", unit.grade(handed_in, context)
    except TestBroken as problem:
        note = f"A test of this set cannot be run: {problem}"
    except NoSandbox:
        raise
    except Exception as error:
        traceback.print_exc()
        note = f"The grader failed on this notebook ({type(error).__name__})."
    return "graded", unit.unreadable(handed_in, context.assignment, note, status="failed")
