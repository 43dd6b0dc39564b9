"""The exercises of chapter 13: drift, an interval, McNemar's test, items for a margin, a claim, the gate."""

from course_lib.checks.ch13.claim import EXERCISE as claim
from course_lib.checks.ch13.drift import EXERCISE as drift
from course_lib.checks.ch13.items import EXERCISE as items
from course_lib.checks.ch13.judge import EXERCISE as judge
from course_lib.checks.ch13.mcnemar import EXERCISE as mcnemar
from course_lib.checks.ch13.wilson import EXERCISE as wilson

EXERCISES = (drift, wilson, mcnemar, items, claim, judge)
