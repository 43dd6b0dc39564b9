"""The student's folder has a name that is no valid UTF-8, with a line's end and terminal codes in it."""

STUDENT = "bad\udcff\nname\x1b[2J"
ABSENT = (r"\x1b\[2J",)
