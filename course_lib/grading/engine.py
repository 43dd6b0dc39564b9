"""Grade a class: find what was handed in, leave out what is graded, write each result as soon as it is there."""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
        book = Book(self.gradebook, configuration(self.course))
        try:
            self._register(book)
            book.settle(self.name)
            seed = book.seed(self.name, self.new_seed)
            measure = self._measure(seed)
            handed_in = submission.discover(self.submitted, self.assignment, self.students)
            missing = sorted(set(self.students) - {unit.student for unit in handed_in})
            if missing:
                raise ValueError(f"{missing[0]} has handed in nothing for {self.name}.")
            record = times.read(self.submitted)
            before = {} if self.force else book.results(self.name)
            todo = []
            for unit in handed_in:
                known = before.get(unit.account)
                if known and known[:2] == (unit.hash, measure) and known[2]["status"] != "failed":
                    yield len(handed_in), known[2]
                else:
                    todo.append(unit)
            for unit, result in self._graded(todo, seed):
                self._write(book, unit, result, measure, times.of(record, self.name, unit.student))
                yield len(handed_in), result
        finally:
            book.close()

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

    def _graded(self, todo: list[Submission], seed: int) -> Iterator[tuple[Submission, dict]]:
        """Each submission with its result."""
        if not todo:
            return
        with self._workers(len(todo), seed) as workers:
            for one, result in workers.run(todo):
                note = "The grader's process ended more than once on this notebook."
                yield one, result or results.unreadable(one, self.assignment, note, status="failed")

    @contextlib.contextmanager
    def _workers(self, most: int, seed: int) -> Iterator[Pool | Cluster]:
        """Processes of this machine, at most so many, or a cluster."""
        folder = self.course.source / self.name
        setting = Setting(str(self.course.graded.parent), str(folder), "", seed, self.limits)
        if self.scheduler:
            with Cluster(self.scheduler, setting, self.say) as cluster:
                yield cluster
            return
        copy = Copy.make()
        try:
            with Pool(min(self.workers, most), replace(setting, copy=str(copy.path)), self.say) as pool:
                yield pool
        finally:
            copy.remove()

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
