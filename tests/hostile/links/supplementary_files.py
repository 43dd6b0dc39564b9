"""Beside the notebook lie links to secrets, to /etc/passwd and to the gradebook, which a copy would follow."""


def arrange(folder, place):
    for name, target in (
        ("picture.png", place.secret),
        ("data.csv", place.home / ".pgpass"),
        ("book.db", place.gradebook),
        ("passwd", "/etc/passwd"),
        ("everything", "/"),
        ("loop", folder),
    ):
        (folder / name).symlink_to(target)
