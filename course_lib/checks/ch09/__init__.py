"""The exercises of chapter 09: a block's bytes, packed scales, codes in two places, a scale's search, who gets bits."""

from course_lib.checks.ch09.fit import EXERCISE as fit
from course_lib.checks.ch09.importance import EXERCISE as importance
from course_lib.checks.ch09.q4_0 import EXERCISE as q4_0
from course_lib.checks.ch09.q6 import EXERCISE as q6
from course_lib.checks.ch09.scales import EXERCISE as scales
from course_lib.checks.ch09.spend import EXERCISE as spend

EXERCISES = (q4_0, scales, q6, fit, importance, spend)
