"""The exercises of chapter 07: salient channels, protecting, searching (and a broken search), clipping, sharing."""

from course_lib.checks.ch07.break_search import EXERCISE as break_search
from course_lib.checks.ch07.clip import EXERCISE as clip
from course_lib.checks.ch07.protected import EXERCISE as protected
from course_lib.checks.ch07.salient import EXERCISE as salient
from course_lib.checks.ch07.search import EXERCISE as search
from course_lib.checks.ch07.tied import EXERCISE as tied

EXERCISES = (salient, protected, search, break_search, clip, tied)
