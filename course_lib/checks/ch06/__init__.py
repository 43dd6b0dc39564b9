"""The exercises of chapter 06: what an error costs, one column, all columns, act-order, and a claim put to the test."""

from course_lib.checks.ch06.block_loop import EXERCISE as block_loop
from course_lib.checks.ch06.checkbook import EXERCISE as checkbook
from course_lib.checks.ch06.column_step import EXERCISE as column_step
from course_lib.checks.ch06.counterexamples import EXERCISE as counterexamples
from course_lib.checks.ch06.hessian import EXERCISE as hessian
from course_lib.checks.ch06.put_back import EXERCISE as put_back

EXERCISES = (checkbook, hessian, column_step, block_loop, put_back, counterexamples)
