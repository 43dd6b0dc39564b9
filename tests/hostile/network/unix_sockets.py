"""Connects to sockets of the machine: abstract ones, which ignore the file system, and those of system services."""

WON = """
import glob, socket


def won():
    names = ["\\0course-hostile-@PORT@", "@PLACE@/socket", "/run/docker.sock", "/var/run/docker.sock"]
    for name in names + glob.glob("/run/*.sock*") + glob.glob("/tmp/.X11-unix/*") + glob.glob("/run/dbus/*"):
        try:
            there = socket.socket(socket.AF_UNIX)
            there.settimeout(0.3)
            there.connect(name)
            return True
        except OSError:
            pass
    return False
"""
