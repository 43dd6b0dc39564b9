"""The glossary: every symbol of the house once, in alphabetical order of its words, with links that lead somewhere."""

import re
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TEXT = (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1].strip() for line in TEXT.splitlines() if line.startswith("| ")]


def test_every_symbol_of_the_house_is_there():
    for symbol in (
        "w",
        "x",
        "q",
        "s",
        "z",
        "b",
        "g",
        "H",
        "alpha",
        "d",
        "dmin",
        "m",
        "n",
        "k",
        "_bytes",
        "_gib",
        "_us",
    ):
        assert f"`{symbol}`" in TEXT, symbol


def test_links_lead_to_chapters_that_use_the_word():
    for name in set(re.findall(r"\]\(([^)]+)\)", TEXT)):
        assert (NOTEBOOKS / name).exists(), name


def test_no_entry_stands_twice_and_the_words_are_in_order():
    rows = [row for row in ROWS if not set(row) <= {"-"}]
    assert len(set(rows)) == len(rows)
    words = ROWS[ROWS.index("Word") + 1 :]
    words = [w for w in words if not set(w) <= {"-"}]
    assert words == sorted(words, key=str.casefold)


def test_the_map_and_a_learner_s_copy_lead_to_it(tmp_path):
    from course_lib.workspace import Workspace

    assert "](glossary.md)" in (NOTEBOOKS / "00-start-here.ipynb").read_text(encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/glossary.md").write_text("here")
    (tmp_path / "notebooks/00-a.ipynb").write_text("{}")
    Workspace(tmp_path, tmp_path / "home").add()
    assert (tmp_path / "work/glossary.md").read_text() == "here"
