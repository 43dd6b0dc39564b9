"""The exercises of chapter 01: one number, rounded to a few bits and back."""

from course_lib.checks.ch01.break_narrow import EXERCISE as break_narrow
from course_lib.checks.ch01.error_bound import EXERCISE as error_bound
from course_lib.checks.ch01.pick_step import EXERCISE as pick_step
from course_lib.checks.ch01.round_trip import EXERCISE as round_trip
from course_lib.checks.ch01.scale import EXERCISE as scale

EXERCISES = (round_trip, scale, error_bound, pick_step, break_narrow)
