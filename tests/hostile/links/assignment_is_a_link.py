"""The assignment's folder is a symbolic link to the instructor's sources."""

import shutil

from tests.hostile import bank

DESERVED = dict.fromkeys(bank.QUESTIONS, 0)
STATUS = {"unreadable", "failed"}


def arrange(folder, place):
    shutil.rmtree(folder)
    folder.symlink_to(bank.source_path().parent, target_is_directory=True)


NAIVE = "points"
