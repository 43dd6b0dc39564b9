"""Reads and rewinds every open descriptor, and follows the names of /proc/self/fd."""

WON = r"""
import os, re

SECRET = re.compile(rb"CANARY[-][A-Z]{4}|ps01[.]score[(]|BEGIN[ ]HIDDEN|SQLite[ ]format")


def won():
    for number in range(3, 256):
        try:
            if SECRET.search(os.pread(number, 1 << 20, 0)):
                return True
        except OSError:
            pass
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
            if name.startswith("/") and not name.startswith(("/dev", "/proc")) and os.path.isdir(name):
                if any(entry.endswith((".db", ".ipynb")) for entry in os.listdir(name)):
                    return True
        except OSError:
            pass
    return False
"""
