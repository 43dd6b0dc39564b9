"""When each student's work was handed in: the collector's record beside the students' folders, not a file of theirs."""

import json
from datetime import datetime, timezone
from pathlib import Path

from course_lib.files import write_atomic

RECORD = ".collected.json"


def write(submitted: Path, record: dict) -> None:
    """Write the record whole or not at all."""
    submitted.mkdir(parents=True, exist_ok=True)
    write_atomic(submitted / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")


def read(submitted: Path) -> dict:
    """{assignment: {student: {"at": …, "hash": …}}}; nothing where nothing was collected."""
    try:
        return json.loads((submitted / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def of(record: dict, assignment: str, student: str) -> datetime | None:
    """When a student's work was collected, in UTC without a zone, as nbgrader stores it; None if it was not."""
    said = record.get(assignment, {}).get(student, {}).get("at")
    return datetime.fromisoformat(said).astimezone(timezone.utc).replace(tzinfo=None) if said else None
