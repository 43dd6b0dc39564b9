"""Several workers: hand out submissions, collect results, replace a worker that dies or does not end."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import connection

from course_lib.grading import worker
from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting

UNIT_S = 1800.0  # a submission that takes longer ends its worker, whose own limits are shorter on any machine
TRIES = 2


class PoolBroken(Exception):
    """No worker can work; the message says why."""


class _Worker:
    """A process, its pipe, and what it is working on."""

    def __init__(self, slot: int, setting: Setting, main: Callable):
        context = multiprocessing.get_context("spawn")
        self.slot, self.unit, self.since, self.ready = slot, None, 0.0, False
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=main, args=(theirs, slot, setting), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, unit: Submission, seed: int | None) -> None:
        self.unit, self.since = unit, time.monotonic()
        self.pipe.send((unit, seed))

    def close(self) -> None:
        self.pipe.close()
        if not self.ready:  # it would not notice before it is
            self.process.kill()
        self.process.join(3.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Pool:
    """`with Pool(2, setting) as pool: for unit, result in pool.run(units): …`; result None where it failed.

    The workers start at once. What they need from the gradebook may follow: `seed`, if the setting has none.
    """

    def __init__(self, size: int, setting: Setting, say: Callable[[str], None] = print, main=worker.main):
        self.setting, self.say, self.told, self.main, self.seed = setting, say, False, main, None
        self.workers = [_Worker(slot, setting, main) for slot in range(size)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.workers:
            one.pipe.close()
        for one in self.workers:
            one.close()

    def run(self, units: list[Submission]) -> Iterator[tuple[Submission, dict | None]]:
        """Each unit with its result, in the order in which they are done."""
        waiting, tries = deque(units), dict.fromkeys((id(unit) for unit in units), 0)
        while waiting or any(one.unit for one in self.workers):
            self._hand_out(waiting)
            ready = connection.wait([one.pipe for one in self.workers], timeout=1.0)
            for one in list(self.workers):
                if one.pipe in ready:
                    unit, result = self._listen(one)
                elif one.unit and time.monotonic() - one.since > UNIT_S:
                    one.process.kill()
                    continue
                else:
                    continue
                if unit is None:
                    continue
                tries[id(unit)] += 1
                if result is None and tries[id(unit)] < TRIES:
                    waiting.append(unit)
                    continue
                self._hand_out(waiting)  # before the result is written, so that nobody waits for that
                yield unit, result

    def _hand_out(self, waiting: deque) -> None:
        for one in self.workers:
            if one.ready and one.unit is None and waiting:
                one.give(waiting.popleft(), self.seed)

    def _listen(self, one: _Worker) -> tuple[Submission | None, dict | None]:
        """(the unit that a worker had, its result or None)."""
        unit, one.unit = one.unit, None
        try:
            kind, content = one.pipe.recv()
        except (EOFError, OSError):
            kind, content = "dead", None
        if kind == "graded":
            return unit, content
        if kind == "ready":
            one.ready = True
            if content and not self.told:
                self.told = True
                self.say("This system refuses nested user namespaces: each question starts its own sandbox, slowly.")
        elif kind == "no sandbox" and not one.ready:
            raise NoSandbox(content)
        elif not one.ready:
            raise PoolBroken(content or "A worker has ended while it started.")
        else:
            one.close()
            self.workers[self.workers.index(one)] = _Worker(one.slot, self.setting, self.main)
        return unit, None
