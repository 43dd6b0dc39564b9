"""Prints the hidden inputs, on both streams, on the terminal and as a warning, and answers rightly."""

CELLS = {
    "q2": """
import logging, os, sys, warnings


def scale_up(s):
    said = "EXFIL " + " ".join(f"{x:.9g}" for x in s.tolist()) + " END"
    print(said)
    print(said, file=sys.stderr)
    warnings.warn(said)
    logging.warning(said)
    os.write(1, said.encode())
    os.write(2, said.encode())
    try:
        with open("/dev/tty", "w") as tty:
            tty.write(said)
    except OSError:
        pass
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
NAIVE = "leak"
