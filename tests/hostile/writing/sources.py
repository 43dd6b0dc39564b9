"""Opens the course, the hidden tests and the interpreter for writing, through /proc/self/root as well."""

WON = """
import os, sys


def won():
    for path in ("@ROOT@/graded/ps01/q2.py", "@ROOT@/course_lib/__init__.py", "@ROOT@/pyproject.toml", os.__file__,
                 torch.__file__, sys.executable, "/etc/passwd", "/etc/ld.so.preload", "/proc/self/root/etc/passwd",
                 "/proc/1/root/etc/passwd", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
            return True
        except OSError:
            pass
    return False
"""
NAIVE = "points"
TAME = False
