"""Connects to a server on this machine, on every address that it might have."""

WON = """
import socket


def won():
    for host in ("127.0.0.1", "::1", "0.0.0.0", "localhost", socket.gethostname(), "10.0.2.2", "host.docker.internal"):
        try:
            with socket.create_connection((host, @PORT@), timeout=0.3) as there:
                there.sendall(b"hello from the sandbox")
                return True
        except OSError:
            pass
    return False
"""
