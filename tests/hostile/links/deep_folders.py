"""Folders in folders, fifteen hundred of them: whoever walks down by recursion falls, and the class with him."""

import os


def arrange(folder, place):
    path = str(folder)
    for _ in range(1500):
        path += "/d"
        os.mkdir(path)
    with open(f"{path}/deep.ipynb", "w") as file:
        file.write("{}")
