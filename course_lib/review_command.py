"""`course review`: today's reviews as work/review.ipynb, made from the learner's log; nothing leaves the machine."""

import argparse
import sys

from course_lib.checks import review_notebook, reviews, store
from course_lib.workspace import Workspace, WorkspaceError


def main(argv=None) -> int:
    """`course review [--show]`: write what is due today into work/review.ipynb, or only say it."""
    about = "Write the exercises that are due for review today into work/review.ipynb: blank, at most five."
    parser = argparse.ArgumentParser(prog="course review", description=about)
    parser.add_argument("--show", action="store_true", help="say what is due when, and write nothing")
    options = parser.parse_args(argv)
    found = reviews.Due()
    shown = [found.title(), *("  ".join(row) for row in found.rows()), *found.rest(), *store.trouble()]
    try:
        print("\n".join([*shown, *(write(found) if found.chosen and not options.show else [])]))
    except (WorkspaceError, OSError) as error:
        print(f"course review: {error}", file=sys.stderr)
        return 1
    return 0


def write(found: reviews.Due, workspace: Workspace | None = None) -> list[str]:
    """Write the notebook; an edited one is kept as a backup, one of today's that asks for all this stays as it is.

    Returns the sentences that say what was done. Errors: WorkspaceError, OSError.
    """
    workspace = workspace or Workspace()
    workspace.add()  # the chapters that it links to
    name, today = review_notebook.NAME, found.today
    at = workspace.work / name
    if at.exists() and review_notebook.covers(at.read_bytes(), found.chosen, today):
        return [f"work/{name} asks for them already; it stays as it is."]
    files = {f"ch{file[:2]}": file for file in workspace.names()}
    absent = sorted({c.exercise[:4] for c in found.chosen} - set(files))
    if absent:
        raise WorkspaceError(f"There is no notebook of {', '.join(absent)} in {workspace.originals}.")
    kept = workspace.write(name, review_notebook.notebook(found.chosen, today, files))
    lines = [f"They are in work/{name}: open it in JupyterLab, and write each from memory."]
    return [*lines, *([f"What you had there is kept as {kept.relative_to(workspace.root)}."] if kept else [])]
