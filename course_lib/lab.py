"""`course lab`: JupyterLab on the learner's own copy of chapter 00, from whatever Python it is called with."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from course_lib import environment
from course_lib.files import repository
from course_lib.workspace import Workspace, WorkspaceError

START = "00-start-here.ipynb"
NEEDED = ("torch", "transformers", "jupyterlab", "ipywidgets", "nbgrader", "matplotlib")


def main(argv):
    """Open the course in JupyterLab; `argv` is handed on to it, such as --no-browser --port 8899.

    --teacher, the one option of our own, leaves nbgrader's menus and panels on.
    """
    root = repository()
    if not can_run():
        return _hand_over(root, argv)
    try:
        opened = open_workspace(Workspace(root))
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return 1
    teacher = "--teacher" in argv
    options = [option for option in argv if option != "--teacher"]
    return run(command(root, opened, options), root, server_environment(root, teacher))


def can_run():
    """Return whether this Python holds the course's packages."""
    return all(importlib.util.find_spec(name) for name in NEEDED)


def _hand_over(root, argv):
    """Prepare .venv as `make lab` does, and run this command with its Python."""
    python = environment.prepare(root)
    return run([str(python), "-m", "course_lib", "lab", *argv], root, dict(os.environ))


def open_workspace(workspace):
    """Copy the notebooks that work/ lacks, say so, and return the path to open, relative to the checkout."""
    added = workspace.add()
    if added:
        print(f"Copied {len(added)} notebooks to work/. They are yours: change them as you like.")
    unedited, edited = workspace.outdated()
    if unedited or edited:
        count = len(unedited) + len(edited)
        print(f"{count} notebooks in work/ have a newer version in the course: `course update` brings it.")
    start = START if START in workspace.names() else workspace.names()[0]
    return (workspace.work / start).relative_to(workspace.root)


def command(root, opened, argv):
    """Return JupyterLab's command line: the server's root is the checkout, `opened` is shown first."""
    allow = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [sys.executable, "-m", "jupyterlab", opened.as_posix(), f"--notebook-dir={root}", *allow, *argv]


def server_environment(root, teacher=False):
    """Return the server's environment: tools of this Python first on PATH, and one home for the learner's state.

    The settings in jupyter/ go in as JUPYTER_CONFIG_PATH, which the command line still overrides: `common`
    (no news, no update check) and, unless for a teacher, `learner` (no nbgrader, which also starts faster).
    """
    names = dict(os.environ)
    names["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), names.get("PATH", os.defpath)])
    folders = [str(Path(__file__).parent / "jupyter" / name) for name in ("common", *(() if teacher else ("learner",)))]
    names["JUPYTER_CONFIG_PATH"] = os.pathsep.join(folders + list(filter(None, [names.get("JUPYTER_CONFIG_PATH")])))
    names.setdefault("COURSE_HOME", str(Path(root) / ".course"))
    return names


def run(arguments, root, names):
    """Become the given program, in the checkout, so that a signal meets it and not a waiting parent."""
    sys.stdout.flush()
    if os.name == "posix":
        os.chdir(root)
        os.execvpe(arguments[0], arguments, names)
    return _wait(subprocess.Popen(arguments, cwd=root, env=names))


def _wait(child):
    """Wait for a child to its end (Windows cannot replace a process); Ctrl-C is the child's to answer."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue
