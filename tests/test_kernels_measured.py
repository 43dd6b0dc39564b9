"""Recorded GPU times: found by name and shape, drawn with where they come from, and missed in one sentence."""

import json

import pytest

from course_lib.kernels.measure import measured
from course_lib.viz import plots
from course_lib.viz.plots import gpu


@pytest.fixture
def file(tmp_path):
    machine = {"gpu": "Some GPU", "torch": "2.11", "triton": "3.6"}
    rows = [{"kernel": "w4a16-g128", "m": m, "n": 8192, "k": 28672, "us": us, "torch_bf16_us": 100.0,
             "percent_of_copy": 1.0, "peers": {"other": 80.0, "apart": 50.0}, "peers_torch_us": {"apart": 75.0}}
            for m, us in [(16, 50.0), (1, 40.0)]]  # fmt: skip
    rows += [{"kernel": "kv_fp8", "m": 1, "n": 1024, "k": k, "us": 10.0, "torch_bf16_us": 15.0,
              "percent_of_copy": 1.0, "peers": {}} for k in (4096, 32768)]  # fmt: skip
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"machine": machine, "date": "2026-01-02T03:04", "command": "course bench kernels",
                                "rows": rows}))  # fmt: skip
    return path


def test_rows_come_in_order_of_tokens_and_a_wrong_name_is_answered(file):
    assert [row["m"] for row in measured.rows("w4a16-g128", 8192, 28672, path=file)] == [1, 16]
    with pytest.raises(ValueError, match="one of kv_fp8, w4a16-g128"):
        measured.rows("w5", path=file)
    with pytest.raises(FileNotFoundError, match="course bench kernels --json"):
        measured.rows("w4a16-g128", path=file.with_name("none.json"))


def test_the_picture_shows_ratios_and_says_where_they_come_from(file):
    figure = plots.gpu_speedup({"w4a16-g128": "INT4"}, peers=["other", "apart", "absent"], path=file)
    lines = figure.axes[0].get_lines()
    assert list(lines[0].get_ydata()) == [2.5, 2.0] and list(lines[1].get_ydata()) == [1.25, 1.25]
    assert list(lines[2].get_ydata()) == [1.5, 1.5]  # against torch's time beside it
    assert len(lines) == 4  # the fourth marks 1
    assert "Some GPU, torch 2.11, triton 3.6, 2026-01-02; course bench kernels" in figure.get_supxlabel()
    figure = plots.gpu_attention({"kv_fp8": "FP8"}, path=file)
    assert list(figure.axes[0].get_lines()[0].get_ydata()) == [1.5, 1.5]


def test_the_figures_behind_the_picture_as_text(file):
    text = gpu.speeds({"w4a16-g128": "INT4"}, (1, 16, 64), peers=["other"], path=file)
    assert [line.split()[-3:] for line in text.splitlines()] == [
        ["1", "16", "64"], ["2.50", "2.00", "–"], ["1.25", "1.25", "–"],
    ]  # fmt: skip
    assert len({len(line) for line in text.splitlines()}) == 1
