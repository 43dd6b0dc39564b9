"""Prepare `.venv`: what `make env` does, with the standard library only, so that a bare Python can run it.

This file, `__main__.py` and `cli.py` must parse on old Pythons too: they are what tells a learner that
theirs is too old.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.files import repository

MINIMUM = (3, 11)
STAMP = ".course-stamp"  # in .venv; holds fingerprint() of what was installed, written last
WINDOWS = os.name == "nt"  # without make, and with another .venv


class SetupError(Exception):
    """The environment cannot be prepared; the message is one sentence for the learner."""


def venv_python(root):
    """Return the path of the interpreter in `root`/.venv, there or not."""
    return Path(root) / ".venv" / ("Scripts/python.exe" if WINDOWS else "bin/python")


def typed(command=None):
    """Return what a learner types on this system: for `course COMMAND` of .venv, or, without one, to prepare it.

    >>> typed()
    'make env'
    """
    if command is None:
        return "py -m course_lib env" if WINDOWS else "make env"
    return (".venv\\Scripts\\course " if WINDOWS else ".venv/bin/course ") + command


def fingerprint(root):
    """Return the hash of all that decides what .venv must hold: the lock, the package definition, the place."""
    digest = hashlib.sha256(str(Path(root).resolve()).encode())
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((Path(root) / name).read_bytes())
    return digest.hexdigest()


def ready(root):
    """Return whether .venv was installed to the end from the present lock and package definition."""
    stamp = Path(root) / ".venv" / STAMP
    return venv_python(root).exists() and stamp.exists() and stamp.read_text().strip() == fingerprint(root)


def check_python(version=None):
    """Raise SetupError when `version` (default: this Python's) is older than the course needs."""
    version = tuple(version or sys.version_info)[:3]
    if version < MINIMUM:
        newer = "py -3.12 -m course_lib lab" if WINDOWS else "make lab PYTHON=python3.12"
        raise SetupError(
            "The course needs Python 3.11 or newer, and this is Python {}.{}.{} ({}); name a newer one with "
            "`{}`.".format(*version, sys.executable, newer)
        )


def prepare(root, run=subprocess.run):
    """Bring `root`/.venv up to date and return its interpreter; a second call returns at once.

    The stamp goes first and comes back last, so an install that was cut short is done again.
    """
    root = Path(root)
    missing = [name for name in ("requirements.lock", "pyproject.toml") if not (root / name).exists()]
    if missing:
        raise SetupError(f"There is no {missing[0]} in {root}, so no environment can be made; clone the whole course.")
    if ready(root):
        return venv_python(root)
    check_python()
    (root / ".venv" / STAMP).unlink(missing_ok=True)
    if not _works(venv_python(root), root, run):
        _create(root, run)
    _install(root, run)
    (root / ".venv" / STAMP).write_text(fingerprint(root) + "\n")
    return venv_python(root)


def _works(python, root, run):
    """Return whether .venv has pip and a Python of the right age, and was made in this very folder."""
    if not python.exists() or _moved(root):
        return False
    probe = f"import sys, pip; sys.exit(sys.version_info < {MINIMUM!r})"
    return run([str(python), "-c", probe], stderr=subprocess.DEVNULL).returncode == 0


def _moved(root):
    """Return whether .venv was made for another folder: its scripts still point there."""
    try:
        lines = (root / ".venv" / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    commands = [line for line in lines if line.startswith("command = ") and " -m venv " in line]
    return any(not line.endswith(str(root / ".venv")) for line in commands)


def _create(root, run):
    """Make an empty .venv, with one sentence when this Python cannot."""
    print("Making .venv with Python {}.{}.{} …".format(*sys.version_info[:3]), flush=True)
    python = getattr(sys, "_base_executable", None) or sys.executable  # not the .venv that is being replaced
    if run([python, "-m", "venv", "--clear", str(root / ".venv")]).returncode:
        shutil.rmtree(root / ".venv", ignore_errors=True)
        raise SetupError(f"`{python} -m venv` failed; on Debian and Ubuntu `apt install python3-venv` mends that.")


def _install(root, run):
    """Install the locked packages, then course_lib itself, editable."""
    print("Installing the course's packages into .venv; the first time this takes a few minutes …", flush=True)
    pip = [str(venv_python(root)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    for arguments in (
        ["-r", str(root / "requirements.lock")],
        ["--no-deps", "--no-build-isolation", "--editable", str(root)],
    ):
        if run(pip + arguments).returncode:
            raise SetupError(
                "pip could not install the packages (its own message is above); "
                "run the same command again once that is mended: what is already there is kept."
            )


def main(argv):
    """`course env`: prepare .venv and say where it is."""
    if argv:
        print("course env takes no arguments, got " + " ".join(argv), file=sys.stderr)
        return 2
    prepare(repository())
    return 0
