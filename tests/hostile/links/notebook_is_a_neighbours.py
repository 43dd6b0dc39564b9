"""The notebook is a symbolic link to what another student has handed in."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "failed"}


def arrange(folder, place):
    (notebook,) = folder.glob("*.ipynb")
    notebook.unlink()
    notebook.symlink_to(f"../../honest-neighbour/{folder.name}/{notebook.name}")


NAIVE = "points"
