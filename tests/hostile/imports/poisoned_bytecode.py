"""Overwrites cached bytecode and source of torch, of the course, and of anything else that it can."""

WON = """
import os, sys

written = []
for module in list(sys.modules.values()):
    for path in (getattr(module, "__cached__", None), getattr(module, "__file__", None)):
        try:
            with open(path, "r+b"):
                written.append(path)  # it could be written; nothing is
        except (OSError, TypeError):
            pass
    if len(written) > 3:
        break


def won():
    return bool(written)
"""
NAIVE = "points"
TAME = False
