"""Replies, but slowly: each call of one function takes ages, the other dribbles bytes for ever."""

CELLS = {
    "q2": "import time\n\n\ndef scale_up(s):\n    time.sleep(3600)\n",
    "q3": """
import os, time


def split_error(w, s, b):
    while True:
        for number in range(1, 64):
            try:
                os.set_blocking(number, False)
                os.write(number, b" ")
            except OSError:
                pass
        time.sleep(0.1)
""",
}
DESERVED = {"q2": 0, "q3": 0}
TAME = False
