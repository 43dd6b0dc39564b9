"""A file of 40 GB with nothing in it lies beside the notebook; a copy would fill the disk."""


def arrange(folder, place):
    with open(folder / "data.bin", "wb") as file:
        file.truncate(40 << 30)


TAME = False
