"""Saved as UTF-16, as an editor of Windows may do."""

import json

STATUS = {"recovered"}


def damage(notebook):
    return json.dumps(notebook).encode("utf-16")
