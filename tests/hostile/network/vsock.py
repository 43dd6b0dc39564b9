"""Speaks to the machine outside of a virtual machine by a socket that no network namespace shuts off."""

WON = """
import errno, socket

REACHED = (errno.ECONNRESET, errno.ECONNREFUSED, errno.ETIMEDOUT)


def won():
    for address in ((2, 1), (2, 1024), (1, @PORT@), (0, 1)):
        try:
            there = socket.socket(40, socket.SOCK_STREAM)
            there.settimeout(0.5)
            there.connect(address)
            return True
        except TimeoutError:
            return True
        except OSError as error:
            if error.errno in REACHED:
                return True
    return False
"""
