"""Several workers: hand out submissions, collect results, replace a worker that dies or does not end."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import connection, reduction

from course_lib.grading import worker
from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting

UNIT_S = 1800.0  # a submission that takes longer ends its worker, whose own limits are shorter on any machine
TRIES = 2


class PoolBroken(Exception):
    """No worker can work; the message says why."""


class _Mother:
    """The process that forks the workers, after it has imported what all of them need."""

    def __init__(self, setting: Setting, slots: int, work: Callable):
        self.args = setting, slots, work
        self.begin()

    def begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker.mother, args=(theirs, *self.args), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, slot: int) -> connection.Connection:
        """The pipe to a new worker, in the place of the slot's old one if that still runs."""
        ours, theirs = multiprocessing.Pipe()
        if not self.process.is_alive():
            self.begin()
        with theirs:
            self.order("start", slot, theirs)
        return ours

    def order(self, what: str, slot: int, end: connection.Connection | None = None) -> None:
        try:
            self.pipe.send((what, slot))
            if end:
                reduction.send_handle(self.pipe, end.fileno(), self.process.pid)
        except OSError:  # it has ended, and so have all workers: their pipes say so
            pass

    def close(self, gently: bool) -> None:
        self.pipe.close()
        if not gently:
            self.process.kill()
        self.process.join(3.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Worker:
    """The pipe to a process, and what that is working on."""

    def __init__(self, slot: int, mother: _Mother):
        self.slot, self.unit, self.since, self.ready = slot, None, 0.0, False
        self.pipe = mother.start(slot)
        self.parent = mother.process

    def give(self, unit: Submission, seed: int | None) -> bool:
        """Whether the process takes it; one that has ended does not, nor one that ends because the mother has."""
        if not self.parent.is_alive():
            return False
        try:
            self.pipe.send((unit, seed))
        except OSError:
            return False
        self.unit, self.since = unit, time.monotonic()
        return True


class Pool:
    """`with Pool(2, setting) as pool: for unit, result in pool.run(units): …`; result None where it failed.

    The workers start at once. What they need from the gradebook may follow: `seed`, if the setting has none.
    """

    def __init__(self, size: int, setting: Setting, say: Callable[[str], None] = print, work=worker.Work):
        self.say, self.told, self.seed = say, False, None
        self.mother = _Mother(setting, size, work)
        self.workers = [_Worker(slot, self.mother) for slot in range(size)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.workers:
            one.pipe.close()
        self.mother.close(gently=any(one.ready for one in self.workers))  # it would not notice before it is ready

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
                    self.mother.order("end", one.slot)
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
            if one.ready and one.unit is None and waiting and one.give(waiting[0], self.seed):
                waiting.popleft()

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
            one.pipe.close()
            self.workers[self.workers.index(one)] = _Worker(one.slot, self.mother)
        return unit, None
