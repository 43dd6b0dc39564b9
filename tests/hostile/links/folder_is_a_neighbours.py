"""The student's folder is a symbolic link to another student's."""

import shutil

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "failed"}


def arrange(folder, place):
    shutil.rmtree(folder.parent)
    folder.parent.symlink_to("honest-neighbour", target_is_directory=True)


NAIVE = "points"
