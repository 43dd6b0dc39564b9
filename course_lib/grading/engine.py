"""Grade a class: find what was handed in, leave out what is graded, write each result as soon as it is there."""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import results, source, submission, times
from course_lib.grading.generate import Course, configuration, generate
from course_lib.grading.gradebook import Book, home
from course_lib.grading.pool import Pool
from course_lib.grading.sandbox import Copy, Limits
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
            pool = None if self.scheduler else open_ones.enter_context(self._pool(len(handed_in)))
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

    def _register(self, book: Book) -> None:
        """Let the gradebook know the set's cells."""
        if not book.knows(self.assignment):
            with tempfile.TemporaryDirectory(prefix="course-grade-") as folder:
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
        """Each submission with its result, from the pool or a cluster."""
        if not todo:
            return
        if pool is not None:
            pool.seed = seed
        here = contextlib.nullcontext(pool)
        with Cluster(self.scheduler, self._setting(seed), self.say) if pool is None else here as workers:
            for one, result in workers.run(todo):
                note = "The grader's process ended more than once on this notebook."
                yield one, result or results.unreadable(one, self.assignment, note, status="failed")

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

    def _write(self, book: Book, unit: Submission, result: dict, measure: str, at) -> None:
        """The graded notebook, then the gradebook, which decides whether it is done."""
        notebook = result.pop("notebook")
        folder = self.graded_folder() / unit.account / self.name
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{self.assignment.notebook}.ipynb", notebook)
        book.save(self.assignment, unit.account, result, unit.hash, measure, at, self.reason)

    def graded_folder(self) -> Path:
        """Where nbgrader looks for graded notebooks."""
        return home(self.course, self.gradebook) / "autograded"


def assignment_of(course: Course, wanted: str) -> str:
    """The folder name of a set named ps01, or by its whole name."""
    return course.sets([wanted])[0]
