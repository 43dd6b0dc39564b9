"""One worker: a trusted process with a sandbox of its own, which grades one submission after the other."""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.sandbox import Copy, Limits, Template

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


def main(pipe: Connection, slot: int, setting: Setting) -> None:
    """Grade what comes through the pipe, (submission, seed or None), until it closes. An answer is (kind, content)."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch's own process decides
    if setting.time_limit:
        os.environ["COURSE_TIME_LIMIT"] = setting.time_limit
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    template = None
    try:
        slot += setting.first_slot
        template = Template(Copy(Path(setting.copy)), slot, setting.limits, setting.cold)  # imports torch meanwhile
        with _no_collection():
            context = prepare(setting, template)
        template.warm_up()
        pipe.send(("ready", template.cold))
        while True:
            handed_in, seed = pipe.recv()
            os.environ["COURSE_SECRET_SEED"] = str(setting.seed if seed is None else seed)
            pipe.send(_graded(handed_in, context))
    except EOFError:
        pass
    except NoSandbox as problem:
        pipe.send(("no sandbox", str(problem)))
    except BaseException:
        pipe.send(("broken", traceback.format_exc()))
    finally:
        if template is not None:
            template.close()
        sys.stderr.flush()
        os._exit(0)  # nothing is left to do, and taking torch apart takes half a second


@contextlib.contextmanager
def _no_collection():
    """While torch is imported the garbage collector would look at all of it again and again, and never needs to."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def prepare(setting: Setting, template: Template):
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
