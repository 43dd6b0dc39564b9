"""The exercises of chapter 10: small floats both ways, FP8 rows, MXFP4, NVFP4, a budget."""

from course_lib.checks.ch10.cheapest import EXERCISE as cheapest
from course_lib.checks.ch10.fp8_rows import EXERCISE as fp8_rows
from course_lib.checks.ch10.mx_block import EXERCISE as mx_block
from course_lib.checks.ch10.nearest import EXERCISE as nearest
from course_lib.checks.ch10.nvfp4 import EXERCISE as nvfp4
from course_lib.checks.ch10.value import EXERCISE as value

EXERCISES = (value, nearest, fp8_rows, mx_block, nvfp4, cheapest)
