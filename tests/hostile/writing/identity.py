"""Changes user and group back to root and to others, and asks for capabilities."""

WON = """
import ctypes, os


def won():
    for change in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([0]),
                   lambda: os.chroot("/"), lambda: os.nice(-20), lambda: os.sched_setaffinity(1, {0})):
        try:
            change()
        except OSError:
            pass
    ctypes.CDLL(None).reboot(0x89ABCDEF)  # only switches Ctrl-Alt-Del off, which root may do
    return os.access("/etc/shadow", os.R_OK) or os.access("/root", os.W_OK)
"""
NAIVE = "points"
TAME = False
