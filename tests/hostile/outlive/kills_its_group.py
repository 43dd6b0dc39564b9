"""Signals its process group, which a fork has from its parent: it may hold processes that nobody sees in here."""

WON = """
import os, signal


def won():
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
        for send in (os.kill, os.killpg):
            try:
                send(0, number)
            except OSError:
                pass
    return os.getpgid(0) == 0  # a group of the outside has no number in here
"""
TAME = False
