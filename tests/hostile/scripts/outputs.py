"""Outputs left in the file: HTML, SVG, JavaScript, a widget, LaTeX and terminal codes, each with a script."""

from tests.hostile.active import HTML, SVG

NAIVE = "active"
QUOTED = '"><script>XSS()</script>'
LINK = "\x1b]8;;javascript:XSS()\x07link\x1b]8;;\x07"


def damage(notebook):
    bundle = {
        "text/html": HTML, "image/svg+xml": SVG, "application/javascript": "XSS()", "text/markdown": HTML,
        "text/latex": r"$\href{javascript:XSS()}{x}$", "application/vnd.jupyter.widget-view+json": {"model_id": HTML},
        "text/plain": HTML, "image/png": '"><script>XSS()</script>', "application/vnd.vega.v5+json": {"url": HTML},
    }  # fmt: skip
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [
                {"output_type": "display_data", "metadata": {"image/png": {"width": QUOTED}}, "data": bundle},
                {"output_type": "stream", "name": "stdout", "text": HTML + LINK},
                {"output_type": "error", "ename": HTML, "evalue": HTML, "traceback": [HTML, "\x1b[31m" + HTML]},
            ]
    return notebook
