"""The exercises of chapter 02: where zero lies on the ruler, and where the ruler ends."""

from course_lib.checks.ch02.best_clip import EXERCISE as best_clip
from course_lib.checks.ch02.break_watch import EXERCISE as break_watch
from course_lib.checks.ch02.clamped import EXERCISE as clamped
from course_lib.checks.ch02.parameters import EXERCISE as parameters
from course_lib.checks.ch02.worth import EXERCISE as worth
from course_lib.checks.ch02.zero_range import EXERCISE as zero_range

EXERCISES = (parameters, worth, clamped, zero_range, best_clip, break_watch)
