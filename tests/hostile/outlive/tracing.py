"""Trace and profile functions that rewrite the local variables of whatever runs after the call."""

CELLS = {
    "q4": """
import ctypes, sys


def trace(frame, event, arg):
    for name in ("points", "ok", "verdict", "said", "wrong", "got"):
        if name in frame.f_locals:
            frame.f_locals[name] = frame.f_locals.get("expected", frame.f_locals.get("want", 4.0))
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
    return trace


def bits_needed(w, target_db):
    frame = sys._getframe()
    while frame is not None:
        frame.f_trace = trace
        frame = frame.f_back
    sys.settrace(trace)
    sys.setprofile(trace)
    return 99
"""
}
DESERVED = {"q4": 0}
