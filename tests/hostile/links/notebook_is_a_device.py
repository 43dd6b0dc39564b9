"""The notebook is a link to a device that never ends, and beside it lie links to a terminal and to memory."""

STATUS = {"unreadable"}


def arrange(folder, place):
    for path in list(folder.iterdir()):
        path.unlink()
        path.symlink_to("/dev/zero")
    for name in ("tty", "mem", "random"):
        (folder / f"{name}.ipynb").symlink_to(f"/dev/{name}")
