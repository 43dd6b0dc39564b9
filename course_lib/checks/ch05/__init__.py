"""The exercises of chapter 05: whole-number products, zero-point terms, outliers moved into weights, NF4's levels."""

from course_lib.checks.ch05.best_alpha import EXERCISE as best_alpha
from course_lib.checks.ch05.fold import EXERCISE as fold
from course_lib.checks.ch05.int8_linear import EXERCISE as int8_linear
from course_lib.checks.ch05.int_matmul import EXERCISE as int_matmul
from course_lib.checks.ch05.normal_levels import EXERCISE as normal_levels
from course_lib.checks.ch05.smooth_scales import EXERCISE as smooth_scales

EXERCISES = (int8_linear, int_matmul, smooth_scales, fold, best_alpha, normal_levels)
