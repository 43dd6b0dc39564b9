"""Files beside the notebook, and the notebook itself, have names that are HTML."""

from tests.hostile.active import SVG

FILE = "ps01-round-trips-and-scales<img src=x onerror=XSS()>.ipynb"
STATUS = {"graded", "needs_manual", "recovered"}


def arrange(folder, place):
    (folder / "index.html").write_text("<script>XSS()</script>")
    (folder / "<svg onload=XSS()>.svg").write_text(SVG)
    (folder / "formgrade.tpl").write_text("<script>XSS()</script>")
