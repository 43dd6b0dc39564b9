"""The learner's log: one JSON record a line, only ever appended, in COURSE_HOME.

Two notebooks may write at once: there is a lock. A kill may cut the last line off: it is skipped, and the next record
starts on a line of its own. No record is ever rewritten; what is passed, seen or guessed is computed from the log.
"""

import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from course_lib.files import course_home

LOCK_WAIT_S = 10


class StoreError(Exception):
    """The log cannot be written; the message is one sentence."""


def log_file() -> Path:
    """Where the log lies."""
    return course_home() / "log.jsonl"


def append(event: str, **fields) -> dict:
    """Add one record and return it. Errors: `StoreError` when it cannot be saved."""
    record = {"id": uuid.uuid4().hex, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
    record |= fields
    extend([record])
    return record


def extend(records: list[dict]) -> None:
    """Add complete records, all under one lock."""
    lines = "".join(json.dumps(r, ensure_ascii=False, allow_nan=True) + "\n" for r in records).encode()
    try:
        path = log_file()
        with FileLock(str(path) + ".lock", timeout=LOCK_WAIT_S):
            _write(path, lines)
    except (OSError, Timeout) as err:
        raise StoreError(f"your progress could not be saved ({type(err).__name__}: {err})") from err


def _write(path: Path, lines: bytes) -> None:
    with open(path, "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end and _last_byte(file, end) != b"\n":
            lines = b"\n" + lines  # a kill cut the last record off; do not write on its line
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _last_byte(file, end: int) -> bytes:
    file.seek(end - 1)
    return file.read(1)


def records(event: str | None = None) -> list[dict]:
    """All records, oldest first; lines that are no record are skipped."""
    try:
        data = log_file().read_bytes()
    except OSError:
        return []
    found = [r for r in map(_record, data.split(b"\n")) if r is not None]
    return [r for r in found if event is None or r["event"] == event]


def trouble() -> list[str]:
    """One sentence where the log, or a line of it, cannot be read; nothing where all of it can."""
    try:
        path = log_file()
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as err:
        return [f"Your log cannot be read, so that nothing in it counts here ({err})."]
    lost = sum(bool(line.strip()) and _record(line) is None for line in data.split(b"\n"))
    lines = "1 line of your log is" if lost == 1 else f"{lost} lines of your log are"
    return [f"{lines} damaged and left out: what it recorded does not count ({path})."] if lost else []


def _record(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if is_record(record) else None


def is_record(record) -> bool:
    """Does this look like a record of the log?"""
    return isinstance(record, dict) and all(isinstance(record.get(k), str) for k in ("id", "at", "event"))


def merge(new: list[dict]) -> int:
    """Add the records that the log does not hold yet; returns how many. Merging twice adds nothing."""
    known = {r["id"] for r in records()}
    fresh = {r["id"]: r for r in new if is_record(r) and r["id"] not in known}
    if fresh:
        extend(list(fresh.values()))
    return len(fresh)
