"""`course release`: problem sets from solutions/ to exercises/, checked; and the archive for students."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from course_lib.files import repository, write_atomic
from course_lib.grading import bundle, leaks, notebooks, overlay
from course_lib.grading.generate import Course, ReleaseError, generate


def main(argv=None) -> int:
    """Run the command and return its exit status: 0, or 1 with one sentence for each problem."""
    options = _parser().parse_args(argv)
    try:
        opened = overlay.opened(options.source, wanted=options.cohort, redraw=not options.check)
        course = opened.course
        names = course.sets(options.sets)
        released = prepare(course, names)
        if options.check:
            _stop(drift(course, names, released, everything=not options.sets))
            print(f"{_count(names)} as released, without leaks: {', '.join(names)}")
            return 0
        for name in names:
            swap(course.exercises / name, released[name])
            print(f"{_shown(course.exercises / name)}  {', '.join(released[name])}")
            if name in opened.drawn:
                print(f"    cohort {opened.drawn[name].cohort or '(none)'}: {opened.drawn[name]}")
        register(course, names)
        opened.keep(course.gradebook, names)
        if options.bundle:
            size = bundle.write(options.bundle, repository(), course.exercises, names, _secrets(course, names, size=3))
            print(f"{_shown(options.bundle)}  {size / 1e6:.1f} MB, for students")
        return 0
    except (ReleaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course release", description="Write the problem sets that students get, from solutions/ to exercises/."
    )
    parser.add_argument("sets", nargs="*", metavar="PSNN", help="problem sets, such as ps01; all if none is named")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if exercises/ is out of date, or leaks"
    )
    parser.add_argument("--bundle", type=Path, metavar="OUT.zip", help="and write the archive for students")
    parser.add_argument(
        "--source",
        type=Path,
        metavar="DIR",
        help="your private folder, laid over the course's sets",
    )
    parser.add_argument(
        "--cohort",
        metavar="NAME",
        help="the class, whose name draws the numbers left open",
    )
    return parser


def prepare(course: Course, names: list[str]) -> dict[str, dict[str, bytes]]:
    """The released notebooks of each set, generated in a temporary folder and searched for leaks."""
    _stop([sentence for name in names for sentence in notebooks.folder_problems(course.source / name)])
    with tempfile.TemporaryDirectory(prefix="course-release-") as folder:
        released = {name: generate(course, name, Path(folder)) for name in names}
    _stop([sentence for name in names for sentence in set_leaks(course, name, released[name])])
    return released


def set_leaks(course: Course, name: str, files: dict[str, bytes]) -> list[str]:
    """One sentence for each notebook of a released set that gives away a solution or a hidden test."""
    secrets = _secrets(course, [name])
    found = [(file, leaks.leak_in_file(file, data, secrets)) for file, data in files.items()]
    return [f"{course.exercises.name}/{name}/{file} {leak}." for file, leak in found if leak]


def _secrets(course: Course, names: list[str], size: int = 2) -> set[tuple[str, ...]]:
    paths = [path for name in names for path in sorted((course.source / name).glob("*.ipynb"))]
    return {secret for path in paths for secret in leaks.secrets_of(notebooks.read(path), size)}


def drift(course: Course, names: list[str], released: dict, everything: bool) -> list[str]:
    """One sentence for each way in which exercises/ differs from what `course release` would write."""
    found, home = [], course.exercises.name
    present = sorted(p.name for p in course.exercises.iterdir() if p.is_dir()) if course.exercises.is_dir() else []
    for name in sorted({*names, *(present if everything else [])}):
        files = released.get(name, {})
        there = {path.name: path.read_bytes() for path in _files(course.exercises / name)}
        for file in sorted({*files, *there}):
            if file not in there:
                found.append(f"{home}/{name}/{file} is missing: run `course release {name}`.")
            elif file not in files:
                found.append(f"{home}/{name}/{file} is not made from {course.source.name}/: remove it.")
            elif files[file] != there[file]:
                found.append(
                    f"{home}/{name}/{file} is not what {course.source.name}/ gives: run `course release {name}`."
                )
        found += set_leaks(course, name, there) if name in names else []
    return found


def _files(folder: Path) -> list[Path]:
    hidden = notebooks.IGNORED
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and not hidden & set(p.relative_to(folder).parts)]


def swap(folder: Path, files: dict[str, bytes]) -> None:
    """Make the folder hold exactly these files: each is replaced whole, and the rest removed when all are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != data:
            write_atomic(folder / name, data)
    for path in list(folder.iterdir()):
        if path.name not in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def register(course: Course, names: list[str]) -> None:
    """Tell the teacher's gradebook about the released cells, so that nbgrader's next steps know them."""
    (course.root / ".nbgrader").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="course-release-") as folder:
        for name in names:
            generate(course, name, Path(folder), course.gradebook)


def _stop(problems: list[str]) -> None:
    if problems:
        raise ReleaseError("\n".join(problems))


def _count(names: list[str]) -> str:
    return f"{len(names)} problem set{'s' * (len(names) != 1)}"


def _shown(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
