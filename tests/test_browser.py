"""Each explorer in a real JupyterLab: run all, move the control with the arrow keys, read the changed sentence, look.

The explorers share one notebook, so that one server, one page and one kernel do for all of them. Screenshots go to the
test's temporary folder, or to COURSE_SHOTS if it is set.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.browser import REPOSITORY, Notebook, lab_server, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.xdist_group("browser")]

# name: (what the cell calls, the first sentence, then: a control, a key or another entry of its list, what is said now)
EXPLORERS = {
    "break_the_bot": ("break_the_bot(bot=FakeBot(), messages=MESSAGES)", "the reply is exactly right.", [
        ("bits a weight", "ArrowRight", "the refund goes to the wrong order", 5),
        ("bits a weight", "End", "no longer JSON"),
        ("bits a weight", "ArrowLeft", "the customer gets 940 euros instead of 40"),
        ("request", "iris-2176: 1 grey kettle, 2 white mug", "the customer gets 90 euros instead of 0"),
    ]),
    "ruler": ("ruler()", "ŵ = 0.7.", [
        ("weight w", "has the value", "0.73"),
        ("weight w", "ArrowRight", "w/s = 7.7 rounds to 8", 4),
        ("bits b", "ArrowLeft", "4 bits stop at 7"),
    ]),
    "grid": ("grid(data='after a ReLU')", "7 of the 15 marks hold no value", [
        ("percentile kept", "ArrowLeft", "values are clipped", 5),
        ("grid", "asymmetric: min to max", "Asymmetric, zero point 0"),
    ]),
    "planner": ("planner()", "It does not fit into the 19.2 GiB", [
        ("weights", "has the value", "16 bits"),
        ("weights", "ArrowRight", "36.1 GB", 3),
        ("sequences at once", "End", "set by arithmetic"),
    ]),
    "heatmap": ("heatmap()", "sets the step of all 1,023 others", [
        ("one scale for each", "ArrowRight", "shares its scale with 63 weights"),
        ("outlier: size", "End", "60 times a typical weight"),
    ]),
    "migrate": ("migrate()", "31 times less than without smoothing", [
        ("alpha", "ArrowRight", "α = 0.55"),
        ("contract", "ArrowRight", "Under W4A8"),
        ("scales of inputs", "each token has its own", "Under W4A8"),
    ]),
    "stepper": ("stepper()", "Nothing is rounded yet", [
        ("columns rounded", "ArrowRight", "The 4 columns to its right moved", 2),
        ("bits a weight", "End", "Column 2 is rounded: it is off by up to 0.1"),
        ("the inputs have", "nothing in common", "No other column moves"),
        ("columns rounded", "End", "Nobody is left to make up for that."),
    ]),
    "protect": ("protect()", "α = 0.5: at 3 bits", [
        ("alpha", "Home", "that is plain rounding"),
        ("weights", "End", "at 4 bits the outputs are off"),
        ("alpha", "End", "α = 0.95"),
    ]),
    "attention": ("attention()", "Keys in 2 bits, with a range for each token", [
        ("a range for each", "Home", "with a range for each channel"),
        ("left as they are", "End", "The last 64 tokens are as they were"),
        ("keys and values in", "End", "Keys in FP8, with one scale for all"),
    ]),
    "pages": ("pages()", "Step 40, pages of 16 tokens: 17 texts at once, 10 pages of 62 serving several", [
        ("step", "ArrowRight", "Step 41"),
        ("tokens a page", "End", "pages of 64 tokens"),
        ("equal beginnings", "each text its own", "Step 41, pages of 64 tokens: 8 texts at once; "),
        ("step", "End", "Finished so far: 17 and 11."),
    ]),
    "inspector": ("inspector()", "Byte 0 of 288 is 47. It belongs to the header: magic", [
        ("field", "ArrowRight", "It belongs to the header: version"),
        ("bytes further on", "ArrowRight", "Byte 5 of 288"),
        ("field", "End", "It belongs to the padding"),
    ]),
    "offload": ("offload()", "25 of 32 layers and the output layer are on the GPUs", [
        ("KV cache", "ArrowRight", "All 32 layers"),
        ("tokens of context", "End", "of 32 layers and the output layer"),
        ("GPUs", "two RTX 4090", "--tensor-split"),
    ]),
    "blocks": ("blocks()", "Byte 4 of 0 … 143 belongs to scales[0]", [
        ("byte", "ArrowRight", "Byte 5 of 0 … 143"),
        ("byte", "End", "Byte 143 of 0 … 143 belongs to qs[127]"),
        ("type of the block", "Q4_0", "Byte 17 of 0 … 17"),
        ("byte", "Home", "It is the low half of d"),
    ]),
    "toggler": ("toggler()", "E4M3FN 0 1000 110 is 3.5.", [
        ("code", "ArrowRight", "is 3.75."),
        ("s = 0", "is pressed", "E4M3FN 1 1000 111 is −3.75."),
        ("format", "E2M1 (FP4)", "E2M1 1"),
    ]),
    "comparer": ("comparer()", "the largest number, 7.1, comes back as 6", [
        ("its largest number", "Home", "the largest number, 4, stays 4"),
        ("the block holds", "one large number", "the least is NVFP4"),
        ("show the marks of", "INT4, groups of 32", "INT4, groups of 32: the largest number"),
    ]),
    "capacity": ("capacity()", "4.68 GiB to spare", [
        ("details summary", "is unfolded", None),
        ("sequences at once", "ArrowRight", "3.68 GiB to spare"),
        ("details", "is still unfolded", "525,336,576 x 16 bits"),
        ("units", "GB (10^9 bytes)", "GB to spare"),
        ("tokens a sequence", "End", "It does not fit"),
    ]),
    "trace": ("trace()", "Version 1, 4 rows a program, access 1 of 42: program 0 loads 256 bytes of words", [
        ("access", "ArrowRight", "access 2 of 42: program 0 loads"),
        ("rows a program", "End", "every byte of x once"),
        ("access", "End", "program 0 stores"),
        ("version", "5: split-K", "Version 5, 8 rows a program"),
    ]),
    "loop": ("loop(version='gemv-2')", "Version 2: scale once a word. Instructions a weight: 6.67", [
        ("purpose", "ArrowRight", "For “load” it spends 0.30"),
        ("purpose", "ArrowRight", "128 I2FP", 2),
        ("version", "3: magic number", "128 FADD"),
        ("purpose", "End", "addresses and masks"),
        ("version", "4: codes in place", "it spends 0.22 of its 4.44"),
        ("purpose", "Home", "They go to: load 0.30"),
    ]),
    "gate": ("gate()", "300 items, a margin of 3 points, 0.25 GiB: of 10 candidates 2 may serve: Q5_K_M, Q4_K_M.", [
        ("items asked", "Home", "25 items, a margin of 3 points, 0.25 GiB: of 10 candidates none may serve."),
        ("items asked", "End", "2 may serve"),
        ("margin, points", "End", "a margin of 10 points"),
        ("memory", "End", "1 GiB"),
    ]),
    "decide": ("decide()", "Try first: AWQ or GPTQ, 4 bits on vLLM. There are no FP8 units here", [
        ("sequences at once", "End", "fewer at once, or shorter ones"),
        ("sequences at once", "Home", "BF16 fits, too, and is the fallback"),
        ("tokens a sequence", "End", "expanded inside the kernel. It needs"),
        ("model", "Llama 3 70B", "the other"),
        ("model", "Llama 3.1 8B", "24 GiB are there"),
        ("tokens a sequence", "Home", "BF16 fits, too, and is the fallback"),
        ("machine", "NVIDIA GeForce RTX 4090, 24 GiB", "Try first: FP8 checkpoint on vLLM"),
    ]),
    "canary": ("canary()", "2,000 candidates that lose 10 points of good replies", [
        ("points it loses", "Home", "that lose 0 points of good replies; fewer than 10 may go. Decided once"),
        ("pairs a minute", "End", "in 10 minutes. Looked at every minute"),
        ("points it loses", "ArrowRight", "that lose 1 point of good replies"),
    ]),
    "mastery": ("mastery()", "33 of 84 exercises count. The level is Developing.", [
        ("statement", "evaluation", "“evaluation” is shown by 13 exercises of chapters 04, 13, 14; 1 count."),
        ("as if done up to", "End", "The level is Excellent."),
        ("as if done up to", "Home", "The level is Developing."),
        ("what counts", "also with the solution read", "Solid wants 1 more exercise of its own."),
    ]),
}  # fmt: skip
PLOTS = [
    "viz.show(viz.plots.footprints({'FP16': 140, 'INT4': 35}, limit=80), alt='FP16 is too large, INT4 fits.')",
    "viz.show(viz.plots.pipeline(), alt='Weights become bytes.')",
]
KEYS = ("ArrowLeft", "ArrowRight", "Home", "End")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    with lab_server(tmp_path_factory.mktemp("lab")) as server:
        yield server


def new_page(browser):
    return browser.new_page(viewport={"width": 1180, "height": 900}, device_scale_factor=2)


@pytest.fixture(scope="session")
def shared(lab, browser):
    """The notebook with every explorer, run once."""
    start = "from course_lib import viz\nfrom tests.fake_bot import MESSAGES, FakeBot"
    cells = [f"viz.explorers.{call}" for call, *_ in EXPLORERS.values()]
    write_notebook(lab.folder / "explorers.ipynb", start, *cells, *PLOTS)
    return Notebook(new_page(browser), lab, "explorers.ipynb").run_all()


def take_shot(page, name, folder):
    """Screenshot into COURSE_SHOTS or the test's folder; an empty page makes a far smaller file than this."""
    shots = Path(os.environ.get("COURSE_SHOTS", folder))
    shots.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=shots / f"{name}.png")
    assert (shots / f"{name}.png").stat().st_size > 30_000


@pytest.fixture
def notebook(shared, request, tmp_path):
    """The shared notebook; after the test a screenshot is taken, and nothing may have failed or logged an error."""
    yield shared
    test, _, name = request.node.name.removesuffix("]").partition("[")
    take_shot(shared.page, name or test.removeprefix("test_"), tmp_path)
    errors, shared.errors = shared.errors, []
    assert shared.failures() == []
    assert errors == []


def move(explorer, label, what, words, times=1):
    """One step of a story; most are a key on a slider or another entry of a list, and a sentence to wait for."""
    if what in KEYS:
        explorer.press(label, what, words, times)
    elif what == "has the value":
        assert explorer.slider(label).get_attribute("aria-valuetext") == words
    elif what == "is pressed":
        explorer.box.get_by_role("button", name=label).press("Space")
        explorer.wait_for(words)
    elif what == "is unfolded":
        explorer.box.locator(label).first.press("Enter")
    elif what == "is still unfolded":
        explorer.box.locator(f"{label}[open]", has_text=words).wait_for()
    else:
        explorer.choose(label, what, words)


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_follows_the_keyboard_and_says_so(notebook, name):
    _, first, steps = EXPLORERS[name]
    explorer = notebook.explorer(name)
    explorer.wait_for(first)
    for step in steps:
        move(explorer, *step)
    assert all(explorer.sweep())


def test_a_screen_reader_finds_the_picture_by_its_sentence(notebook):
    for name in ("ruler", "grid", "planner", "heatmap", "stepper", "break_the_bot"):
        explorer = notebook.explorer(name)
        assert explorer.picture().count() == 1
        assert explorer.announced() == explorer.sentence()


def test_a_shown_plot_has_its_description(notebook):
    for words in ("FP16 is too large, INT4 fits.", "Weights become bytes."):
        assert notebook.page.get_by_role("img", name=words, exact=True).count() == 1
    assert notebook.page.evaluate("()=>[...document.querySelectorAll('.jp-OutputArea img')].every(i=>i.alt)")


def test_explorers_follow_the_dark_theme(notebook, tmp_path):
    paper = "()=>getComputedStyle(document.querySelector('.q-pic')).getPropertyValue('--q-paper').trim()"
    notebook.explorer("heatmap")
    assert notebook.page.evaluate(paper) == "#ffffff"
    notebook.theme("JupyterLab Dark")
    assert notebook.page.evaluate(paper) == "#111111"
    arrow = "()=>getComputedStyle(document.querySelector('.widget-dropdown>select')).backgroundImage"
    assert "%23ddd" in notebook.page.evaluate(arrow)
    take_shot(notebook.page, "dark", tmp_path)
    notebook.theme("JupyterLab Light")


def test_in_a_narrow_window_nothing_slips_below_its_label_or_onto_a_readout(notebook):
    page = notebook.page
    wide = page.viewport_size
    try:
        page.set_viewport_size({"width": 700, "height": 900})
        bits = [b.bounding_box() for b in notebook.explorer("toggler").box.get_by_role("button").all()]
        assert len({bit["y"] for bit in bits}) > 1 and min(bit["x"] for bit in bits) == bits[0]["x"]
        room = page.evaluate("""()=>[...document.querySelectorAll('.q-explorer .widget-slider')].map(s=>{
          const [line, handle, readout] = ['.noUi-base', '[role=slider]', '.widget-readout']
            .map(part => s.querySelector(part).getBoundingClientRect());
          return readout.left - line.right - handle.width / 2})""")
        assert len(room) > 20 and min(room) >= 8  # pixels: a handle at its end is half beyond the line's
    finally:
        page.set_viewport_size(wide)


def test_an_export_without_widgets_shows_the_picture_and_its_sentence(tmp_path):
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    write_notebook(tmp_path / "export.ipynb", "from course_lib import viz\nviz.explorers.ruler()")
    book = nbformat.read(tmp_path / "export.ipynb", as_version=4)
    NotebookClient(book, timeout=120, store_widget_state=False).execute()
    page, _ = HTMLExporter().from_notebook_node(book)
    assert 'alt="w/s = 7.3 rounds to 7' in page and "No description" not in page
    assert "data:image/png;base64," in page and "widget-view" not in page


@pytest.mark.skipif(not (REPOSITORY / "notebooks/00-start-here.ipynb").exists(), reason="chapter 00 is not written yet")
def test_the_real_first_screen(lab, browser):
    target = lab.folder / "00-start-here.ipynb"
    target.write_bytes((REPOSITORY / "notebooks" / target.name).read_bytes())
    shutil.copytree(REPOSITORY / "notebooks/img", lab.folder / "img", dirs_exist_ok=True)
    notebook = Notebook(new_page(browser), lab, target.name).run_all(patience_ms=300_000)
    bot = notebook.explorer("break_the_bot")
    bot.wait_for("the reply is exactly right.")
    bot.press("bits a weight", "End", "At 2 bits")
    assert notebook.errors == []
    notebook.page.close()
