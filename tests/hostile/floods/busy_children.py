"""Children that compute for ever on every core, started and left."""

CELLS = {
    "q2": """
import os, time


def scale_up(s):
    for _ in range(6):
        if not os.fork():
            end = time.time() + 120
            while time.time() < end:
                pass
            os._exit(0)
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
DESERVED = {"q2": (0, 4)}
TAME = False
SLOW = True
