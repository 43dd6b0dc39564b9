"""Takes a good part of a second for a question, by search with Python's own numbers."""

CELLS = {
    "q2": """
import itertools, struct


def one(x):
    for back in itertools.count():  # upwards from far below
        bits = max(0, (struct.unpack("<I", struct.pack("<f", x))[0] >> 16) - 500) + back
        y = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
        if y >= x:
            return y


def scale_up(s):
    return torch.tensor([one(x) for x in s.tolist()])
"""
}
