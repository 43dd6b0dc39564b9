"""Pictures: static plots (pure functions returning figures) and explorers (a picture that answers a slider).

`style()` gives matplotlib the course's look, `show(figure, alt=…)` puts a picture with its description into a notebook.
"""

from course_lib.lazy import names

_NAMES = {"show": "display", "style": "look", "plots": None, "explorers": None, "scene": None}
__getattr__, __dir__ = names(__name__, _NAMES)
