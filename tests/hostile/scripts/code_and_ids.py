"""Scripts in code, comments, cell ids, tags, slide types, the title and the kernel's name."""

from tests.hostile.active import HTML

CELLS = {"q2": f"# {HTML}\ndef scale_up(s):\n    '''{HTML}'''\n    return 0 * s\n"}
DESERVED = {"q2": 0}
STATUS = {"graded", "needs_manual", "recovered"}


def damage(notebook):
    for number, cell in enumerate(notebook["cells"]):
        if "nbgrader" not in cell["metadata"]:
            cell["id"] = f'"><script>XSS({number})</script>'
            cell["metadata"] = {"tags": [HTML], "slideshow": {"slide_type": HTML}, "name": HTML}
    notebook["metadata"] |= {"title": HTML, "authors": [{"name": HTML}]}
    notebook["metadata"]["kernelspec"]["display_name"] = HTML
    notebook["metadata"]["language_info"] = {"name": HTML, "pygments_lexer": HTML, "codemirror_mode": HTML}
    return notebook
