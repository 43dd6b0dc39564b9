"""The same, displayed by a cell while it runs."""

from tests.hostile.active import HTML, SVG

NAIVE = "active"
LAST = (
    f"""
from IPython.display import HTML, SVG, Javascript, Markdown, display

display(HTML({HTML!r}), SVG({SVG!r}), Javascript("XSS()"), Markdown({HTML!r}))
display({{"text/html": {HTML!r}, "text/plain": {HTML!r}}}, raw=True)
print({HTML!r})
""",
)
