"""The notebook is a symbolic link to the instructor's."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "failed", "graded", "needs_manual"}


def arrange(folder, place):
    (notebook,) = folder.glob("*.ipynb")
    notebook.unlink()
    notebook.symlink_to(bank.source_path())


NAIVE = "points"
