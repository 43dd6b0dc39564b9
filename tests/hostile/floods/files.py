"""Makes a hundred thousand files and folders nested a thousand deep, for whoever has to remove them."""

CELLS = {
    "q2": """
import os

here = os.getcwd()
try:
    os.makedirs("/tmp/many", exist_ok=True)
    for number in range(100_000):
        open(f"/tmp/many/{number}", "w").close()
    os.chdir("/tmp")
    for _ in range(1000):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    os.chmod(".", 0)
except OSError:
    pass
os.chdir(here)


def scale_up(s):
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
TAME = False
