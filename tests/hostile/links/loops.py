"""The notebook is a symbolic link to itself."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "failed"}


def arrange(folder, place):
    (notebook,) = folder.glob("*.ipynb")
    notebook.unlink()
    notebook.symlink_to(notebook.name)
