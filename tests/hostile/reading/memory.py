"""Searches its own memory, byte by byte, for a secret that the grader's process or environment holds."""

WON = r"""
import functools
import re

SECRET = re.compile(rb"CANARY[-][A-Z]{4}|ps01[.]score[(]")


@functools.cache  # once is enough
def won():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            if " r" not in line or last - first > 1 << 28 or ".so" in line or "[v" in line:
                continue
            try:
                memory.seek(first)
                if SECRET.search(memory.read(last - first)):
                    return True
            except (OSError, ValueError, OverflowError):
                pass
    return False
"""
NAIVE = "points"
