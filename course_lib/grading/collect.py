"""`course collect PSNN FOLDER`: put a folder of notebooks, named by student, where `course grade` looks for them."""

import argparse
import hashlib
import json
import os
import re
import sys
from datetime import datetime, timezone
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import overlay, roster, source, submission, times
from course_lib.grading.generate import ReleaseError
from course_lib.grading.roster import Roster
from course_lib.grading.source import Assignment
from course_lib.grading.submission import Submission, Unreadable

# Path below FOLDER, with "/" between folders. The first that fits decides.
PATTERNS = (
    r"(?P<student>[^/]+?)_\d+_assignsubmission_file_?/[^/]+",  # Moodle's download
    r"(?P<student>[^/_]+)_(LATE_)?(?P<number>\d+)_\d+_[^/]+",  # Canvas's
    r"(?P<student>[^/]+)/(.*/)?[^/]+",  # a folder for each student
    r"(?P<student>[^/]+?)([-_ ]+(?i:{short})[^/]*)?\.ipynb",  # anna.ipynb, anna-ps01.ipynb
)


def main(argv=None) -> int:
    """Run the command and return its exit status: 0, or 1 with one sentence."""
    options = _parser().parse_args(argv)
    try:
        course = overlay.opened(options.source).course
        assignment = source.load(course.source / course.sets([options.set])[0])
        into = options.submitted or course.root / ".nbgrader" / "submitted"
        at = _time(options.at) if options.at else datetime.now(timezone.utc)
        lines = collect(options.folder, into, assignment, at, options.pattern, options.roster)
    except (ReleaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course collect",
        description="Copy a folder of notebooks, named by student, to where `course grade` looks for them. Understands "
        "the downloads of Moodle and Canvas, STUDENT/….ipynb, STUDENT.ipynb and STUDENT-PSNN.ipynb.",
    )
    add = parser.add_argument
    add("set", metavar="PSNN", help="the problem set that was handed in")
    add("folder", type=Path, metavar="FOLDER", help="what you have downloaded, unpacked")
    add("--submitted", type=Path, metavar="DIR", help="where to put it; .nbgrader/submitted if not given")
    add(
        "--at",
        metavar="TIME",
        help="when it was handed in, such as 2026-11-30T18:00; now if not given (your time zone)",
    )
    add("--pattern", metavar="REGEX", help="how a path below FOLDER names the student: a group called student")
    add(
        "--roster",
        type=Path,
        metavar="CSV",
        help="the class, as for `nbgrader db student import`: names become its ids",
    )
    add("--source", type=Path, metavar="DIR", help="your private folder, or a folder of sets")
    return parser


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc)
    except ValueError:
        raise ValueError(f"--at must be a time such as 2026-11-30T18:00, got {text!r}.") from None


def collect(folder: Path, into: Path, assignment: Assignment, at: datetime, pattern=None, known=None) -> list[str]:
    """Copy each student's notebook, and record the time; what was done, a line each.

    A notebook that was collected before, unchanged, keeps its time. Of several notebooks of a student, all are copied.
    pattern: a regular expression of the teacher's own. known: the file of a roster.
    """
    known = roster.read(known) if known else None
    if not folder.is_dir():
        is_archive = folder.suffix.lower() in (".zip", ".gz", ".tar")
        raise ValueError(f"{folder} is not a folder{': unpack it first' if is_archive else ''}.")
    found, lines = _by_student(folder, assignment, pattern, known)
    if not found and not lines:
        raise ValueError(f"There is no notebook (.ipynb) below {folder}.")
    record = times.read(into)
    collected = record.setdefault(assignment.name, {})
    for student, files in sorted(found.items()):
        home = into / student / assignment.name
        content = _hash(files)
        if collected.get(student, {}).get("hash") == content:
            lines.append(f"{student}: as before")
            continue
        home.mkdir(parents=True, exist_ok=True)
        for old in home.glob("*.ipynb"):
            old.unlink()
        for name, data in files.items():
            write_atomic(home / name, data)
        collected[student] = {"at": at.replace(microsecond=0).isoformat(), "hash": content}
        write_atomic(home / "timestamp.txt", f"{at:%Y-%m-%d %H:%M:%S} UTC\n")  # nbgrader's own pages read it
        lines.append(f"{student}: {', '.join(files)}{_doubt(files, assignment)}")
    times.write(into, record)
    return [*lines, *_summary(found, collected, known)]


def _doubt(files: dict[str, bytes], assignment: Assignment) -> str:
    """What to say of notebooks that are cut off, or hold none of the set's functions, not even as a stub."""
    if not all(map(_is_json, files.values())):
        return "  (this is no complete notebook: ask for the file again)"
    names = [name.encode() for question in assignment.questions for name in question.names]
    looks_right = any(name in data for data in files.values() for name in names)
    return "" if looks_right or not names else f"  (this does not look like {assignment.short}: is it another set?)"


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _summary(found: dict, collected: dict, known: Roster | None) -> list[str]:
    """Who is not on the roster, and who has handed in nothing."""
    if known is None:
        return [_count(found)]
    strangers = sorted(set(found) - set(known.ids))
    lines = [f"not on the roster, and kept under this name: {', '.join(map(repr, strangers))}"] if strangers else []
    missing = [student for student in known.ids if student not in collected]
    lines += [f"nothing yet from: {', '.join(missing)}"] if missing else []
    return [*lines, f"{_count(found)}, {len(known.ids)} on the roster"]


def _count(found: dict) -> str:
    return f"{len(found)} student{'s' * (len(found) != 1)}"


def _by_student(folder: Path, assignment: Assignment, pattern: str | None, known) -> tuple[dict, list[str]]:
    """({student: {file name: content}}, a line for each file that was left out)."""
    patterns = [pattern] if pattern else [p.replace("{short}", re.escape(assignment.short)) for p in PATTERNS]
    found, lines = {}, []
    for home, folders, names in os.walk(folder):
        deep = len(Path(home).relative_to(folder).parts) >= submission.MAX_DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        for name in sorted(n for n in names if n.endswith(".ipynb") and not n.startswith(".")):
            path = Path(home, name)
            inside = path.relative_to(folder).as_posix()
            student = _student(inside, patterns, known)
            try:
                data = submission.read(path)
            except Unreadable as problem:
                lines.append(f"left out: {problem}")
                continue
            if student is None or Submission(student).account != student:
                lines.append(f"left out: {inside!r}, because it does not name a student")
                continue
            files = found.setdefault(student, {})
            files[name if files else f"{assignment.notebook}.ipynb"] = data
    return found, lines


def _student(inside: str, patterns: list[str], known: Roster | None) -> str | None:
    for pattern in patterns:
        match = re.fullmatch(pattern, inside)
        if match:
            name, number = match["student"].strip(), match.groupdict().get("number")
            return known and known.find(name, number) or name
    return None


def _hash(files: dict[str, bytes]) -> str:
    return hashlib.sha256(b"\0".join(name.encode() + b"\0" + data for name, data in files.items())).hexdigest()
