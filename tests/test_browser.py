"""Each explorer in a real JupyterLab: run all, move the control with the arrow keys, read the changed sentence, look.

The explorers share one notebook, so that one server, one page and one kernel do for all of them. Screenshots go to the
test's temporary folder, or to COURSE_SHOTS if it is set.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.browser import REPOSITORY, Notebook, lab_server, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CELLS = [
    "from course_lib import viz\nfrom tests.fake_bot import MESSAGES, FakeBot",
    "viz.explorers.break_the_bot(bot=FakeBot(), messages=MESSAGES)",
    "viz.explorers.ruler()",
    "viz.explorers.grid(data='after a ReLU')",
    "viz.explorers.planner()",
    "viz.explorers.heatmap()",
    "viz.explorers.migrate()",
    "viz.explorers.stepper()",
    "viz.explorers.protect()",
    "viz.explorers.attention()",
    "viz.explorers.inspector()",
    "viz.explorers.offload()",
    "viz.explorers.blocks()",
    "viz.explorers.toggler()",
    "viz.explorers.comparer()",
    "viz.explorers.capacity()",
    "viz.explorers.trace()",
    "viz.explorers.gate()",
    "viz.explorers.decide()",
    "viz.explorers.mastery()",
    "viz.show(viz.plots.footprints({'FP16': 140, 'INT4': 35}, limit=80), alt='FP16 is too large, INT4 fits.')",
    "viz.show(viz.plots.pipeline(), alt='Weights become bytes.')",
]


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    with lab_server(tmp_path_factory.mktemp("lab")) as server:
        yield server


def new_page(browser):
    return browser.new_page(viewport={"width": 1180, "height": 900}, device_scale_factor=2)


@pytest.fixture(scope="session")
def shared(lab, browser):
    """The notebook with every explorer, run once."""
    write_notebook(lab.folder / "explorers.ipynb", *CELLS)
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
    take_shot(shared.page, request.node.name.removeprefix("test_"), tmp_path)
    errors, shared.errors = shared.errors, []
    assert shared.failures() == []
    assert errors == []


def test_break_the_bot(notebook):
    bot = notebook.explorer("break_the_bot")
    bot.wait_for("The reply is exactly right.")
    bot.press("bits a weight", "ArrowRight", "the refund goes to the wrong order", times=5)
    bot.press("bits a weight", "End", "no longer JSON")
    bot.press("bits a weight", "ArrowLeft", "the customer gets 940 euros instead of 40")
    bot.choose("request", "iris-2176: 1 grey kettle, 2 white mug", "the customer gets 90 euros instead of 0")


def test_ruler(notebook):
    ruler = notebook.explorer("ruler")
    ruler.wait_for("ŵ = 0.7.")
    assert ruler.slider("weight w").get_attribute("aria-valuetext") == "0.73"
    ruler.press("weight w", "ArrowRight", "w/s = 7.7 rounds to 8", times=4)
    ruler.press("bits b", "ArrowLeft", "4 bits stop at 7")


def test_grid(notebook):
    grid = notebook.explorer("grid")
    grid.wait_for("7 of the 15 marks hold no value")
    grid.press("percentile kept", "ArrowLeft", "values are clipped", times=5)
    grid.choose("grid", "asymmetric: min to max", "Asymmetric, zero point 0")


def test_planner(notebook):
    planner = notebook.explorer("planner")
    planner.wait_for("It does not fit into the 19.2 GiB")
    assert planner.slider("weights").get_attribute("aria-valuetext") == "16 bits"
    planner.press("weights", "ArrowRight", "36.1 GB", times=3)
    planner.press("sequences at once", "End", "set by arithmetic")


def test_capacity(notebook):
    planner = notebook.explorer("capacity")
    planner.wait_for("4.68 GiB to spare")
    planner.box.locator("details summary").first.press("Enter")
    planner.press("sequences at once", "ArrowRight", "3.68 GiB to spare")
    planner.box.locator("details[open]", has_text="525,336,576 x 16 bits").wait_for()  # an update leaves it open
    planner.choose("units", "GB (10^9 bytes)", "GB to spare")
    planner.press("tokens a sequence", "End", "It does not fit")


def test_heatmap(notebook):
    heatmap = notebook.explorer("heatmap")
    heatmap.wait_for("sets the step of all 1,023 others")
    heatmap.press("one scale for each", "ArrowRight", "shares its scale with 63 weights")
    heatmap.press("outlier: size", "End", "60 times a typical weight")


def test_stepper(notebook):
    stepper = notebook.explorer("stepper")
    stepper.wait_for("Nothing is rounded yet")
    stepper.press("columns rounded", "ArrowRight", "The 4 columns to its right moved", times=2)
    stepper.press("bits a weight", "End", "Column 2 is rounded: it is off by up to 0.1")
    stepper.choose("the inputs have", "nothing in common", "No other column moves")
    stepper.press("columns rounded", "End", "Nobody is left to make up for that.")


def test_attention(notebook):
    attention = notebook.explorer("attention")
    attention.wait_for("Keys in 2 bits, with a range for each token")
    attention.press("a range for each", "Home", "with a range for each channel")
    attention.press("left as they are", "End", "The last 64 tokens are as they were")
    attention.press("keys and values in", "End", "Keys in FP8, with one scale for all")


def test_mastery(notebook):
    mastery = notebook.explorer("mastery")
    mastery.wait_for("30 of 70 exercises count. The level is Developing.")
    mastery.choose("statement", "evaluation", "“evaluation” is shown by 10 exercises of chapters 04, 13; 5 count.")
    mastery.press("as if done up to", "End", "The level is Excellent.")
    mastery.press("as if done up to", "Home", "The level is Developing.")
    mastery.choose("what counts", "also with the solution read", "The level is Strong.")


def test_trace(notebook):
    trace = notebook.explorer("trace")
    trace.wait_for("Version 1, 4 rows a program, access 1 of 42: program 0 loads 256 bytes of words")
    trace.press("access", "ArrowRight", "access 2 of 42: program 0 loads", times=1)
    trace.press("rows a program", "End", "every byte of x once")
    trace.press("access", "End", "program 0 stores")
    trace.choose("version", "5: split-K", "Version 5, 8 rows a program")


def test_decide(notebook):
    decide = notebook.explorer("decide")
    decide.wait_for("Try first: AWQ or GPTQ, 4 bits on vLLM. There are no FP8 units here")
    decide.press("sequences at once", "End", "fewer at once, or shorter ones")
    decide.press("sequences at once", "Home", "BF16 fits, too, and is the fallback")
    decide.choose("machine", "NVIDIA GeForce RTX 4090, 24 GiB", "Try first: FP8 checkpoint on vLLM")


def test_protect(notebook):
    protect = notebook.explorer("protect")
    protect.wait_for("α = 0.5: at 3 bits")
    protect.press("alpha", "Home", "that is plain rounding")
    protect.press("weights", "End", "at 4 bits the outputs are off")
    protect.press("alpha", "End", "α = 0.95")


def test_blocks(notebook):
    blocks = notebook.explorer("blocks")
    blocks.wait_for("Byte 4 of 0 … 143 belongs to scales[0]")
    blocks.press("byte", "ArrowRight", "Byte 5 of 0 … 143", times=1)
    blocks.press("byte", "End", "Byte 143 of 0 … 143 belongs to qs[127]")
    blocks.choose("type of the block", "Q4_0", "Byte 17 of 0 … 17")
    blocks.press("byte", "Home", "It is the low half of d")


def test_inspector(notebook):
    inspector = notebook.explorer("inspector")
    inspector.wait_for("Byte 0 of 288 is 47. It belongs to the header: magic")
    inspector.press("field", "ArrowRight", "It belongs to the header: version", times=1)
    inspector.press("bytes further on", "ArrowRight", "Byte 5 of 288", times=1)
    inspector.press("field", "End", "It belongs to the padding", times=1)


def test_offload(notebook):
    offload = notebook.explorer("offload")
    offload.wait_for("25 of 32 layers and the output layer are on the GPUs")
    offload.press("KV cache", "ArrowRight", "All 32 layers", times=1)
    offload.press("tokens of context", "End", "of 32 layers and the output layer", times=1)
    offload.choose("GPUs", "two RTX 4090", "--tensor-split")


def test_toggler(notebook):
    toggler = notebook.explorer("toggler")
    toggler.wait_for("E4M3FN 0 1000 110 is 3.5.")
    toggler.press("code", "ArrowRight", "is 3.75.")
    button = toggler.box.get_by_role("button", name="s = 0")
    button.focus()
    notebook.page.keyboard.press("Space")
    toggler.wait_for("E4M3FN 1 1000 111 is −3.75.")
    toggler.choose("format", "E2M1 (FP4)", "E2M1 1")


def test_comparer(notebook):
    comparer = notebook.explorer("comparer")
    comparer.wait_for("the largest number, 7.1, comes back as 6")
    comparer.press("its largest number", "Home", "the largest number, 4, stays 4")
    comparer.choose("the block holds", "one large number", "the least is NVFP4")
    comparer.choose("show the marks of", "INT4, groups of 32", "INT4, groups of 32: the largest number")


def test_gate(notebook):
    gate = notebook.explorer("gate")
    gate.wait_for("300 items, a margin of 3 points, 0.25 GiB: of 10 candidates 2 may serve: Q5_K_M, Q4_K_M.")
    gate.press("items asked", "Home", "25 items, a margin of 3 points, 0.25 GiB: of 10 candidates none may serve.")
    gate.press("items asked", "End", "2 may serve")
    gate.press("margin, points", "End", "a margin of 10 points")
    gate.press("memory", "End", "1 GiB")


def test_migrate(notebook):
    migrate = notebook.explorer("migrate")
    migrate.wait_for("31 times less than without smoothing")
    migrate.press("alpha", "ArrowRight", "α = 0.55", times=1)
    migrate.press("contract", "ArrowRight", "Under W4A8")
    migrate.choose("scales of inputs", "each token has its own", "Under W4A8")


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
    bot.wait_for("The reply is exactly right.")
    bot.press("bits a weight", "End", "At 2 bits")
    assert notebook.errors == []
    notebook.page.close()
