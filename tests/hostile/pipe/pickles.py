"""Writes pickles that would run a program into every descriptor, and returns objects that pickle to the same."""

CELLS = {
    "q2": """
import os, pickle


class Bomb:
    def __reduce__(self):
        return os.system, ("touch @PLACE@/WROTE-pickle /tmp/WROTE-pickle",)


def scale_up(s):
    data = pickle.dumps(Bomb())
    for number in range(1, 256):
        for frame in (data, len(data).to_bytes(4, "big") + data, len(data).to_bytes(8, "little") + data):
            try:
                os.set_blocking(number, False)
                os.write(number, frame)
            except OSError:
                pass
    return Bomb()
"""
}
DESERVED = {"q2": 0}
TAME = False
