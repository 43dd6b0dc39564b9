"""What a class has handed in: find it below nbgrader's folders, and read it without trusting a name, link or size."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib.grading.source import Assignment

MAX_FILE, MAX_FILES, MAX_TOTAL = 32 * 2**20, 50, 64 * 2**20  # bytes, notebooks and bytes of a student
MAX_DEPTH = 8  # folders in folders; os.walk calls itself for each
SUFFIXES = (".ipynb", ".json", ".txt")  # browsers rename what they download
STUDENT, OTHER = re.compile(r"\w(?!.*~[0-9a-f]{8}$)[\w@+=,~ .-]{0,119}"), re.compile(r"^\W|[^\w@+=,~ .-]")


class Unreadable(Exception):
    """Nothing can be graded here; the message is one sentence, for the teacher and the student."""


@dataclass(frozen=True)
class Submission:
    """One student's files of one assignment, or the reason why there are none."""

    student: str
    files: tuple[tuple[str, bytes], ...] = ()  # (path below the student's folder, content), notebooks only
    problem: str = ""
    notes: tuple[str, ...] = ()  # what is worth saying
    repairs: tuple[str, ...] = ()  # and what had to be put right

    @property
    def account(self) -> str:
        """The student's id in the gradebook and in the names of files: the folder's name, if that is harmless.

        A name that looks like one that was changed here is changed as well, so that no two students are one.
        """
        if STUDENT.fullmatch(self.student) and self.student.strip() == self.student:
            return self.student
        raw = self.student.encode("utf-8", "surrogateescape")
        return f"{re.sub(OTHER, '_', self.student)[:80].strip()}~{hashlib.sha256(raw).hexdigest()[:8]}"

    @property
    def hash(self) -> str:
        """What identifies the content."""
        digest = hashlib.sha256()
        for name, data in self.files:
            digest.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
        return digest.hexdigest()


def discover(folder: Path, assignment: Assignment, students=()) -> list[Submission]:
    """The submissions of an assignment below DIR/STUDENT/PSNN…, by student; all, or those of some students."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or students and entry.name not in students:
            continue
        if entry.is_symlink():
            found.append(Submission(entry.name, problem="The student's folder is a link; links are not followed."))
        elif entry.is_dir():
            submission = _of_student(Path(entry.path), entry.name, assignment)
            found += [submission] if submission else []
    return found


def _of_student(folder: Path, student: str, assignment: Assignment) -> Submission | None:
    homes = [e for e in sorted(os.scandir(folder), key=lambda e: e.name) if _is_home(e.name, assignment)]
    homes.sort(key=lambda entry: entry.name != assignment.name)
    if not homes:
        return None
    if homes[0].is_symlink() or not homes[0].is_dir():
        return Submission(student, problem=f"{homes[0].name!r} is no folder; links are not followed.")
    repairs = (f"The folder is called {homes[0].name!r}.",) if homes[0].name != assignment.name else ()
    files, notes = _files(Path(homes[0].path), f"{assignment.notebook}.ipynb")
    problem = "" if files else " ".join(notes) or "There is no notebook in the folder."
    return Submission(student, tuple(files), problem, tuple(notes) if files else (), repairs)


def _is_home(name: str, assignment: Assignment) -> bool:
    return name == assignment.name or re.fullmatch(rf"{re.escape(assignment.short)}([-_ .].*)?", name, re.I) is not None


def _files(folder: Path, expected: str) -> tuple[list[tuple[str, bytes]], list[str]]:
    """(notebooks, the expected one first; sentences about what could not be read), without following a link."""
    found, problems, total = [], [], 0
    for path in _paths(folder, expected):
        try:
            data = read(path)
        except Unreadable as problem:
            problems.append(str(problem))
            continue
        if path.suffix.lower() != ".ipynb" and data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] != b"{":
            continue
        total += len(data)
        if len(found) == MAX_FILES or total > MAX_TOTAL:
            said = f"There are more than {MAX_FILES} notebooks, or {MAX_TOTAL / 1e6:.0f} MB; the rest was not read."
            return found, [*problems, said]
        found.append((path.relative_to(folder).as_posix(), data))
    return found, problems


def _paths(folder: Path, expected: str) -> Iterator[Path]:
    """What might be a notebook: the expected one, then the others by folder and name."""
    for home, folders, names in os.walk(folder, followlinks=False):
        deep = len(Path(home).relative_to(folder).parts) >= MAX_DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names, key=lambda name: (name != expected, name)):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(home, name)


def read(path: Path) -> bytes:
    """The bytes of a plain file. Errors: Unreadable for a link, a pipe, a file with other names, a huge one."""
    shown = path.name.encode("utf-8", "replace").decode()
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(f"{shown!r} is a link or cannot be opened ({os.strerror(error.errno)}).") from None
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
            raise Unreadable(f"{shown!r} is no plain file, or has a second name elsewhere (a hard link).")
        if state.st_size > MAX_FILE:
            raise Unreadable(f"{shown!r} has {state.st_size / 1e6:.0f} MB; {MAX_FILE / 1e6:.0f} MB are the limit.")
        return file.read(MAX_FILE + 1)[: MAX_FILE + 1]


def parse(data: bytes) -> tuple[dict, list[str]]:
    """(notebook, what had to be repaired). Errors: Unreadable."""
    repairs = []
    if not data.strip():
        raise Unreadable("The file is empty.")
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if wide:
        repairs.append("The file is in UTF-16; it was converted.")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        repairs.append("The file is not in UTF-8; its letters beyond English may be wrong.")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        raise Unreadable("The file is no notebook: its JSON is damaged or cut off.") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells", notebook.get("worksheets")), list):
        raise Unreadable("The file is no notebook: it has no cells.")
    return notebook, repairs
