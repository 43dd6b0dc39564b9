"""Takes hold of other processes as a debugger does: ptrace, their memory by two ways, and their open files."""

WON = r"""
import ctypes, os

libc = ctypes.CDLL(None, use_errno=True)


def won():
    mine, buffer = os.getpid(), ctypes.create_string_buffer(64)
    for pid in {os.getppid(), *range(0, 60)} - {mine}:
        if libc.ptrace(16, pid, None, None) == 0 or libc.ptrace(0x4206, pid, None, None) == 0:  # attach, seize
            return True
        local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
        there = (ctypes.c_void_p * 2)(0x400000, 64)
        if libc.process_vm_readv(pid, local, 1, there, 1, 0) > 0:
            return True
        held = libc.syscall(434, pid, 0)  # pidfd_open, then pidfd_getfd
        if held > 0 and libc.syscall(438, held, 3, 0) >= 0:
            return True
        for name in ("mem", "maps", "map_files", "fd/3", "ns/pid"):
            try:
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
                return True
            except OSError:
                pass
    return False
"""
TAME = False
