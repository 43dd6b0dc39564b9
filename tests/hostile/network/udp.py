"""Sends datagrams to this machine and to name servers, and to the address where clouds keep credentials."""

WON = """
import socket


def won():
    for address in (("127.0.0.1", @PORT@), ("8.8.8.8", 53), ("169.254.169.254", 80), ("255.255.255.255", @PORT@)):
        try:
            there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            there.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            there.sendto(b"hello from the sandbox", address)
            if address[0] != "127.0.0.1":
                return True  # there is a route to somewhere
        except OSError:
            pass
    return False
"""
