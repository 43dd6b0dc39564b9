"""`course site`: every chapter run and rendered as a page, with a first page that leads to all; nothing is fetched.

nbconvert renders; explorers are shown by their still pictures, formulas as drawings whose description is their LaTeX.
No page holds a script, so that the folder can be served from anywhere, or opened from a disk.
"""

import argparse
import base64
import io
import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from course_lib.files import repository, write_atomic

CELL_S = 600
TITLE = "LLM quantization, hands on"
PHONE = '<meta name="viewport" content="width=device-width, initial-scale=1">'  # or a phone lays it out 980 pixels wide
STYLE = (
    ":root{color-scheme:light dark}"
    "body{max-width:1000px;margin:0 auto;padding:16px;font-family:system-ui,sans-serif;line-height:1.5}"
    "ul.map{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:24px}"
    "li img{width:100%;border:1px solid #d3d7dd;border-radius:6px}table{border-collapse:collapse}"
    "td,th{text-align:left;padding:3px 12px;border-bottom:1px solid #d3d7dd;vertical-align:top}"
    "code{font-size:14px}"  # browsers take 13 where nobody says
    ".anchor-link{text-decoration:none;opacity:0}.anchor-link:focus,:hover>.anchor-link{opacity:1}"
)
NAV = "nav a{color:var(--jp-content-link-color);text-decoration:underline}"  # JupyterLab's style makes links plain text
_WIDGET = "application/vnd.jupyter.widget-view+json"
_MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$([^$\n]+?)\$(?![\w$])", re.DOTALL)
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def run(notebook, folder, home):
    """Execute a notebook in place, in `folder`, with `home` as its COURSE_HOME; returns it."""
    from nbclient import NotebookClient

    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=CELL_S, store_widget_state=False, resources=where)
    # a page cannot wipe a progress bar, so none is drawn; notebooks that run at once have one thread each
    names = {"COURSE_HOME": str(home), "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    client.execute(env=os.environ | names)
    return notebook


def drawn(match):
    """A formula as an image; what matplotlib cannot set stays as it was written, in code."""
    from matplotlib import mathtext

    source, buffer = " ".join((match[1] or match[2]).split()), io.BytesIO()
    try:
        plain = source.replace(r"\top", "T").replace(r"\big", "")
        mathtext.math_to_image(f"${plain}$", buffer, dpi=100, format="svg")
    except ValueError:
        return f"`{source}`"
    where = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    image = f'<img alt="{escape(source)}" style="vertical-align:middle;border:0;background:#fff" src="{where}">'
    return f"\n\n{image}\n\n" if match[1] else image


def linked(text):
    """Markdown with formulas drawn and links to notebooks turned into links to pages; code stays as it is.

    >>> linked("[next](02-b.ipynb), `[x](y.ipynb) $x$`")
    '[next](02-b.html), `[x](y.ipynb) $x$`'
    """
    parts = _CODE.split(text)
    parts[::2] = [_page_links(_MATH.sub(drawn, part)) for part in parts[::2]]
    return "".join(parts)


def _page_links(text):
    return re.sub(r"\]\(([\w-]+)\.(?:ipynb|md)(#[\w-]+)?\)", lambda m: f"]({m[1]}.html{m[2] or ''})", text)


def page(notebook, name, names):
    """The HTML of an executed notebook, with links to the map and to its neighbours, and without any script."""
    from nbconvert import HTMLExporter

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source)
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(_WIDGET, None)  # its picture lies beside it
    exporter = HTMLExporter(template_name="lab")
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name}})
    dark = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")[0]
    scroll = ".jp-InputArea-editor{overflow-x:auto}"  # long lines
    more = f"{NAV}{scroll}@media (prefers-color-scheme:dark){{{dark}}}"
    body = body.replace("</head>", f"<style>{more}</style></head>", 1)
    body = re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>", lambda _: f"<title>{name[:2]} {escape(title(notebook))}</title>", body)
    at = names.index(name)
    links = ['<a href="index.html">the map</a>']
    links += [f'<a href="{n}.html">{n}</a>' for n in (*names[max(0, at - 1) : at], *names[at + 1 : at + 2])]
    bar = f'<nav style="padding:8px 24px;font-family:system-ui">{" · ".join(links)}</nav>'
    return re.sub(r"<body[^>]*>", lambda m: m[0] + bar, body, count=1)


def title(notebook):
    """The first heading of a notebook."""
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"^# (.+)$", words, re.MULTILINE)
    return found[1] if found else "Untitled"


def index(titles, pictures, extras=()):
    """The first page: each chapter's title, its link and its explorer's picture; then the pages beside them."""
    items = ""
    for name, words in titles.items():
        picture = f"img/{name[:2]}-explorer.png"
        shown = f'<br><img src="{picture}" alt="The explorer of chapter {name[:2]}">' if picture in pictures else ""
        items += f'<li><a href="{name}.html">{name[:2]} {escape(words)}</a>{shown}</li>'
    said = "Every chapter as it ran, with nothing solved. Explorers stand still here; <code>make lab</code> moves them."
    more = " · ".join(f'<a href="{name}.html">{name}</a>' for name in extras)
    return f'{_head(TITLE)}<h1>{TITLE}</h1><p>{said}</p><p>{more}</p><ul class="map">{items}</ul>'


def _head(words):
    start = f'<!doctype html><html lang="en"><meta charset="utf-8">{PHONE}'
    return f"{start}<title>{escape(words)}</title><style>{STYLE}</style>"


def build(out, chapters=None, jobs=1, execute=run):
    """Run and render the chapters ("01" …; None: all) into the folder `out`; returns the pages.

    The map leads to pages of other chapters, too, that lie there from before. ValueError for a chapter that is none.
    """
    import nbformat

    source, out = repository() / "notebooks", Path(out)
    every = sorted(source.glob("*.ipynb"))
    if unknown := sorted(set(chapters or ()) - {path.name[:2] for path in every}):
        raise ValueError(f"chapters must be among {', '.join(p.name[:2] for p in every)}, got {unknown[0]}")
    paths = [path for path in every if not chapters or path.name[:2] in chapters]
    there = [path for path in every if path in paths or (out / f"{path.stem}.html").exists()]
    names, extras = [path.stem for path in there], sorted(source.glob("*.md"))
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "img", out / "img", dirs_exist_ok=True)
    for extra in extras:
        write_atomic(out / f"{extra.stem}.html", plain_page(extra.read_text(encoding="utf-8"), extra.stem))
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda path: _one(path, out, names, execute), paths))
    pictures = {f"img/{picture.name}" for picture in (out / "img").iterdir()}
    titles = {path.stem: title(nbformat.read(path, as_version=4)) for path in there}
    write_atomic(out / "index.html", index(titles, pictures, [extra.stem for extra in extras]))
    return [out / "index.html", *(out / f"{path.stem}.html" for path in paths)]


def _one(path, out, names, execute):
    """Run and render one notebook."""
    import nbformat

    with tempfile.TemporaryDirectory() as home:
        done = execute(nbformat.read(path, as_version=4), path.parent, home)
    write_atomic(out / f"{path.stem}.html", page(done, path.stem, names))
    print(f"{path.stem}.html: {title(done)}")


def plain_page(text, name):
    """A page of Markdown alone, such as the glossary."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    body = markdown2html_mistune(linked(text))
    body = body.replace("<table", '<div style="overflow-x:auto"><table').replace("</table>", "</table></div>")
    return f'{_head(name)}<nav><a href="index.html">the map</a></nav>{body}'


def main(arguments=()):
    """Build the site, all chapters or those named."""
    parser = argparse.ArgumentParser(prog="course site", description=__doc__)
    parser.add_argument("chapters", nargs="*", help="such as 01 04; default: all")
    parser.add_argument("--out", default=repository() / "site", help="folder to write; default: site/")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks that run at once; default: 2")
    options = parser.parse_args(arguments)
    try:
        pages = build(options.out, options.chapters, options.jobs)
    except ValueError as error:
        parser.error(str(error))
    print(f"{len(pages)} pages; open {pages[0]}")
    return 0
