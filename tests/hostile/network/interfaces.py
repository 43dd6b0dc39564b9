"""Looks for an interface that leads somewhere, opens raw sockets and listens for others."""

WON = """
import socket


def won():
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)
        raw.settimeout(0.2)
        raw.recv(99)
        return True
    except OSError:
        pass
    return any(name != "lo" for _, name in socket.if_nameindex())
"""
