"""What is named like the notebook is a folder."""

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "failed"}


def arrange(folder, place):
    (notebook,) = folder.glob("*.ipynb")
    notebook.unlink()
    notebook.mkdir()
    (notebook / "inside.ipynb").write_text("{}")
