"""Walks through the whole file system for databases, notebooks, keys and graded modules."""

WON = """
import functools
import os, time


@functools.cache  # once is enough
def won():
    end = time.time() + 2
    for top in ("/work", "/home", "/root", "/tmp", "/var", "/mnt", "/srv", "/opt", "/run", "/"):
        for folder, folders, files in os.walk(top):
            if "site-packages" in folder or folder.startswith(("/proc", "/sys", "/usr")) or time.time() > end:
                folders.clear()
                continue
            for name in files:
                if name in ("id_rsa", ".pgpass", "secret.txt") or name.endswith((".db", ".ipynb")):
                    return True
                if "graded" in folder:
                    return True
    return False
"""
NAIVE = "points"
