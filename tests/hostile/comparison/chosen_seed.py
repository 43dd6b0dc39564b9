"""Chooses the secret seed by an environment variable, so that the hidden cases are known; it reads as easily."""

WON = """
import os

os.environ["COURSE_SECRET_SEED"] = "7"


def won():
    from graded import ps01  # the cases of seed 7 and their answers would be here

    return bool(ps01.build(7))
"""
NAIVE = "points"
