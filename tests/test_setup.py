"""The set-up: one list of pins, the packages that are installed, make, CI, nbgrader's settings, skipped tests."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# ---- one list of pins


def lock_pins():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.skipif(sys.platform != "linux", reason="the lock is written on Linux, from what is installed there")
def test_the_lock_is_what_the_dependencies_need_on_every_platform():
    done = subprocess.run([sys.executable, "tools/lock.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_holds_public_pins_only():
    names = [re.fullmatch(r'([\w.-]+)==[\w.]+(; sys_platform [!=]= "\w+")?', line).group(1) for line in lock_pins()]
    assert len(names) == len({name.lower() for name in names}) > 100
    assert not [name for name in names if name.startswith(("nvidia", "cuda"))]


def test_pyproject_pins_agree_with_the_lock():
    direct = {line.replace("'", '"') for line in PROJECT["project"]["dependencies"]}
    assert direct <= set(lock_pins())


def test_environment_yml_has_the_pins_of_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = conda["dependencies"]
    assert pip == "pip" and PROJECT["project"]["requires-python"] == ">=" + python.removeprefix("python=")
    assert [line.replace("'", '"') for line in packages["pip"]] == [*lock_pins(), "-e ."]


def test_the_installed_packages_fit_together():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# ---- what is installed


def test_packages_are_named_one_by_one():
    folders = {path.parent for path in (ROOT / "course_lib").rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders), "a package folder lacks __init__.py"
    found = sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    named = sorted(PROJECT["tool"]["setuptools"]["packages"])
    assert named == found, "pyproject.toml's packages differ from the folders of course_lib: name each of them there"


def test_every_data_file_of_the_library_is_packaged():
    tracked = subprocess.run(["git", "ls-files", "course_lib"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, names in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in names
    ]
    data = [name for name in tracked if not name.endswith(".py")]
    assert not [name for name in data if not any(fnmatch(name, pattern) for pattern in patterns)]


# ---- Windows' git


def test_a_checkout_on_windows_has_every_byte_as_committed(tmp_path):
    text, names = b"one line\nand another\n", ("lesson.ipynb", "golden.json", "words.md", "no-suffix")
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(ROOT / ".gitattributes", folder)
    git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    for name in names:
        (folder / name).write_bytes(text)
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(git + arguments, check=True, capture_output=True)
    for name in names:
        (folder / name).unlink()
    subprocess.run([*git, "checkout", "-q", "--", "."], check=True, capture_output=True)
    assert {(folder / name).read_bytes() for name in names} == {text}


# ---- make, CI, nbgrader


@pytest.fixture
def machine(tmp_path):
    """A PATH with nothing but what a new machine has, and programs that only note that they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    (folder / "git").symlink_to(shutil.which("git"))
    for name in ("apt-get", "make", "sudo"):
        (folder / name).write_text(f'#!{shutil.which("bash")}\necho "{name} $* CI=$CI" >> "{tmp_path}/called"\n')
        (folder / name).chmod(0o755)
    (folder / "id").write_text(f"#!{shutil.which('bash')}\necho 0\n")
    (folder / "id").chmod(0o755)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="CI runs on Linux")
def test_ci_installs_what_is_missing_then_runs_make_test(machine, tmp_path):
    names = {"PATH": str(machine), "HOME": str(tmp_path)}
    subprocess.run([ROOT / ".ci" / "run"], env=names, check=True, stdin=subprocess.DEVNULL)
    update, install, *make = (tmp_path / "called").read_text().splitlines()
    assert update.startswith("apt-get update") and make == ["make env CI=true", "make test CI=true"]
    assert "install --yes" in install and "chromium" in install and "bubblewrap" in install
    assert "postgresql" in install or glob.glob("/usr/lib/postgresql/*/bin/initdb")  # Debian keeps it off PATH
    for name in ("chromium", "bwrap", "initdb"):
        (machine / name).symlink_to(machine / "make")
    (tmp_path / "called").unlink()
    subprocess.run([ROOT / ".ci" / "run"], env=names, check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "called").read_text() == "make env CI=true\nmake test CI=true\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_make_runs_what_the_readme_promises():
    def plan(*arguments):
        return subprocess.run(
            ["make", "-n", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    commands = plan("lab", "ARGS=--no-browser --port 8899").splitlines()
    assert commands == ["python3 -m course_lib env", ".venv/bin/python -m course_lib lab --no-browser --port 8899"]
    assert plan("env", "PYTHON=python3.12") == "python3.12 -m course_lib env\n"
    assert "ruff check" in plan("test") and "-m pytest" in plan("test").splitlines()[-1]


def test_nbgrader_reads_solutions_and_hides_the_rest(tmp_path):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    code = (
        "from nbgrader.apps import NbGrader\nfrom nbgrader.coursedir import CourseDirectory\n"
        "app = NbGrader(); app.load_config_file(); course = CourseDirectory(parent=app)\n"
        "names = ['source', 'release', 'submitted', 'autograded', 'feedback', 'solution']\n"
        "print(*[getattr(course, name + '_directory') for name in names], course.db_url, app.logfile)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    source, release, *hidden = done.stdout.split()
    assert (source, release) == ("solutions", "exercises")
    assert all(".nbgrader/" in path.replace("\\", "/") for path in hidden) and len(hidden) == 6
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".nbgrader/", "work/", ".course/", ".venv/"} <= set(ignored)


# ---- what a missing program does to the tests

PROBE = """
import pytest
from course_lib import doctor
doctor.POSTGRES_PLACES = ()
@pytest.mark.postgres
def test_book(): pass
@pytest.mark.browser
def test_page(): pass
@pytest.mark.sandbox
def test_box(): pass
def test_plain(): pass
"""


@pytest.mark.parametrize("ci", ["false", "true"])
def test_a_missing_program_is_said_at_the_end_and_fails_in_ci(tmp_path, ci):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_probe.py").write_text(PROBE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  browser: x\n  sandbox: x\n  postgres: x\n")
    names = {**os.environ, "CI": ci, "PATH": str(tmp_path), "COURSE_CHROMIUM": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path, env=names, capture_output=True, text=True,
    )  # fmt: skip
    if ci == "true":
        assert done.returncode == 1 and "1 passed, 3 errors" in done.stdout
    else:
        assert done.returncode == 0
        end = "\n".join(done.stdout.splitlines()[-5:])
        assert "SKIPPED because chromium is missing: 1 tests (1 in test_probe.py)" in end
        assert "SKIPPED because bubblewrap is missing: 1 tests (1 in test_probe.py)" in end
        assert "SKIPPED because PostgreSQL is missing: 1 tests (1 in test_probe.py)" in end
