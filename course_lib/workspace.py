"""The learner's copies of the notebooks: work/ is theirs, notebooks/ stays as the course has it.

A copy counts as edited when its *sources* differ from what was copied: running a notebook, which only
changes outputs and counters, is no edit. What was copied is remembered by hash in COURSE_HOME.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

from course_lib.files import course_home, repository, write_atomic

STATE = "workspace.json"  # in COURSE_HOME: {notebook name: fingerprint of what was copied}


class WorkspaceError(Exception):
    """The learner's copies cannot be made; the message is one sentence."""


def fingerprint(data):
    """Return the hash of a notebook's cells (type, source, attachments), or of the bytes if it is not a notebook.

    >>> ran = b'{"cells": [{"cell_type": "code", "source": ["1"], "outputs": [5], "execution_count": 3}]}'
    >>> new = b'{"cells": [{"cell_type": "code", "source": "1", "outputs": []}]}'
    >>> fingerprint(ran) == fingerprint(new)
    True
    """
    try:
        cells = [
            (cell["cell_type"], "".join(cell["source"]), cell.get("attachments", {}))
            for cell in json.loads(data)["cells"]
        ]
        data = json.dumps(cells, sort_keys=True).encode()
    except (ValueError, KeyError, TypeError):
        pass
    return hashlib.sha256(data).hexdigest()


class Workspace:
    """The folders of one checkout: `notebooks/` (the course's) and `work/` (the learner's)."""

    def __init__(self, root=None, home=None):
        """Stand on the checkout at `root` with state in `home`; both default to this course's own."""
        self.root = Path(root or repository())
        self.originals = self.root / "notebooks"
        self.work = self.root / "work"
        self.state_file = Path(home or course_home()) / STATE

    def names(self):
        """Return the names of the course's notebooks, in order; WorkspaceError when there are none."""
        names = sorted(path.name for path in self.originals.glob("*.ipynb"))
        if not names:
            raise WorkspaceError(f"There are no notebooks in {self.originals}, so there is nothing to open.")
        return names

    def state(self):
        """Return what was copied, by name; empty when nothing is remembered."""
        try:
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
            return state if isinstance(state, dict) else {}
        except (OSError, ValueError):
            return {}

    def add(self):
        """Copy every notebook that work/ lacks, the pictures and the glossary; return the names added."""
        names = self.names()
        self.work.mkdir(exist_ok=True)
        self._copy_pictures()
        return [self._copy(name) for name in names if not (self.work / name).exists()]

    def outdated(self):
        """Return the names in work/ whose original has changed since: (unedited, edited)."""
        state, unedited, edited = self.state(), [], []
        for name in self.names():
            mine = self.work / name
            if not mine.exists():
                continue
            now = fingerprint(mine.read_bytes())
            new = fingerprint((self.originals / name).read_bytes())
            if now == new or state.get(name) == new:
                continue  # the same text, or the learner's edits of this very version
            (unedited if state.get(name) == now else edited).append(name)
        return unedited, edited

    def update(self):
        """Add what is new and refresh what was never edited; return (added, refreshed, kept) names."""
        added = self.add()
        unedited, edited = self.outdated()
        for name in unedited:
            if (self.work / name).read_bytes() != (self.originals / name).read_bytes():
                self.backup(name)  # it may hold outputs
            self._copy(name)
        return added, unedited, edited

    def find(self, which):
        """Return the one notebook that `which` means: "4", "04", "04-granularity" or the file name."""
        text = str(which).removesuffix(".ipynb")
        text = text.zfill(2) if text.isdigit() else text
        found = [name for name in self.names() if name.removesuffix(".ipynb") == text or name.startswith(text + "-")]
        if len(found) != 1:
            known = ", ".join(name.removesuffix(".ipynb") for name in self.names())
            raise WorkspaceError(f"No one notebook is called {str(which)!r}; there are {known}.")
        return found[0]

    def reset(self, which):
        """Restore one notebook; return its name and the backup's path (None when there was no copy)."""
        name = self.find(which)
        self.work.mkdir(exist_ok=True)
        kept = self.backup(name) if (self.work / name).exists() else None
        return self._copy(name), kept

    def backup(self, name):
        """Copy work/`name` to work/backups/ under a name of its own; return that path."""
        folder = self.work / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{Path(name).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        path, count = folder / f"{stem}.ipynb", 1
        while path.exists():
            count += 1
            path = folder / f"{stem}-{count}.ipynb"
        write_atomic(path, (self.work / name).read_bytes())
        return path

    def write(self, name, data):
        """Write a notebook made for this learner to work/; return the backup's path if an edited one lay there."""
        target = self.work / name
        self.work.mkdir(exist_ok=True)
        edited = target.exists() and self.state().get(name) != fingerprint(target.read_bytes())
        kept = self.backup(name) if edited else None
        self._put(name, data)
        return kept

    def _copy(self, name):
        self._put(name, (self.originals / name).read_bytes())
        return name

    def _put(self, name, data):
        write_atomic(self.work / name, data)
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.state_file, json.dumps({**self.state(), name: fingerprint(data)}, indent=1) + "\n")

    def _copy_pictures(self):
        if (self.originals / "img").is_dir():
            shutil.copytree(self.originals / "img", self.work / "img", dirs_exist_ok=True)
        for page in self.originals.glob("*.md"):  # the glossary
            shutil.copyfile(page, self.work / page.name)


def _say(verb, names, note=""):
    if names:
        print(f"{verb} {', '.join(names)}{note}")


def update_main(argv):
    """`course update`: bring work/ up to date and say what was done."""
    argparse.ArgumentParser(prog="course update", description=update_main.__doc__).parse_args(argv)
    try:
        added, refreshed, kept = Workspace().update()
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return 1
    _say("Added to work/:", added)
    _say("Refreshed in work/ (you had not edited them):", refreshed)
    _say("Kept as you edited them:", kept, "; `course reset NN` takes the course's new version and keeps a backup.")
    if not (added or refreshed or kept):
        print("work/ has every notebook in its latest version.")
    return 0


def reset_main(argv):
    """`course reset NN`: restore one notebook in work/, keeping a backup of the learner's."""
    options = argparse.ArgumentParser(prog="course reset", description=reset_main.__doc__)
    options.add_argument("notebook", help="a chapter number such as 04, or a notebook's name")
    workspace = Workspace()
    try:
        name, kept = workspace.reset(options.parse_args(argv).notebook)
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Restored work/{name} from the course.")
    print(f"Your version is kept as {kept.relative_to(workspace.root)}." if kept else "There was no copy to back up.")
    return 0
