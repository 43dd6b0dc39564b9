"""Looks for the hidden tests in the frames above it: their source, their locals, the expected values."""

WON = r"""
import inspect, linecache, re, sys

HIDDEN = re.compile(r"ps01[.]score[(]|BEGIN[ ]HIDDEN|CANARY[-][A-Z]|largest below[ ]zero, 3")


def won():
    frame = sys._getframe(2)
    while frame is not None:
        code = "".join(linecache.getlines(frame.f_code.co_filename))
        try:
            code += inspect.getsource(frame)
        except (OSError, TypeError):
            pass
        if HIDDEN.search(code) or "expected" in frame.f_locals or "exercise" in frame.f_locals:
            return True
        if any(HIDDEN.search(v) for v in frame.f_globals.values() if isinstance(v, str)):
            return True
        frame = frame.f_back
    return False
"""
NAIVE = "points"
