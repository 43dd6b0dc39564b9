"""Takes over every signal handler, sends itself alarms, and never comes back."""

CELLS = {
    "q2": """
import signal


def scale_up(s):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        pass
"""
}
DESERVED = {"q2": 0}
TAME = False
