"""The file's name has lines and terminal codes in it, which would look like more lines of the grader's table."""

FILE = "ps01\n\x1b[2Jzz_everybody  4 4 4 4 4  20 of 20  graded.ipynb"
STATUS = {"recovered"}
ABSENT = (r"\x1b\[2J",)
