"""`course doctor`: what is installed here, and what each missing piece switches off.

Runs on a bare Python. Exits non-zero only when the course itself cannot run.
"""

import argparse
import ctypes
import glob
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

from course_lib import environment
from course_lib.files import repository

# found: what is there, or None; without: what its absence switches off; needed: whether the course stops without it
Piece = namedtuple("Piece", "name found without needed")

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
POSTGRES_PLACES = ("/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb")  # Debian, Fedora; psql is not enough
DISK_GIB = 2


def chromium():
    """Return the path of a Chromium or Chrome, or None; $COURSE_CHROMIUM names one that is elsewhere."""
    named = os.environ.get("COURSE_CHROMIUM")
    places = [shutil.which(name) for name in CHROMIUMS] + [place for place in CHROMIUM_PLACES if Path(place).exists()]
    return named or next(filter(None, places), None)


def bubblewrap():
    """Return the path of a bubblewrap that can make a sandbox on this system, or None."""
    path = shutil.which("bwrap")
    if path is None:
        return None
    try:
        probe = [path, "--unshare-all", "--ro-bind", "/", "/", "true"]
        return path if subprocess.run(probe, capture_output=True, timeout=10).returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        return None


def postgres():
    """Return the path of PostgreSQL's `initdb`, which lies beside the server and often not on PATH, or None."""
    return shutil.which("initdb") or max((path for place in POSTGRES_PLACES for path in glob.glob(place)), default=None)


def package(name):
    """Return the version of an installed package that can be imported, or None."""
    try:
        importlib.import_module(name)
        return metadata.version(name)
    except Exception:  # a broken package fails in its own way, and is as good as missing
        return None


def installed(*names):
    """Return "name version, …" when all of the packages are installed (they are not imported), or None."""
    try:
        versions = {name: metadata.version(name) for name in names}
    except metadata.PackageNotFoundError:
        return None
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def llama_functions():
    """Return how llama.cpp's C functions are to be had, or None: the wheels for Windows do not export them."""
    try:
        module = importlib.import_module("xllamacpp.xllamacpp")
        return "exported" if ctypes.CDLL(module.__file__).llama_decode else None
    except Exception:  # not there, broken, or without the function
        return None


def gpu():
    """Return the name of the GPU that torch can use, or None."""
    try:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(0)
        return "Apple GPU (mps; the course computes on the CPU)" if torch.backends.mps.is_available() else None
    except Exception:  # no torch, or a driver that does not fit
        return None


def bundled_model(folder=None):
    """Return the size of the bundled checkpoint when all of its files are there, or None."""
    folder = Path(folder or Path(__file__).parent / "models" / "bundled")
    if not all((folder / name).is_file() for name in MODEL_FILES):
        return None
    return f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB of weights"


def disk(path=None):
    """Return the free space where the course lies, or None when it is short."""
    free_gib = shutil.disk_usage(path or Path(__file__).parent).free / 2**30
    return f"{free_gib:.0f} GiB free" if free_gib >= DISK_GIB else None


def python():
    """Return this Python's version, or None when the course does not run on it."""
    version = "{}.{}.{}".format(*sys.version_info[:3])
    return f"{version} ({sys.executable})" if sys.version_info >= environment.MINIMUM else None


def pieces():
    """Look at everything and return the table's rows."""
    env = f"; `{environment.typed()}` installs it"
    return [
        Piece("Python 3.11+", python(), "the course", True),
        Piece("torch", package("torch"), "the course" + env, True),
        Piece("transformers", installed("transformers"), "loading the model, so every chapter" + env, True),
        Piece("bundled model", bundled_model(), "every chapter; clone the repository again", True),
        Piece("JupyterLab", installed("jupyterlab", "ipykernel"), "the notebooks" + env, True),
        Piece("widgets", installed("ipywidgets", "jupyterlab_widgets"), "the explorers of every chapter" + env, True),
        Piece("triton", package("triton"), "the kernel chapter's own cells, nothing else (Linux only)", False),
        Piece("GPU", gpu(), "GPU runs of the kernel chapter, which shows recorded curves instead", False),
        Piece("llama.cpp", installed("xllamacpp"), "running our GGUF files in llama.cpp", False),
        Piece("  its C code", llama_functions(), "llama.cpp's own logits and blocks (Windows: missing)", False),
        Piece("nbgrader", installed("nbgrader"), "`course release` and grading, for teachers", False),
        Piece("bubblewrap", bubblewrap(), "safe grading and its tests, for teachers (Linux only)", False),
        Piece("PostgreSQL", postgres(), "the test of a gradebook on PostgreSQL; others use SQLite", False),
        Piece("chromium", chromium(), "the browser tests; learners need none of them", False),
        Piece("free disk", disk(), f"room to export models: less than {DISK_GIB} GiB is left", False),
    ]


def report(rows):
    """Return the table as text, and whether the course can run."""
    wide = max(len(row.name) for row in rows)
    lines = [
        f"  ok       {row.name:{wide}}  {row.found}"
        if row.found
        else f"  {'MISSING' if row.needed else 'missing'}  {row.name:{wide}}  switches off: {row.without}"
        for row in rows
    ]
    broken = [row.name for row in rows if row.needed and not row.found]
    if broken:
        lines.append(f"\nThe course cannot run here; it lacks: {', '.join(broken)}.")
    else:
        lines.append("\nThe course can run.")
    return "\n".join(lines), not broken


def main(argv):
    """`course doctor`: print the table; the exit status is 1 only if the course cannot run."""
    argparse.ArgumentParser(prog="course doctor", description=main.__doc__).parse_args(argv)
    root = repository()
    if importlib.util.find_spec("torch") is None and environment.ready(root):  # a bare Python beside a good .venv
        return subprocess.call([str(environment.venv_python(root)), "-m", "course_lib", "doctor"], cwd=root)
    text, runs = report(pieces())
    print(text)
    return 0 if runs else 1
