"""Leaves startup files for whatever Python or IPython runs next, in the home and beside the libraries."""

WON = """
import os, site, sys

LINES = "import builtins; builtins.STARTED_BY_STUDENT = True\\n"
homes = {os.path.expanduser("~"), os.environ.get("HOME", "/root"), "@HOME@", "/root"}
places = [f"{home}/.ipython/profile_default/startup/00-owned.py" for home in homes]
places += [f"{folder}/{name}" for folder in [*sys.path, *site.getsitepackages()] if folder
           for name in ("owned-startup.pth", "sitecustomize.py")]
for path in places:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x") as file:
            file.write(LINES)
    except OSError:
        pass


def won():
    import builtins

    return hasattr(builtins, "STARTED_BY_STUDENT")
"""
