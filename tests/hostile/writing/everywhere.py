"""Writes files into every folder that it can think of, and makes some with the setuid bit."""

WON = """
import os

SPOTS = ["@ROOT@", "@ROOT@/graded", "@ROOT@/.nbgrader", "@PLACE@", "@SUBMITTED@", "@HOME@", "/root", "/etc",
         "/usr/local/bin", "/work", "/var/lib", "/opt", "/srv", "/sys/fs/cgroup", "/proc/sys/kernel",
         os.path.dirname(torch.__file__)]


def won():
    made = 0
    for spot in SPOTS:
        try:
            path = os.path.join(spot, "WROTE-everywhere")
            with open(path, "w") as file:
                file.write("#!/bin/sh\\n")
            os.chmod(path, 0o6755)
            made += os.path.exists("@ROOT@/Makefile") or spot in ("/etc", "/usr/local/bin")
        except OSError:
            pass
    return made > 0
"""
NAIVE = "wrote"
