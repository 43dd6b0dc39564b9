"""Shut one fork of the template into namespaces, mounts and limits of its own."""

import os
import resource

from . import kernel

OUTSIDE = "/masks"  # what bubblewrap has bound there hides a file or a folder: /masks/file, /masks/folder
INSIDE_UID = 1000


def enter(uid: int, gid: int) -> None:
    """New namespaces for everything but pids, which the nursery has made."""
    kernel.unshare(kernel.NAMESPACES & ~kernel.NEW_PID)
    own(uid, gid, INSIDE_UID)


def become(uid: int, kept: tuple[int, ...] = ()) -> None:
    """Be another user, with no capability but those that are kept. Nobody may then look into this process."""
    kernel.prctl(kernel.KEEP_CAPABILITIES, int(bool(kept)))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.keep_only(*kept)


def own(uid: int, gid: int, inside: int) -> None:
    """Be `inside` in the user namespace that this process has just made."""
    maps = {"setgroups": "deny", "uid_map": f"{inside} {uid} 1", "gid_map": f"{inside} {gid} 1"}
    for name, text in maps.items():
        _write(f"/proc/self/{name}", text.encode())


def go_first() -> None:
    """Where memory gets short, Linux is to end this process and its children, and nobody who watches them."""
    try:
        _write("/proc/self/oom_score_adj", b"1000")
    except OSError:  # a system that lets nobody say so
        pass


class Nursery:
    """This process as one that may give each of its forks a pid namespace: it is itself the first in one of its own.

    Without that, each fork would have to fork again, and copy and clear the template's page tables twice. The process
    owns nothing else than those namespaces: no mount, no network. What it was before waits for it, and ends with it.
    """

    def __init__(self):
        self.refusal = None  # where Linux refuses, `fork` does, too
        uid, gid = os.getuid(), os.getgid()
        try:
            kernel.unshare(kernel.NEW_USER | kernel.NEW_PID)
            own(uid, gid, uid)
            kernel.keep_only(kernel.SYS_ADMIN)
        except OSError as error:
            self.refusal = error
            return
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            os._exit(1)
        self.home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self) -> int:
        """Fork; the child is the first process of a new pid namespace. Errors: OSError."""
        if self.refusal:
            raise self.refusal
        kernel.unshare(kernel.NEW_PID)
        pid = kernel.fork()
        if pid:
            kernel.enter_namespace(self.home, kernel.NEW_PID)
        return pid


def about() -> dict[str, bytes]:
    """What /proc says of this machine, as far as a fork needs it."""
    found = {}
    for name in ("cpuinfo", "meminfo"):
        with open(f"/proc/{name}", "rb") as file:
            found[name] = file.read()
    return found


def furnish(masks: list, scratch_mb: int, about: dict[str, bytes]) -> None:
    """Private mounts: masks over hidden parts, an empty /tmp and /dev/shm of limited size, and a bare /proc.

    This process gets no /proc of its own. bubblewrap covers parts of the outer one, and then Linux refuses a second;
    and nobody needs it but torch, which reads there what the processor can do.
    """
    kernel.mount("none", "/", flags=kernel.RECURSIVE | kernel.PRIVATE)
    for path in masks:
        kernel.mount(f"{OUTSIDE}/{'folder' if os.path.isdir(path) else 'file'}", path, flags=kernel.BIND)
    safe = kernel.NO_SUID | kernel.NO_DEV
    for target in ("/tmp", "/dev/shm"):
        kernel.mount("tmpfs", target, "tmpfs", safe, f"size={scratch_mb}m,nr_inodes=10000,mode=1777")
    kernel.mount("tmpfs", "/dev/pts", "tmpfs", safe | kernel.READ_ONLY, "size=4k")  # forks would share its terminals
    kernel.mount("tmpfs", "/proc", "tmpfs", safe | kernel.NO_EXEC, "size=4m,mode=755")
    for name, text in about.items():
        _write(f"/proc/{name}", text)
    kernel.mount("tmpfs", "/proc", "", kernel.REMOUNT | kernel.READ_ONLY | safe | kernel.NO_EXEC)


def _write(path: str, data: bytes) -> None:
    """Not with open(): a fork pays for each page that it touches."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(file, data)
    finally:
        os.close(file)


def sizes() -> tuple[int, int]:
    """Bytes of data and of address space that this process has."""
    with open("/proc/self/status") as file:
        found = dict(line.split(":", 1) for line in file)
    return tuple(int(found[name].split()[0]) * 1024 for name in ("VmData", "VmSize"))


def limit(limits: dict, data_bytes: int, address_bytes: int) -> None:
    """Resource limits for this process and its children; memory comes on top of what the template holds."""
    memory = limits["memory_mb"] * 2**20
    for name, value in (
        ("CPU", limits["cpu_s"]), ("DATA", data_bytes + memory), ("AS", address_bytes + 2 * memory),
        ("FSIZE", limits["file_mb"] * 2**20), ("NPROC", limits["processes"]), ("NOFILE", limits["files"]),
        ("CORE", 0), ("MSGQUEUE", 0), ("MEMLOCK", 2**16), ("SIGPENDING", 64),
    ):  # fmt: skip
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def close_all_but(kept: int) -> int:
    """Close every file but `kept`, which moves to 3; 0, 1 and 2 lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    if kept != 3:
        os.dup2(kept, 3)
    os.closerange(4, 2**20)  # the limit of today need not have held when a file was opened
    return 3
