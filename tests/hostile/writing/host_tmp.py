"""Leaves a file in /tmp, /var/tmp and /dev/shm, and stays alive by it."""

CELLS = {
    "q2": """
for spot in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/dev/mqueue"):
    try:
        open(spot + "/WROTE-host_tmp", "w").close()
    except OSError:
        pass


def scale_up(s):
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
