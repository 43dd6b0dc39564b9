"""Run nbgrader's own generate_assignment, away from the folders that people use."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import repository
from course_lib.grading import quick

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class ReleaseError(Exception):
    """The release stops; the message is one sentence."""


@dataclass(frozen=True)
class Course:
    """Where the problem sets of a course lie: graded/ beside `source`, exercises/ and .nbgrader/ in `root`."""

    source: Path
    home: Path | None = None  # where a private folder has its own; else beside the source

    @property
    def root(self) -> Path:
        return self.home or self.source.parent

    @property
    def graded(self) -> Path:
        """The hidden half of the sets."""
        return self.source.parent / "graded"

    @property
    def exercises(self) -> Path:
        return self.root / "exercises"

    @property
    def gradebook(self) -> str:
        """The address of the gradebook that nbgrader's later steps use."""
        return f"sqlite:///{self.root / '.nbgrader' / 'gradebook.db'}"

    def beside(self, gradebook: str) -> Path:
        """Where autograded/ and feedback/ lie: beside an SQLite file that is not the course's own, else .nbgrader."""
        if gradebook.startswith("sqlite:///") and gradebook != self.gradebook:
            return Path(gradebook.removeprefix("sqlite:///")).resolve().parent
        return self.root / ".nbgrader"

    def sets(self, wanted: list[str]) -> list[str]:
        """The folder names of the wanted sets (ps01, or the whole name), or of all. ReleaseError for an unknown one."""
        if not self.source.is_dir():
            raise ReleaseError(f"There are no problem sets to release: {self.source} is not a folder.")
        known = sorted(p.name for p in self.source.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
        if not known:
            raise ReleaseError(f"There are no problem sets in {self.source}.")
        found = [name for name in known if not wanted or name in wanted or name.split("-")[0] in wanted]
        missing = [w for w in wanted if w not in known and w not in [name.split("-")[0] for name in known]]
        if missing:
            raise ReleaseError(f"There is no problem set {missing[0]!r}; there are {', '.join(known)}.")
        return found


OVERLAY = ".nbgrader/overlay"


def private_home(source: Path | None) -> Path | None:
    """The private folder that --source names, or None: the course's own sets, or a folder of sets that stand alone.

    nbgrader names the folder of sets inside; it is a private one if it was laid over the course's sets before.
    """
    source = (source or repository()).resolve()
    if source.name == "solutions" and (source.parent / OVERLAY).is_dir():
        return source.parent
    return source if (source / "solutions").is_dir() and source != repository() else None


def root_of(source: Path | None) -> Path:
    """The folder that holds exercises/ and .nbgrader/, from what --source says."""
    if source is None or source.resolve() == repository():
        return repository()
    return private_home(source) or source.resolve().parent


def generate(course: Course, name: str, into: Path, gradebook: str | None = None) -> dict[str, bytes]:
    """Have nbgrader write the released notebooks of a set below `into`, and return them by file name.

    The bytes depend on the sources only. With a gradebook nbgrader also records the cells there, for its next steps.
    ReleaseError with nbgrader's own words where it refuses.
    """
    quick.nbgrader()
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # for alembic
    config = configuration(course)
    config.CourseDirectory.update(
        root=str(course.root), source_directory=str(course.source), release_directory=str(into),
        assignment_id=name, db_url=gradebook or "sqlite://",
    )  # fmt: skip
    if gradebook is None:
        config.SaveCells.enabled, config.GenerateAssignment.no_database = False, True
    app = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config)
    app.force = app.create_assignment = True
    result = capture_log(app)
    if not result["success"]:
        raise ReleaseError(f"nbgrader could not release {name}: {_words(result)}")
    return {path.name: _canonical(path) for path in sorted((into / name).glob("*.ipynb"))}


def configuration(course: Course):
    """The settings of nbgrader_config.py: the course's own where there is one, else the repository's."""
    from traitlets.config import PyFileConfigLoader

    own = course.root / "nbgrader_config.py"
    path = own if own.is_file() else repository() / "nbgrader_config.py"
    before = {name: os.environ.get(name) for name in ("PATH", "PYTHONPATH")}
    config = PyFileConfigLoader(path.name, path=str(path.parent)).load_config()
    for name, value in before.items():  # the file sets them for the kernels of autograde; none is started here
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    config.NbGrader.pop("logfile", None)
    return config


def _words(result: dict) -> str:
    """The last line of an error that says something."""
    lines = [line for line in f"{result.get('error', '')}\n{result.get('log', '')}".split("\n") if line.strip()]
    errors = [line for line in lines if line.startswith("[ERROR]")]
    return (errors or lines or ["it gave no reason"])[-1].removeprefix("[ERROR] ")


def _canonical(path: Path) -> bytes:
    """A released notebook with sorted keys and the plainest metadata: the same source gives the same bytes."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return (json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
