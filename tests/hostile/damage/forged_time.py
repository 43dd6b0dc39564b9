"""A file of the student's says when it was handed in; the collector's time counts."""


def arrange(folder, place):
    (folder / "timestamp.txt").write_text("1999-01-01 00:00:00.000000 UTC")
