"""The exercises of chapter 11: four kinds of attention, rounding by channel or token, a window, pages, a crossover."""

from course_lib.checks.ch11.cache_bytes import EXERCISE as cache_bytes
from course_lib.checks.ch11.crossover import EXERCISE as crossover
from course_lib.checks.ch11.leave import EXERCISE as leave
from course_lib.checks.ch11.pages import EXERCISE as pages
from course_lib.checks.ch11.saved import EXERCISE as saved
from course_lib.checks.ch11.squeeze import EXERCISE as squeeze

EXERCISES = (cache_bytes, saved, pages, squeeze, leave, crossover)
