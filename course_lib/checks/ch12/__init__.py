"""The exercises of chapter 12: a mask, codes out of words, a GEMV, a magic number, a roofline, an epilogue."""

from course_lib.checks.ch12.dequantize import EXERCISE as dequantize
from course_lib.checks.ch12.epilogue import EXERCISE as epilogue
from course_lib.checks.ch12.gemv import EXERCISE as gemv
from course_lib.checks.ch12.magic import EXERCISE as magic
from course_lib.checks.ch12.predicted import EXERCISE as predicted
from course_lib.checks.ch12.row_sum import EXERCISE as row_sum

EXERCISES = (row_sum, dequantize, predicted, gemv, magic, epilogue)
