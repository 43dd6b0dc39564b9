"""A daemon, forked twice in a session of its own, that would still be there when the next student is graded."""

CELLS = {
    "q2": """
import ctypes, os, time


def daemon():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    ctypes.CDLL(None).prctl(15, b"hostile-daemon", 0, 0, 0)
    end = time.time() + 900
    while time.time() < end:
        time.sleep(0.2)
        for path in ("/tmp/WROTE-daemon", "@PLACE@/WROTE-daemon", "@SUBMITTED@/WROTE-daemon"):
            try:
                open(path, "w").close()
            except OSError:
                pass
    os._exit(0)


daemon()


def scale_up(s):
    return 0 * s
"""
}
DESERVED = {"q2": 0}
TAME = False
