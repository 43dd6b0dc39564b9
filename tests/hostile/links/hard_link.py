"""Beside the notebook lies a hard link to a secret of the teacher's, named as a notebook."""

import os


def arrange(folder, place):
    os.link(place.secret, folder / "notes.ipynb")
