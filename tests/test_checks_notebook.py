"""The checks in a real kernel: shown once, loops stopped, the Stop button works, passed cells saved."""

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = {
    "start": "from course_lib import check\nimport torch",
    "fail": "def round_trip(w, s, b):\n    return s * torch.round(w / s)\n\ncheck.ch01.round_trip(round_trip)",
    "middle": "result = check.ch01.round_trip(round_trip)\nprint(result.state)",
    "later": "result",
    "loop": (
        "import os, time\nos.environ['COURSE_TIME_LIMIT'] = '1'\n"
        "def round_trip(w, s, b):\n    while True:\n        try:\n            time.sleep(60)\n        except:\n"
        "            pass\ncheck.ch01.round_trip(round_trip)"
    ),
    "stop": (
        "os.environ['COURSE_TIME_LIMIT'] = '300'\n"
        "def round_trip(w, s, b):\n    while True:\n        pass\ncheck.ch01.round_trip(round_trip)"
    ),
    "alive": "print('still here')",
    "pass": (
        "%time 1 + 1\ndef round_trip(w, s, b):\n    print('said')\n    top = 2 ** (b - 1) - 1\n"
        "    return s * torch.clip(torch.round(w / s), -top, top)\n\ncheck.ch01.round_trip(round_trip)"
    ),
    "timed": "%%time\nfrom course_lib import mine\nprint(mine.pieces().whose['round_trip'])",
    "unknown": "check.ch01.roundtrip(round_trip)",
    "hint": "check.ch01.round_trip.hint()",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell by its name, and the kernel's COURSE_HOME."""
    home = tmp_path_factory.mktemp("home")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    stop = CELLS["stop"]
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        interrupt_on_timeout=True,
        timeout_func=lambda cell: 5 if cell.source == stop else 120,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_HOME", str(home))
        client.execute()
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells), strict=True)) | {"home": home}


def only(outputs):
    assert len(outputs) == 1, outputs
    return outputs[0]


def test_a_result_is_shown_once_with_both_forms(outputs):
    shown = only(outputs["fail"])
    assert shown.output_type == "display_data" and set(shown.data) == {"text/plain", "text/html"}
    assert "Likely mistake: no clipping" in shown.data["text/plain"]
    assert "var(--jp-content-font-color1" in shown.data["text/html"] and "aria-label" in shown.data["text/html"]


def test_a_result_is_shown_in_the_middle_of_a_cell_and_again_when_it_is_asked_for(outputs):
    assert [o.output_type for o in outputs["middle"]] == ["display_data", "stream"]
    assert "ch01.round_trip: not yet" in only(outputs["later"]).data["text/plain"]


def test_a_loop_that_swallows_everything_is_stopped(outputs):
    assert "did not finish within 1 s" in only(outputs["loop"]).data["text/plain"]


def test_the_stop_button_stops_and_the_kernel_lives(outputs):
    assert only(outputs["stop"]).ename == "KeyboardInterrupt"
    assert only(outputs["alive"]).text == "still here\n"


def test_a_passed_cell_is_saved_without_its_magics(outputs):
    shown = outputs["pass"][-1].data["text/plain"]
    assert "ch01.round_trip: passed" in shown and "Saved: round_trip" in shown and "said" in shown
    saved = (outputs["home"] / "my_quantizer" / "ch01.round_trip.py").read_text()
    assert "# get_ipython()" in saved and "# check.ch01.round_trip(round_trip)" in saved
    assert outputs["timed"][0].text.startswith("yours")


def test_errors_and_hints(outputs):
    assert "did you mean round_trip" in only(outputs["unknown"]).evalue
    assert "hint 1 of 3" in only(outputs["hint"]).data["text/plain"]
