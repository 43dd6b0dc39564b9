"""The same with tensors and with anonymous shared memory, in pieces."""

WON = """
import functools
import mmap


@functools.cache  # once is enough
def won():
    held = [torch.ones(1 << 28) for _ in range(5)]
    for _ in range(5):
        held.append(mmap.mmap(-1, 1 << 30))
        for at in range(0, 1 << 30, 4096):
            held[-1][at] = 1
    return len(held) == 10
"""
TAME = False
