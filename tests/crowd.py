"""A machine that is busy: this process and its children get one processor, and share it with eight others."""

import contextlib
import os
import subprocess
import sys

import pytest

BUSY = 8
needs_schedule = pytest.mark.skipif(
    not os.path.exists("/proc/thread-self/schedstat") or not hasattr(os, "sched_setaffinity"),
    reason="this system does not tell how long a process has waited for a processor",
)


@contextlib.contextmanager
def one_crowded_processor(pids=()):
    """Within, this process (and those of `pids`) has a ninth of a processor, and what it starts has the like."""
    mine = {pid: os.sched_getaffinity(pid) for pid in (0, *pids)}
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        for pid in (*mine, *(other.pid for other in crowd)):
            os.sched_setaffinity(pid, {min(mine[0])})
        yield
    finally:
        for other in crowd:
            other.kill()
            other.wait()
        for pid, processors in mine.items():
            os.sched_setaffinity(pid, processors)
