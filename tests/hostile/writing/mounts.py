"""Becomes root in a namespace of its own, mounts the system writable, and looks under what was mounted over."""

WON = """
import ctypes, os, re

libc = ctypes.CDLL(None, use_errno=True)
CANARY = re.compile("CANARY[-]")


def won():
    libc.unshare(0x10000000 | 0x00020000)  # user and mount namespaces
    for path, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        try:
            with open(f"/proc/self/{path}", "w") as file:
                file.write(text)
        except OSError:
            pass
    for spot in (b"/tmp", b"/proc", b"/work", b"/root", b"/home", b"/etc", b"/"):
        libc.umount2(spot, 2)
        libc.mount(b"none", spot, None, 32 | 4096, None)  # remount, bind, without read-only
    for path in ("@SECRET@", "@HOME@/.pgpass", "@ROOT@/graded/ps01/q2.py", "/proc/1/root@SECRET@"):
        try:
            with open(path) as file:
                return bool(file.read(9))
        except OSError:
            pass
    for path in ("/etc/WROTE-mounts", "/usr/WROTE-mounts", "@ROOT@/WROTE-mounts"):
        try:
            open(path, "w").close()
            return True
        except OSError:
            pass
    return False
"""
TAME = False
