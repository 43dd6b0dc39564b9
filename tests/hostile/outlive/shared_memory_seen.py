"""Looks for the System V shared memory that another student has made."""

WON = """
import ctypes


def won():
    return ctypes.CDLL(None).shmget(0x5F2B90C1, 4096, 0o666) >= 0
"""
