"""A quicker start: what nbgrader's import pulls in and no command here uses."""

import contextlib
import importlib
import sys


@contextlib.contextmanager
def without(name: str):
    """Within, importing this module fails, as if it were not installed; one that is loaded already stays."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None
    try:
        yield
    finally:
        del sys.modules[name]


def nbgrader() -> None:
    """Import nbgrader's gradebook in 1.2 s of processor time in the place of 3.1 s.

    nbgrader imports jsonschema, and that builds a grammar of internationalized addresses (rfc3987_syntax) if there is
    one; it goes without where there is none, and no notebook has such an address to be checked.
    """
    with without("rfc3987_syntax"):
        importlib.import_module("nbgrader.api")
