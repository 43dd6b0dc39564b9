"""The site: two chapters run and rendered, with their pictures, their links, and nothing that is fetched."""

import re

import nbformat
import pytest

from course_lib import site


def shortened(notebook, folder, home):
    """The words of a chapter, and of its code the explorer alone, really run."""
    start = nbformat.v4.new_code_cell("from course_lib import viz")
    notebook.cells = [start] + [c for c in notebook.cells if c.cell_type == "markdown" or "explorer" in c.metadata.tags]
    return site.run(notebook, folder, home)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    site.build(out, ["01", "11"], jobs=2, execute=shortened)
    return out


def test_both_chapters_have_their_pictures(built):
    for name, said in (("01-scalar-round-trip", "w/s = 7.3 rounds to 7"), ("11-kv-cache", "40.72 GiB are needed")):
        page = (built / f"{name}.html").read_text()
        pictures = re.findall(r'<img alt="([^"]+)"[^>]*src="data:image/png;base64', page)
        assert any(said in words for words in pictures), pictures
        assert "widget-view" not in page and "Traceback" not in page


def test_links_lead_to_pages_that_are_there_or_belong_to_chapters(built):
    pages = {path.name for path in built.glob("*.html")}
    notebooks = {f"{p.stem}.html" for p in (site.repository() / "notebooks").iterdir()}
    for name in pages:
        for link in re.findall(r'href="([^"#:]+\.html)', (built / name).read_text()):
            assert link in pages | notebooks, (name, link)
    first = (built / "index.html").read_text()
    assert 'href="01-scalar-round-trip.html"' in first and 'src="img/01-explorer.png"' in first
    assert (built / "img/11-explorer.png").exists()
    assert 'href="11-kv-cache.html"' in (built / "01-scalar-round-trip.html").read_text()


def test_nothing_is_fetched(built):
    for path in built.glob("*.html"):
        page = path.read_text()
        assert "<script" not in page and not re.search(r'(src|link[^>]*href)="https?:', page)


def test_pages_fit_a_phone_and_are_called_as_their_chapters(built):
    for path in built.glob("*.html"):
        assert path.read_text().count("width=device-width") == 1, path.name
    assert "<title>01 One number, there and back</title>" in (built / "01-scalar-round-trip.html").read_text()


def test_one_chapter_anew_keeps_the_others_on_the_map(tmp_path):
    (tmp_path / "03-memory-and-bandwidth.html").write_text("from before")
    pages = site.build(tmp_path, ["01"], execute=lambda notebook, folder, home: notebook)
    assert [page.stem[:2] for page in pages] == ["in", "01"]
    first = (tmp_path / "index.html").read_text()
    assert re.findall(r'<li><a href="(\d\d)', first) == ["01", "03"]
    assert 'href="03-memory-and-bandwidth.html"' in (tmp_path / "01-scalar-round-trip.html").read_text()


def test_a_long_line_of_code_can_be_scrolled(built):
    for name in ("01-scalar-round-trip", "11-kv-cache"):
        page = (built / f"{name}.html").read_text()
        assert page.rindex(".jp-InputArea-editor{overflow-x:auto}") > page.rindex("overflow: hidden;\n}")


def test_links_to_the_neighbours_look_like_links(built):
    """JupyterLab's style sets `a` to plain text: ours must come later, in a colour that the page defines."""
    page = (built / "01-scalar-round-trip.html").read_text()
    assert page.rindex(site.NAV) > page.rindex("text-decoration: unset") and "--jp-content-link-color:" in page


def test_a_wide_table_of_a_plain_page_can_be_scrolled(built):
    page = (built / "glossary.html").read_text()
    assert page.count("<table") == page.count('<div style="overflow-x:auto"><table') == page.count("</table></div>") > 0


def test_pages_are_dark_where_the_reader_s_system_is(built):
    for path in built.glob("*.html"):
        told = "prefers-color-scheme:dark" if path.name[:2].isdigit() else "color-scheme:light dark"
        assert told in path.read_text(), path.name


def test_formulas_are_drawn_with_their_source_as_description(built):
    page = (built / "11-kv-cache.html").read_text()
    assert re.search(r'<img alt="a = [^"]*softmax[^"]*"[^>]*src="data:image/svg', page)


def test_what_cannot_be_drawn_stays_as_it_was():
    assert site.linked(r"$\begin{x}$") == r"`\begin{x}`"
    assert site.linked("it costs $5 and $6") == "it costs $5 and $6"


def test_an_unknown_chapter_is_said(tmp_path):
    with pytest.raises(ValueError, match="chapters must be among 00, .*, got 77"):
        site.build(tmp_path, ["77"])
