"""How much memory a sandbox uses, all of its processes together."""

import os

PAGE = os.sysconf("SC_PAGE_SIZE")


def of_namespace(first: int) -> int:
    """Bytes that the processes in the pid namespace of `first` hold for themselves; 0 if it has ended.

    A quick sum counts pages that forks share once for each; only if that is large, each page is counted once.
    """
    inside = _members(first)
    rough = sum(_private(pid) for pid in inside)
    return rough if rough < 300 * 2**20 or len(inside) == 1 else sum(_proportional(pid) for pid in inside)


def _members(first: int) -> list[int]:
    home = _namespace(first)
    if home is None:
        return []
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _namespace(int(name)) == home]


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _private(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * PAGE


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss_Anon"))
    except OSError:
        return _private(pid)
