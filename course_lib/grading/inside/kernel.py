"""The few calls into Linux that Python does not offer: namespaces, mounts, capabilities."""

import ctypes
import os

NEW_NS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = NEW_NS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_USER | NEW_PID | NEW_NET

READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DUMPABLE, KEEP_CAPABILITIES, CAP_DROP, NO_NEW_PRIVILEGES, AMBIENT = 4, 8, 24, 38, 47
SET_GID, SET_UID, SYS_ADMIN = 6, 7, 21
HUGE, COLLAPSE = 2**21, 25  # bytes of a huge page; madvise's request to make some

_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock during a call
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _checked(_libc.unshare(flags), "unshare")


def fork() -> int:
    """fork(2), for a process of one thread: what os.fork does for lost threads' locks writes to 200 pages."""
    if len(os.listdir("/proc/self/task")) > 1:
        return os.fork()
    pid = _python.fork()
    _checked(min(pid, 0), "fork")
    return pid


def enter_namespace(fd: int, kind: int) -> None:
    """Move this process, or for pids its future children, into the namespace that an open file stands for."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    args = (os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, options.encode() or None)
    _checked(_libc.mount(*args), f"mount on {target}")


def prctl(option: int, value: int = 0) -> None:
    """prctl(2) with one argument."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def use_huge_pages() -> None:
    """Have this process's own memory in pages of 2 MiB where Linux (from 6.1 on) can: a fork then copies 1 for 512."""
    with open("/proc/self/maps") as file:
        maps = [line.split() for line in file]
    for where, rights, *rest in maps:
        start, end = (int(number, 16) for number in where.split("-"))
        first, last = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        if rights == "rw-p" and rest[2] == "0" and first < last:  # no file's
            _libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), COLLAPSE)


_VERSION_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)  # of capset, for this process
_NOTHING = (ctypes.c_uint32 * 6)()


def keep_only(*capabilities: int) -> None:
    """Give up every capability but these."""
    bits = sum(1 << capability for capability in capabilities)
    _checked(_libc.capset(_VERSION_3, (ctypes.c_uint32 * 6)(bits, bits)), "capset")


def drop_capabilities() -> None:
    """Give up every capability for good, those that a later exec could give included."""
    prctl(NO_NEW_PRIVILEGES, 1)
    last = 0
    while _libc.prctl(CAP_DROP, ctypes.c_ulong(last), 0, 0, 0) == 0:
        last += 1
    _libc.prctl(AMBIENT, ctypes.c_ulong(4), 0, 0, 0)  # clear all
    _checked(_libc.capset(_VERSION_3, _NOTHING), "capset")


def prctl_pointer(option: int, value: int, data: bytes) -> None:
    """prctl(2) whose third argument points at `data`."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_char_p(data), 0, 0), f"prctl {option}")
