"""`python -m course_lib …` is `course …`, and needs no installed package to begin with."""

import sys

from course_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
