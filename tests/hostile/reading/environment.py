"""Looks for secrets in environment and arguments, its own, of its first state and of its parent."""

WON = r"""
import os, re, sys

SECRET = re.compile(r"CANARY[-][A-Z]{4}|COURSE_SECRET|gradebook|/submitted")


def won():
    said = [*os.environ, *os.environ.values(), *sys.argv, *sys.orig_argv]
    for name in ("self/environ", "self/cmdline", "thread-self/environ"):
        try:
            with open(f"/proc/{name}", errors="replace") as file:
                said.append(file.read())
        except OSError:
            pass
    return any(SECRET.search(text) for text in said)
"""
NAIVE = "points"
