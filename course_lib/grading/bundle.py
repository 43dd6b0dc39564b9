"""The students' archive: the course without solutions, graded references and tests."""

import io
import re
import zipfile
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import leaks
from course_lib.grading.generate import ReleaseError

TOP = "quantization-course"
FILES = (
    "README.md", "CONTRIBUTING.md", "LICENSE", "LICENSE-text", "Makefile", "environment.yml", "pyproject.toml",
    "requirements.lock",
)  # fmt: skip
FOLDERS = ("course_lib", "notebooks", "benchmarks", "exercises")
SKIPPED = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest date that zip knows: the same files give the same archive


def contents(root: Path, exercises: Path, sets: list[str]) -> dict[str, bytes]:
    """What students get, by its path in the archive: nothing that is not on the list above."""
    found = {name: (root / name).read_bytes() for name in FILES if (root / name).is_file()}
    for folder in FOLDERS[:-1]:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not SKIPPED & set(inside.parts) and path.suffix not in (".pyc", ".pyo"):
                found[inside.as_posix()] = path.read_bytes()
    for name in sets:
        for path in sorted((exercises / name).glob("*.ipynb")):
            found[f"exercises/{name}/{path.name}"] = path.read_bytes()
    if "README.md" in found:
        found["README.md"] = for_students(found["README.md"].decode("utf-8"), set(found)).encode("utf-8")
    return found


def for_students(text: str, names: set[str]) -> str:
    """The README without the paragraphs that link to a file which is not in the archive: those are for teachers.

    >>> for_students("You [learn](a.md#b).\\n\\nYou [teach](t/c.md), see [there](https://d.e).\\n", {"a.md"})
    'You [learn](a.md#b).\\n\\n'
    """

    def kept(paragraph: str) -> bool:
        links = re.findall(r"\]\(([^)#]+)", paragraph)
        return all("://" in link or link in names for link in links)

    return "".join(filter(kept, re.split(r"(?<=\n\n)", text)))


def write(out: Path, root: Path, exercises: Path, sets: list[str], secrets: set[tuple[str, ...]]) -> int:
    """Write the archive whole or not at all, and return its bytes. ReleaseError for a file that leaks."""
    files = contents(root, exercises, sets)
    for name, data in files.items():
        leak = leaks.leak_in_file(name, data, secrets)
        if leak:
            raise ReleaseError(f"The archive was not written: {name} {leak}.")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{TOP}/{name}", FIRST_DAY)
            entry.external_attr, entry.compress_type, entry.create_system = 0o644 << 16, zipfile.ZIP_DEFLATED, 3
            packed.writestr(entry, files[name])
    write_atomic(out, archive.getvalue())
    return len(archive.getvalue())
