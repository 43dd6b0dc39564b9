"""The notebook is a link to a device that never ends, and beside it lie links to a terminal and to memory."""

DESERVED = dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), 0)
STATUS = {"unreadable"}


def arrange(folder, place):
    for path in list(folder.iterdir()):
        path.unlink()
        path.symlink_to("/dev/zero")
    for name in ("tty", "mem", "random"):
        (folder / f"{name}.ipynb").symlink_to(f"/dev/{name}")
