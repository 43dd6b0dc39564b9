"""Who is in the class: the CSV file of `nbgrader db student import`, and whom the name of a downloaded file means."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Roster:
    """The class: its ids, and the id that each name stands for; "" where two students share it."""

    ids: tuple[str, ...]
    names: dict[str, str]

    def find(self, name: str, number: str | None = None) -> str | None:
        """The id that a name or a learning platform's number stands for, or None.

        >>> Roster(("anna",), {"anna": "anna", "leeanna": "anna"}).find("Lee, Anna")
        'anna'
        """
        return self.names.get(f"#{number}") or self.names.get(_letters(name)) or None


def read(path: Path) -> Roster:
    """The roster in a CSV file with the columns id and, if known, first_name, last_name, email, lms_user_id.

    Errors: ValueError with one sentence.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8 ({error}).") from None
    if not rows or "id" not in rows[0]:
        raise ValueError(f"{path} must begin with a line of column names, id among them, and name a student below it.")
    ids, names = [], {}
    for row in rows:
        student = (row["id"] or "").strip()
        if student:
            ids.append(student)
            for name in _names(row) - {""}:
                names[name] = student if names.get(name, student) == student else ""
    return Roster(tuple(ids), names | {_letters(student): student for student in ids})


def _names(row: dict) -> set[str]:
    columns = ("first_name", "last_name", "email", "lms_user_id")
    first, last, mail, number = ((row.get(name) or "").strip() for name in columns)
    both = {_letters(first + last), _letters(last + first)} if first and last else set()
    return both | {_letters(mail), f"#{number}" if number else ""}


def _letters(name: str) -> str:
    """A name without case, spaces and marks.

    >>> _letters("O'Neil, Zoë")
    'oneilzoë'
    """
    return re.sub(r"[\W_]+", "", name).casefold()
