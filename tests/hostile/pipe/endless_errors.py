"""A cell that reports errors of cells that do not exist, a million of them, and is never ready."""

CELLS = {
    "q2": """
import os, sys, time

wire = next((m for n, m in list(sys.modules.items()) if n.endswith("wire") and hasattr(m, "frame")), None)
end = time.time() + 30
number = 0
while wire and time.time() < end:
    number = (number + 1) % 900_000
    said = {"type": "x" * 60, "text": "x" * 300, "line": "x" * 200, "number": number}
    os.write(3, wire.frame(("error", number, said)))
"""
}
DESERVED = {"q2": 0}
TAME = False
SLOW = True
