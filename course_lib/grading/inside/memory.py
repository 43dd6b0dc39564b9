"""How much memory a sandbox uses, all of its processes together."""

import os


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
    return _sum(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:"))


def _proportional(pid: int) -> int:
    return _sum(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) or _private(pid)


def _sum(path: str, names: tuple[str, ...]) -> int:
    """The bytes that these lines of a file in /proc add up to; 0 where there is none any more."""
    try:
        with open(path) as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(names))
    except (OSError, ValueError):
        return 0
