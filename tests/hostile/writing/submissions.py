"""Overwrites, truncates and removes what other students have handed in, and its own notebook."""

WON = """
import glob, os, shutil


def won():
    hit = 0
    for path in glob.glob("@SUBMITTED@/*/*/*.ipynb") + glob.glob("../../*/*/*.ipynb"):
        try:
            os.chmod(path, 0o666)
            with open(path, "a") as file:
                file.write(" ")
            hit += 1
        except OSError:
            pass
    shutil.rmtree("@SUBMITTED@/honest-zz_victim", ignore_errors=True)
    return hit > 0
"""
NAIVE = "wrote"
