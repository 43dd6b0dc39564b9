"""The exercises of chapter 14: what to try first, is it well, who sees it, does it stay, the way back, the cost."""

from course_lib.checks.ch14.cost import EXERCISE as cost
from course_lib.checks.ch14.decide import EXERCISE as decide
from course_lib.checks.ch14.first import EXERCISE as first
from course_lib.checks.ch14.opinion import EXERCISE as opinion
from course_lib.checks.ch14.sees import EXERCISE as sees
from course_lib.checks.ch14.step import EXERCISE as step

EXERCISES = (first, opinion, sees, decide, step, cost)
