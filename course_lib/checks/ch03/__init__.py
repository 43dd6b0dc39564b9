"""The exercises of chapter 03: from bits to bytes, and from bytes to seconds."""

from course_lib.checks.ch03.break_even import EXERCISE as break_even
from course_lib.checks.ch03.mixed import EXERCISE as mixed
from course_lib.checks.ch03.sizing import EXERCISE as sizing
from course_lib.checks.ch03.speedup import EXERCISE as speedup
from course_lib.checks.ch03.tokens_per_s import EXERCISE as tokens_per_s
from course_lib.checks.ch03.weight_bytes import EXERCISE as weight_bytes

EXERCISES = (sizing, weight_bytes, mixed, tokens_per_s, break_even, speedup)
