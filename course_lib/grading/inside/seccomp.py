"""A filter on system calls: what no answer to an exercise needs, and what attacks on a kernel begin with."""

import ctypes
import errno
import functools
import os
import struct

from . import kernel

SET_SECCOMP, FILTER = 22, 2
# name: (x86_64, aarch64)
REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "sethostname": (170, 161), "setdomainname": (171, 162), "quotactl": (179, 60), "acct": (163, 89),
    "settimeofday": (164, 170), "personality": (135, 92), "syslog": (103, 116),
    # memory that no process need have mapped, so that nobody could be held to a limit
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "vmsplice": (278, 75), "io_setup": (206, 0),
    "landlock_create_ruleset": (444, 444),
    # what says, or decides, which parts of a file that all can read lie in memory: a place to leave notes in
    "fadvise64": (221, 223), "readahead": (187, 213), "mincore": (27, 232), "cachestat": (451, 451),
    "preadv2": (327, 286),
}  # fmt: skip
# machine: (number in seccomp_data.arch, column above, clone, clone3, socket, mmap, fcntl)
MACHINES = {"x86_64": (0xC000003E, 0, 56, 435, 41, 9, 72), "aarch64": (0xC00000B7, 1, 220, 435, 198, 222, 25)}
LOCKS = (6, 7, 37, 38)  # of fcntl: locks on bytes, as many as a file has; flock, one a file, is enough for everybody
SHARED, ANONYMOUS = 1, 32  # the flags of mmap that make the same kind of memory
FAMILIES = (1, 2, 10)  # Unix, IPv4 and IPv6, which end at a network namespace; vsock and others do not
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT, _SECOND_ARGUMENT, _FOURTH_ARGUMENT = 0, 4, 16, 24, 40


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as instructions (code, jump if true, jump if false, constant)."""
    arch, column, clone, clone3, socket, mmap, fcntl = MACHINES[machine]
    refuse = [(_RETURN, 0, 0, _ERROR | errno.EPERM)]
    lines = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    lines += [(_AT_LEAST, 0, 1, 0x40000000), *refuse]  # x32's numbers for the same calls
    for numbers in REFUSED.values():
        lines += [(_EQUAL, 0, 1, numbers[column]), *refuse]
    lines += [(_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]  # libc then uses clone
    lines += [(_EQUAL, 0, len(FAMILIES) + 3, socket), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    lines += [(_EQUAL, len(FAMILIES) - at, 0, family) for at, family in enumerate(FAMILIES)]
    lines += [*refuse, (_RETURN, 0, 0, _ALLOW)]
    lines += [(_EQUAL, 0, len(LOCKS) + 3, fcntl), (_LOAD, 0, 0, _SECOND_ARGUMENT)]
    lines += [(_EQUAL, len(LOCKS) - at, 0, command) for at, command in enumerate(LOCKS)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERROR | errno.ENOLCK)]
    lines += [(_EQUAL, 0, 5, mmap), (_LOAD, 0, 0, _FOURTH_ARGUMENT)]
    lines += [(_ANY_BIT, 0, 2, SHARED), (_ANY_BIT, 0, 1, ANONYMOUS), *refuse, (_RETURN, 0, 0, _ALLOW)]
    lines += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 0, 1, kernel.NAMESPACES), *refuse]
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


@functools.cache
def compiled(machine: str) -> tuple[bytes, object] | None:
    """The same as Linux reads it: a header, and the instructions to which it points; None for an unknown machine."""
    if machine not in MACHINES:
        return None
    code = b"".join(struct.pack("=HBBI", *line) for line in program(machine))
    buffer = ctypes.create_string_buffer(code, len(code))
    return struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(buffer)), buffer


def install() -> bool:
    """Filter this process and all its children from now on; False on a machine whose numbers are not known."""
    found = compiled(os.uname().machine)
    if found is None:
        return False
    kernel.prctl(kernel.NO_NEW_PRIVILEGES, 1)
    kernel.prctl_pointer(SET_SECCOMP, FILTER, found[0])
    return True
