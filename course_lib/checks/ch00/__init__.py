"""The exercise of chapter 00: the one line that the bot then runs on."""

from course_lib.checks.ch00.rounding import EXERCISE as rounding

EXERCISES = (rounding,)
