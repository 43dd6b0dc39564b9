"""The written answer, which a person reads, is full of active HTML in Markdown."""

from tests.hostile.active import HTML, MARKDOWN

CELLS = {"explain": HTML + "\n\n" + MARKDOWN}
NAIVE = "active"
