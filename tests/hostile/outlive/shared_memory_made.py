"""Makes System V shared memory that outlives its process, and holds locks on every file that questions share."""

CELLS = {
    "q2": """
import ctypes, fcntl, os, sys

ctypes.CDLL(None).shmget(0x5F2B90C1, 4096, 0o1666)
held = []
for path in [sys.executable, torch.__file__, *sys.path]:
    try:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass


def scale_up(s):
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
TAME = False
