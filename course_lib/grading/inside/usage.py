"""What a sandbox uses, all of its processes together: memory, and the processor's time."""

import os

TICKS = os.sysconf("SC_CLK_TCK")  # of Linux's clock, a second


def family(first: int) -> dict[int, float]:
    """The seconds that `first` and all that has come of it have computed, by pid; empty if it has ended.

    Found by their parents, which a process cannot hide as it can its namespaces: where one ends, its children go to
    the first of their namespace.
    """
    parents, seconds = {}, {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        said = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # a name may hold anything
        if said:
            parents[pid], seconds[pid] = int(said[1]), (int(said[11]) + int(said[12])) / TICKS
    found, waiting = {}, [first]
    while waiting:
        pid = waiting.pop()
        if pid in seconds and pid not in found:
            found[pid] = seconds[pid]
            waiting += [child for child, parent in parents.items() if parent == pid]
    return found


def memory(pids) -> int:
    """Bytes that processes hold for themselves.

    A quick sum counts pages that forks share once for each; only if that is large, each page is counted once.
    """
    rough = sum(map(_private, pids))
    return rough if rough < 300 * 2**20 or len(pids) == 1 else sum(map(_proportional, pids))


def of_linux() -> int:
    """Bytes that Linux itself holds and cannot give back, for whomever: notes about mappings, locks and the like."""
    lines = _read("/proc/meminfo").split(b"\n")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"SUnreclaim:"))


def _private(pid: int) -> int:
    return _sum(pid, "status", (b"RssAnon:", b"RssShmem:"))


def _proportional(pid: int) -> int:
    return _sum(pid, "smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) or _private(pid)


def _sum(pid: int, name: str, words: tuple[bytes, ...]) -> int:
    """The bytes that these lines of a process's file add up to. A later thread says them where the first has ended."""
    lines = [line for line in _read(f"/proc/{pid}/{name}").split(b"\n") if line.startswith(words)]
    threads = [] if lines else _listed(f"/proc/{pid}/task")
    for thread in threads:
        lines = lines or [x for x in _read(f"/proc/{pid}/task/{thread}/{name}").split(b"\n") if x.startswith(words)]
    return sum(int(line.split()[1]) * 1024 for line in lines)


def _read(path: str) -> bytes:
    """A file of /proc; nothing where there is none any more."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
