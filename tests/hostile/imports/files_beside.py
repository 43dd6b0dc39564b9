"""Puts numpy.py, graded.py, sitecustomize.py and settings of nbgrader and IPython beside the notebook."""

WON = """
import sys


def won():
    import numpy

    return getattr(numpy, "OWNED", False) or "owned_settings" in sys.modules
"""
OWNED = "OWNED = True\nimport sys\nsys.modules['owned_settings'] = sys\n"


def arrange(folder, place):
    for name in ("numpy", "graded", "sitecustomize", "usercustomize", "conftest"):
        (folder / f"{name}.py").write_text(OWNED)
    for name in ("nbgrader_config.py", "ipython_config.py", "jupyter_config.py", "owned.pth", ".pdbrc", ".env"):
        (folder / name).write_text(f"import sys; open({str(place.path / 'WROTE-files_beside')!r}, 'w')\n")
