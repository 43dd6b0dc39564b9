"""The exercises of chapter 04: who shares a scale, what it costs, how codes are packed, and what a model lost."""

from course_lib.checks.ch04.compare import EXERCISE as compare
from course_lib.checks.ch04.pack import EXERCISE as pack
from course_lib.checks.ch04.per_group import EXERCISE as per_group
from course_lib.checks.ch04.restore import EXERCISE as restore
from course_lib.checks.ch04.smallest_group import EXERCISE as smallest_group
from course_lib.checks.ch04.unpack import EXERCISE as unpack

EXERCISES = (per_group, restore, compare, smallest_group, pack, unpack)
