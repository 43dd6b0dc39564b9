"""Markdown and raw cells of the student's own, with scripts in tables, links, pictures, attachments and math."""

from tests.hostile.active import HTML, MARKDOWN, SVG

NAIVE = "active"
ATTACHED = "\n\n![attached](attachment:x.svg)\n"


def damage(notebook):
    pictures = {"x.svg": {"image/svg+xml": SVG}, 'y"><script>XSS()</script>.png': {"image/png": "AAAA"}}
    notebook["cells"] += [
        {
            "cell_type": "markdown",
            "id": "own-1",
            "metadata": {},
            "source": MARKDOWN + ATTACHED,
            "attachments": pictures,
        },
        {"cell_type": "raw", "id": "own-2", "metadata": {"format": "text/html"}, "source": HTML},
        {"cell_type": "markdown", "id": "own-3", "metadata": {"tags": [HTML]}, "source": HTML},
    ]
    return notebook
