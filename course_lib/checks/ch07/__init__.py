"""The exercises of chapter 07: who carries the load, protected columns, the search, clipping, heads that share."""

from course_lib.checks.ch07.clip import EXERCISE as clip
from course_lib.checks.ch07.protected import EXERCISE as protected
from course_lib.checks.ch07.salient import EXERCISE as salient
from course_lib.checks.ch07.search import EXERCISE as search
from course_lib.checks.ch07.tied import EXERCISE as tied

EXERCISES = (salient, protected, search, clip, tied)
