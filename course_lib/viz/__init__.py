"""Pictures: static plots (pure functions returning figures) and explorers (a picture that answers a slider).

`style()` gives matplotlib the course's look, `show(figure, alt=…)` puts a picture with its description into a notebook.
"""

import importlib

_NAMES = {"show": ".display", "style": ".look"}
_MODULES = ("plots", "explorers", "scene", "pictures")


def __getattr__(name):
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name], __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"course_lib.viz has no {name!r}; it has {', '.join((*_NAMES, *_MODULES))}")


def __dir__():
    return sorted([*globals(), *_NAMES, *_MODULES])
