"""Saved as UTF-8 with a byte order mark and Windows line ends: all of the code is there."""

import json

STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        cell["source"] = cell["source"].replace("\n", "\r\n")
    return b"\xef\xbb\xbf" + json.dumps(notebook, indent=1).replace("\n", "\r\n").encode()
