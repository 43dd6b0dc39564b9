"""The cell makes links to secrets in its own folder, which a copy after the run would follow."""

CELLS = {
    "q2": """
import os

for name, target in (("seen.txt", "@SECRET@"), ("home", "@HOME@"), ("feedback.html", "@HOME@/.pgpass")):
    try:
        os.symlink(target, name)
    except OSError:
        pass


def scale_up(s):
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
"""
}
