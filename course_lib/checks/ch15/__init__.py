"""The exercises of chapter 15: gradients through rounding, a step that counts, a rotation, files, guesses, a rubric."""

from course_lib.checks.ch15.fold import EXERCISE as fold
from course_lib.checks.ch15.gradients import EXERCISE as gradients
from course_lib.checks.ch15.level import EXERCISE as level
from course_lib.checks.ch15.off_by import EXERCISE as off_by
from course_lib.checks.ch15.step import EXERCISE as step
from course_lib.checks.ch15.who_made import EXERCISE as who_made

EXERCISES = (gradients, step, fold, who_made, off_by, level)
