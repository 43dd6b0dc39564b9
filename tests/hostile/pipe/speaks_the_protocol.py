"""Finds the module that encodes replies, and floods the grader with well-formed ones: errors, values, ready, ready."""

CELLS = {
    "q2": """
import os, sys, time

wire = next((m for n, m in list(sys.modules.items()) if n.endswith("wire") and hasattr(m, "frame")), None)


def flood(*messages):
    frames = [wire.frame(message) for message in messages] if wire else []
    end = time.time() + 30
    while frames and time.time() < end:
        for number in range(3, 16):
            for frame in frames:
                try:
                    os.write(number, frame)
                except OSError:
                    break


def scale_up(s):
    values = [("value", n, 0 * s + 7, ((s,), {})) for n in range(1, 20)]
    late = ("error", 1, {"type": "TimeUp", "text": "x" * 300, "line": "", "number": 1})
    flood(*values, ("ready", {"scale_up": ("value", 0 * s)}), late, ("begin", 3), ("value", 2**70, None))
    return 0 * s
"""
}
DESERVED = {"q2": 0}
TAME = False
