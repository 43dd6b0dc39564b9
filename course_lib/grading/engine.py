"""Grade a class: find what was handed in, leave out what is graded, write each result as soon as it is there."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import results, source, submission, times
from course_lib.grading.generate import Course, configuration, generate
from course_lib.grading.pool import Pool
from course_lib.grading.sandbox import PREFIX, Copy, Limits
from course_lib.grading.scheduler import Cluster
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting

VERSION = "1"  # a change here has every submission graded again


@dataclass
class Batch:
    """One run of `course grade`."""

    course: Course
    name: str  # the set's folder
    submitted: Path
    gradebook: str
    students: tuple[str, ...] = ()
    workers: int = 1
    force: bool = False
    new_seed: bool = False
    limits: Limits = field(default_factory=Limits)
    say: Callable[[str], None] = print
    scheduler: str = ""  # the address of a Dask cluster that grades in the place of workers here
    reason: str = ""  # why it is graded again; the history keeps it

    def run(self) -> Iterator[tuple[int, dict]]:
        """(how many there are, one result) for each submission; those graded before come first."""
        self.assignment = source.load(self.course.source / self.name)
        handed_in = submission.discover(self.submitted, self.assignment, self.students)
        missing = sorted(set(self.students) - {unit.student for unit in handed_in})
        if missing:
            raise ValueError(f"{missing[0]} has handed in nothing for {self.name}.")
        with contextlib.ExitStack() as open_ones:
            soon = not self.scheduler and self._something_is_new(handed_in)
            pool = open_ones.enter_context(self._pool(len(handed_in))) if soon else None
            from course_lib.grading.gradebook import Book  # takes its time, while the workers import torch

            book = open_ones.enter_context(contextlib.closing(Book(self.gradebook, configuration(self.course))))
            self._register(book)
            book.settle(self.name)
            seed = book.seed(self.name, self.new_seed)
            measure = self._measure(seed)
            record = times.read(self.submitted)
            before = {} if self.force else book.results(self.name)
            todo = []
            for unit in handed_in:
                known = before.get(unit.account)
                if known and known[:2] == (unit.hash, measure) and known[2]["status"] != "failed":
                    yield len(handed_in), known[2]
                else:
                    todo.append(unit)
            for unit, result in self._graded(todo, pool, seed):
                self._write(book, unit, result, measure, times.of(record, self.name, unit.student))
                yield len(handed_in), result

    def _register(self, book) -> None:
        """Let the gradebook know the set's cells."""
        if not book.knows(self.assignment):
            with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as folder:
                generate(self.course, self.name, Path(folder), self.gradebook)
            book.db.expire_all()

    def _measure(self, seed: int) -> str:
        """What all students are measured with: the set, its hidden half, the seed."""
        digest = hashlib.sha256(f"{VERSION} {seed}".encode())
        paths = [*(self.course.source / self.name).glob("*.ipynb"), *self.course.graded.rglob("*.py")]
        for path in sorted(paths):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def _graded(self, todo: list[Submission], pool: Pool | None, seed: int) -> Iterator[tuple[Submission, dict]]:
        """Each submission with its result."""
        if not todo:
            return
        with self._workers(len(todo), pool, seed) as workers:
            for one, result in workers.run(todo):
                note = "The grader's process ended more than once on this notebook."
                yield one, result or results.unreadable(one, self.assignment, note, status="failed")

    def _something_is_new(self, handed_in: list[Submission]) -> bool:
        """Whether workers are worth starting before the gradebook has said what there is to do."""
        graded = [unit for unit in handed_in if (self.graded_folder() / unit.account / self.name).is_dir()]
        return self.force or self.new_seed or len(graded) < len(handed_in)

    @contextlib.contextmanager
    def _workers(self, most: int, pool: Pool | None, seed: int) -> Iterator[Pool | Cluster]:
        """A cluster, or the pool, which may not have been started yet."""
        if self.scheduler:
            with Cluster(self.scheduler, self._setting(seed), self.say) as cluster:
                yield cluster
            return
        with contextlib.nullcontext(pool) if pool else self._pool(most) as pool:
            pool.seed = seed
            yield pool

    @contextlib.contextmanager
    def _pool(self, most: int) -> Iterator[Pool]:
        """Processes of this machine, at most so many: they import torch while the gradebook is opened here."""
        copy = Copy.make()
        try:
            with Pool(min(self.workers, most), self._setting(None, str(copy.path)), self.say) as pool:
                yield pool
        finally:
            copy.remove()

    def _setting(self, seed: int | None, copy: str = "") -> Setting:
        folder = self.course.source / self.name
        return Setting(str(self.course.graded.parent), str(folder), copy, seed, self.limits)

    def _write(self, book, unit: Submission, result: dict, measure: str, at) -> None:
        """The graded notebook, then the gradebook, which decides whether it is done."""
        notebook = result.pop("notebook")
        folder = self.graded_folder() / unit.account / self.name
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{self.assignment.notebook}.ipynb", notebook)
        book.save(self.assignment, unit.account, result, unit.hash, measure, at, self.reason)

    def graded_folder(self) -> Path:
        """Where nbgrader looks for graded notebooks."""
        return self.course.beside(self.gradebook) / "autograded"
