"""Threads that go on after the call, patch builtins again and again, and keep the process from ending."""

CELLS = {
    "q2": """
import builtins, threading, time


def patch():
    while True:
        builtins.abs = lambda x: 0
        time.sleep(0.01)


for _ in range(8):
    threading.Thread(target=patch, daemon=False).start()


def scale_up(s):
    threading.Thread(target=patch, daemon=False).start()
    return 0 * s
"""
}
DESERVED = {"q2": 0}
TAME = False
