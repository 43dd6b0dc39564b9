"""`--source DIR`: a teacher's private folder, laid over the sets of the course.

DIR has the course's own layout: solutions/psNN-…/….ipynb and graded/psNN/….py. Nothing of it is copied into the
repository; exercises/ and .nbgrader/ are made in DIR.

- A set whose folder has a name of the course's: its cells replace the ones with the same cell id; a new cell goes
  behind the one that stands before it; an empty cell takes the course's away.
- A set with another name stands alone, and hides the course's set of the same number.
- A file below graded/ replaces the course's of the same path.
- graded/psNN/cohort.toml declares numbers that differ from class to class; see `cohort`.

A DIR without solutions/ is itself a folder of sets that stand alone, graded/ beside it.
"""

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import repository
from course_lib.grading import cohort, notebooks
from course_lib.grading.cohort import Drawn
from course_lib.grading.generate import OVERLAY, Course, configuration, private_home


@dataclass(frozen=True)
class Opened:
    """A course, and the cohort's values of those of its sets that have any, by the set's name."""

    course: Course
    drawn: dict[str, Drawn] = field(default_factory=dict)

    def keep(self, url: str, names: list[str]) -> None:
        """Record in the gradebook what these sets are released or graded with."""
        names = [name for name in names if name in self.drawn]
        if not names:
            return
        from course_lib.grading import cohort_rows
        from course_lib.grading.gradebook import Book

        new = [name for name in names if cohort_rows.recorded(url, name)[0] != self.drawn[name]]
        if new:
            with closing(Book(url, configuration(self.course))) as book:
                for name in new:
                    cohort_rows.record(book.db, name, self.drawn[name])


def opened(source: Path | None, url: str | None = None, wanted: str | None = None, redraw: bool = False) -> Opened:
    """The course that --source names, for the cohort that is wanted or recorded. Errors: ValueError, OSError.

    url: the gradebook, if it is not the course's own. redraw: a set of which nothing is graded may change its cohort.
    """
    home = private_home(source)
    if home is None:
        if wanted:
            raise ValueError("--cohort is for a private folder, --source DIR, with a graded/psNN/cohort.toml.")
        alone = source is not None and source.resolve() != repository()
        return Opened(Course(source.resolve() if alone else repository() / "solutions"))
    public, private = Course(repository() / "solutions"), Course(home / "solutions")
    files = {path: data for course in (public, private) for path, data in _graded(course).items()}
    drawn = {}
    for name, made in _sets(public, private).items():
        declared = files.get(f"graded/{name.split('-')[0]}/{cohort.FILE}")
        if declared is not None:
            drawn[name] = _drawn(declared.decode(), name, private, url, wanted, redraw)
            made = {file: cohort.fill(one, drawn[name].values, f"{name}/{file}") for file, one in made.items()}
        for file, one in made.items():
            files[f"solutions/{name}/{file}"] = json.dumps(one, ensure_ascii=False, indent=1).encode()
    if wanted and not drawn:
        raise ValueError(f"--cohort: there is no graded/psNN/{cohort.FILE} in {source}.")
    return Opened(Course(_written(home / OVERLAY, files) / "solutions", home), drawn)


def _graded(course: Course) -> dict[str, bytes]:
    found = [*course.graded.rglob("*.py"), *course.graded.glob(f"*/{cohort.FILE}")]
    return {f"graded/{path.relative_to(course.graded).as_posix()}": path.read_bytes() for path in found}


def _sets(public: Course, private: Course) -> dict[str, dict[str, dict]]:
    """{set: {file: notebook}}, one laid over the other."""
    ours, theirs = (_notebooks(course.source) for course in (public, private))
    numbers = {name.split("-")[0] for name in theirs}
    found = {name: made for name, made in ours.items() if name in theirs or name.split("-")[0] not in numbers}
    for name, made in theirs.items():
        if name in ours and set(made) != set(ours[name]):
            raise ValueError(
                f"solutions/{name} must hold {', '.join(ours[name])}, and holds {', '.join(made) or 'none'}."
            )
        found[name] = {file: laid_over(ours[name][file], one) if name in ours else one for file, one in made.items()}
    return dict(sorted(found.items()))


def _notebooks(source: Path) -> dict[str, dict[str, dict]]:
    homes = [home for home in sorted(source.iterdir()) if home.is_dir() and not home.name.startswith((".", "_"))]
    return {home.name: {path.name: _read(path) for path in sorted(home.glob("*.ipynb"))} for home in homes}


def _read(path: Path) -> dict:
    try:
        return notebooks.read(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a notebook ({error}).") from None


def laid_over(public: dict, private: dict) -> dict:
    """The public notebook with the private one's cells in it.

    >>> def nb(**cells): return {"cells": [{"id": name, "source": text} for name, text in cells.items()]}
    >>> made = laid_over(nb(q1="a", q2="b", q3="c"), nb(q1="A", new="x", q3=""))
    >>> [cell["id"] + cell["source"] for cell in made["cells"]]
    ['q1A', 'newx', 'q2b']
    """
    cells, place = list(public["cells"]), None
    for raw in private["cells"]:
        known = [at for at, cell in enumerate(cells) if cell.get("id") == raw.get("id")]
        if known:
            empty = not "".join(raw["source"]).strip()
            cells[known[0] : known[0] + 1] = [] if empty else [raw]
            place = known[0] + (not empty)
        else:
            place = len(cells) if place is None else place
            cells.insert(place, raw)
            place += 1
    return public | {"cells": cells}


def _drawn(text: str, name: str, course: Course, url: str | None, wanted: str | None, redraw: bool) -> Drawn:
    """A set's values: those recorded, unless it may be drawn anew."""
    from course_lib.grading import cohort_rows

    parameters = cohort.read(text, f"graded/{name.split('-')[0]}/{cohort.FILE}")
    before, graded = cohort_rows.recorded(url or course.gradebook, name)
    if before is None and url:  # released from the course's own gradebook, graded into another one
        before, _ = cohort_rows.recorded(course.gradebook, name)
    if before is not None and (graded or not redraw):
        if wanted not in (None, before.cohort):
            raise ValueError(
                f"{name} went out to cohort {before.cohort!r} in this gradebook, not to {wanted!r}: "
                "another class needs another gradebook, or a private folder of its own."
            )
        return before
    return cohort.draw(parameters, name.split("-")[0], (before.cohort if before else "") if wanted is None else wanted)


def _written(home: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files, named by its content: it never changes under a command that still reads it."""
    digest = hashlib.sha256()
    for path, data in sorted(files.items()):
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    folder = home / digest.hexdigest()[:16]
    if not folder.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=home, prefix=".new-"))
        try:
            for path, data in files.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_bytes(data)
            os.rename(made, folder)
        except OSError:
            if not folder.is_dir():  # else another command was quicker
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder
