"""A named pipe beside the notebook: whoever reads or copies it waits for ever."""

import os


def arrange(folder, place):
    os.mkfifo(folder / "data.txt")
