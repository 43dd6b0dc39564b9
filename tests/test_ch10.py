"""Chapter 10's own: its references, what the text says, explorers, warm-ups, *mine*."""

import contextlib
import io
import itertools
import json
import math
import random
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from course_lib import Scheme, quantize
from course_lib.checks import pieces
from course_lib.checks.ch10 import cheapest, fp8_rows, mx_block, nearest, nvfp4, value, warmup
from course_lib.checks.ch10 import mine as recipe
from course_lib.checks.verdict import PASS
from course_lib.formats import microscaling, minifloat
from course_lib.viz import explorers
from course_lib.viz.explorers import ch10_comparer, ch10_toggler
from course_lib.viz.plots import ch10, gpu

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "10-fp8-fp4.ipynb"
SEEDS = range(40)


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch10-{name}"))


def printed(source, **space):
    out = io.StringIO()
    known = {"torch": torch, "Scheme": Scheme, "quantize": quantize, "minifloat": minifloat}
    with contextlib.redirect_stdout(out):
        exec(source, known | {"microscaling": microscaling, "ml_dtypes": ml_dtypes, "np": np} | space)
    return out.getvalue()


# the exercises' references, against the library and other programs


@pytest.mark.parametrize("name", ["e2m1", "e3m2", "e2m3", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz"])
def test_value_is_every_finite_number_of_every_format(name):
    f = minifloat.get(name)
    for code, number in enumerate(f.values):
        if np.isfinite(number):
            assert value.reference(code, f.exponent, f.mantissa, f.bias) == number


@pytest.mark.parametrize(("name", "theirs"), [("e2m1", ml_dtypes.float4_e2m1fn), ("e2m3", ml_dtypes.float6_e2m3fn),
                                              ("e3m2", ml_dtypes.float6_e3m2fn)])  # fmt: skip
def test_nearest_is_ml_dtypes_cast(name, theirs):
    values = torch.from_numpy(minifloat.get(name).magnitudes).float()
    x = torch.cat([randn(0, 2000) * 3, (values[1:] + values[:-1]) / 2, -(values[1:] + values[:-1]) / 2])
    assert nearest.reference(x, values).tolist() == x.numpy().astype(theirs).view(np.uint8).tolist()


def test_fp8_rows_is_the_scheme_of_one_scale_a_row():
    x = torch.cat([randn(1, 5, 24), torch.zeros(1, 24)])
    q, s = fp8_rows.reference(x)
    library = quantize(x, Scheme("e4m3fn"))
    assert torch.equal(s, library.scale) and torch.equal(q * s, library.dequantize())


def test_mx_block_is_the_library_s_floor_rule():
    x = torch.cat([randn(2, 50, 32) * 10.0 ** torch.linspace(-6, 6, 50)[:, None], torch.zeros(1, 32)])
    q = microscaling.quantize(x, "mxfp4", "floor")
    found = [mx_block.reference(row) for row in x]
    assert [byte for byte, _ in found] == q.scale.view(torch.uint8).flatten().tolist()
    assert torch.equal(torch.stack([codes for _, codes in found]), q.codes)


def test_nvfp4_is_the_library_s():
    w = randn(3, 16, 64) * torch.logspace(-2, 1, 16)[:, None]
    t, s, codes = nvfp4.reference(w)
    q = microscaling.quantize(w, "nvfp4")
    assert torch.equal(t, q.tensor_scale) and torch.equal(s, q.scale.float()) and torch.equal(codes, q.codes)


def test_a_format_whose_size_is_no_int_is_judged_as_the_listed_one():
    def floats(x, formats, budget):
        found = cheapest.reference(x, formats, budget)
        return found and (found[0], float(found[1]))

    assert cheapest.judge(floats).state == PASS


def test_cheapest_looks_at_every_format():
    x, formats = randn(4, 4, 16), [("e2m1", 16), ("e2m1", 4), ("e2m3", 16), ("e4m3fn", 16)]
    figures = {}
    for element, block in formats:
        q = quantize(x, Scheme(element, (1, block), scale_dtype=torch.float8_e8m0fnu))
        figures[element, block] = q.bits_per_weight, ((q.dequantize() - x).norm() / x.norm()).item() ** 2
    for budget in (1e-5, 1e-3, 5e-3, 0.1):
        fits = [(bits, error, f) for f, (bits, error) in figures.items() if error <= budget]
        assert cheapest.reference(x, formats, budget) == (min(fits)[2] if fits else None)


# what the text says


def test_the_two_codes_by_hand():
    lines = printed(cell("parts")).splitlines()
    assert lines[0].endswith(" 448.0") and "0.001953125" in lines[1] and lines[2].endswith("[448.0, 0.001953125, nan]")


def test_two_casts_of_six_hard_numbers():
    casts = {
        "torch": lambda x: x.to(torch.float8_e4m3fn).float(),
        "ml_dtypes": lambda x: torch.from_numpy(x.numpy().astype(ml_dtypes.float8_e4m3fn).astype("f4")),
    }
    lines = [line.split() for line in printed(cell("agree"), casts=casts).splitlines()]
    assert lines[1][1:] == ["448", "448", "448", "448", "448", "1"]
    assert lines[2][1:] == ["448", "448", "nan", "nan", "nan", "1"]
    assert lines[3][1:] == ["448", "448", "448", "448", "448", "1.125"]
    assert lines[4][1:] == ["448", "448", "nan", "nan", "nan", "1.125"]


def test_a_hair_is_lost_on_the_way_through_32_bits():
    lines = printed(cell("twice"), hard=np.array([448, 1.0625 + 2.0**-40])).splitlines()
    assert lines[0].endswith("1.062500000001, in 8 bits 1.125") and lines[1].endswith("1.062500000000, in 8 bits 1")


def test_the_three_blocks_under_four_rules():
    lines = printed(cell("rules")).splitlines()
    bytes_ = [[int(n) for n in re.findall(r"byte (\d+)", line)] for line in lines]
    assert bytes_ == [[127, 128, 127, 128], [127, 128, 128, 128], [127, 128, 128, 128]]
    assert all("floor: byte 127, 6 " in line for line in lines)


def test_the_block_by_hand_is_clipped_to_3():
    assert "comes back as [3.0, 1.0, -0.5, 0.0]" in printed(cell("mx-by-hand"))


def test_ggml_s_tie_and_ours():
    shown = printed(cell("where"))
    assert "0.75 comes back as 0.5" in shown and "0.75 comes back as 1.0" in shown
    assert "'weight_block_size': (128, 128)" in shown or "'weight_block_size': [128, 128]" in shown


def test_four_over_six_and_ties_to_even_lower_the_error():
    w = randn(5, 64, 256)
    errors = [(microscaling.quantize(w, *way).dequantize() - w).square().sum() for way in
              (("mxfp4", "floor"), ("mxfp4", "even"), ("nvfp4", None), ("nvfp4", "four-over-six"))]  # fmt: skip
    assert errors == sorted(errors, reverse=True)


def test_integers_and_floats_cross():
    curves = {}
    sizes = torch.logspace(-12, -0.5, 24, base=2)
    near = sizes[:, None] * torch.logspace(-0.5, 0.5, 200, base=2)
    for name, scheme in (("INT8", Scheme.int(8, group="tensor")), ("E4M3", Scheme("e4m3fn", (-1, -1)))):
        x = torch.cat([near.flatten(), torch.ones(1)])[None]
        off = (quantize(x, scheme).dequantize() - x)[0, :-1].reshape(near.shape)
        curves[name] = off.abs().mean(1) / sizes
    assert curves["INT8"][-1] < curves["E4M3"][-1] and curves["INT8"][0] > 5 * curves["E4M3"][0]
    assert curves["E4M3"].max() < 1 / 16
    figure = ch10.relative_error(sizes.tolist(), {name: c.tolist() for name, c in curves.items()})
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["INT8", "E4M3"]


# pictures


@pytest.mark.parametrize("format_", [name for _, name in ch10_toggler.FORMATS])
def test_every_code_draws_and_says_something(format_):
    toggler = explorers.toggler()
    f = minifloat.get(format_)
    for code in range(2**f.bits):
        c = toggler.numbers(format_, code)
        assert c.value == f.values[code] or (math.isnan(c.value) and np.isnan(f.values[code]))
        said = toggler.sentence(c)
        assert said.endswith(".") and 40 < len(said) < 330 and not re.search(r"nan|inf\b|None|-\d", said), said
        if code % 7 == 0:
            assert "nan" not in toggler.draw(c).svg("")


def test_what_the_toggler_s_tasks_promise():
    toggler = explorers.toggler()
    keys = ("e4m3fn", 56), ("e4m3fn", 127), ("e4m3fnuz", 127), ("e4m3fnuz", 128), ("e5m2", 60)
    first, nan, end, amd, one = (toggler.sentence(toggler.numbers(*key)) for key in keys)
    assert "is 1. Its neighbours are 0.9375 and 1.125, 0.0625 below and 0.125 above" in first
    assert "the code of NaN" in nan and "the code of NaN" in amd
    assert "is 240. It is the largest" in end
    assert "is 1. Its neighbours are 0.875 and 1.25" in one
    assert minifloat.get("e5m2").max == 57344


def test_the_bits_are_buttons_that_flip_the_slider_s_code():
    toggler = explorers.toggler(format="e4m3fn", code=0)
    box = toggler.box()
    choice, slider, row, face = box.children
    buttons = row.children[1].children
    buttons[0].click()
    assert slider.value == 128 and buttons[0].description == "s = 1"
    buttons[7].click()
    assert slider.value == 129 and buttons[7].description == "m0 = 1" and "0.00195" in face.value
    choice.value = "E2M1 (FP4)"
    assert slider.max == 15 and slider.value <= 15 and [b.layout.display for b in buttons[4:]] == ["none"] * 4
    buttons[3].click()
    assert buttons[3].description in ("m0 = 0", "m0 = 1")


def test_the_comparer_s_errors_are_the_library_s_and_every_corner_draws():
    comparer = explorers.comparer()
    for data, top, (_, way) in itertools.product(("bell", "outlier", "even"), (4.0, 6.0, 7.1, 8.0), ch10_comparer.WAYS):
        n = comparer.numbers(data, top, way)
        x, rows, shown = n
        assert np.abs(x).max() == pytest.approx(top)
        assert rows[shown].label in comparer.sentence(n) and "nan" not in comparer.draw(n).svg("")
        error = 100 * np.square(rows[shown].back - x).sum() / np.square(x).sum()
        assert error == pytest.approx(rows[shown].error, rel=1e-5)
    x, rows, _ = comparer.numbers("bell", 7.1, ("mxfp4", "even"))
    q = microscaling.quantize(torch.from_numpy(x)[None], "mxfp4", "even")
    assert np.array_equal(rows[2].back, q.dequantize()[0].numpy()) and rows[2].scales == (2.0,)


def test_what_the_comparer_s_tasks_promise():
    comparer = explorers.comparer()

    def scale(top, k):
        return comparer.numbers("bell", top, ("mxfp4", "floor"))[1][k].scales[0]

    assert [scale(t, 1) for t in (6.0, 8.0)] == [2.0, 2.0]  # ceil, all along
    assert [scale(t, 3) for t in (6.0, 6.1)] == [1.0, 2.0]  # rceil, from just above 6
    assert [scale(t, 2) for t in (6.9, 7.0)] == [1.0, 2.0]  # even, from 7 on
    outlier, even = (comparer.numbers(data, 7.1, ("mxfp4", "floor"))[1] for data in ("outlier", "even"))
    assert min(outlier[:4] + outlier[6:], key=lambda r: r.error).error > 3 * outlier[4].error
    assert min(even, key=lambda r: r.error).label.startswith("INT4")


def test_the_plots_name_their_formats():
    figure = ch10.ranked([("NVFP4", 4.5, 0.037, 0.002), ("INT4", 4.5, 0.03, 0.002)], "title")
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["INT4", "NVFP4"]
    figure = ch10.before_after({"MXFP4": (0.16, 0.12), "NVFP4": (0.077, 0.084)}, "title")
    said = [t.get_text() for t in figure.axes[0].texts if t.get_text()]
    assert said == ["as it is: 0.16", "rotated: 0.12", "as it is: 0.077", "rotated: 0.084"]


def test_words_of_exponents_stand_over_their_bars():
    axes = ch10.words(np.array([0, 6, 0, 2, 1]), np.array([0, 1, 0, 2, 2])).axes[0]
    assert [(t.get_text(), t.xy[0]) for t in axes.texts] == [("1", 1), ("2", 3), ("2", 4)]
    assert [round(bar.get_height(), 1) for bar in axes.patches] == [66.7, 22.2, 11.1]


def test_the_labels_of_the_neighbours_stand_apart():
    box = explorers.toggler()
    for format in ("e5m2", "e4m3fn", "e4m3fnuz", "e2m1"):
        for code in range(0, 2 ** minifloat.get(format).bits, 3):
            marks = box.frame(format=format, code=code)[1].marks
            labels = sorted((m.at[0], len(m.at[2])) for m in marks if m.kind == "text" and m.at[1] == 316)
            for (left, a), (right, b) in itertools.pairwise(labels):
                assert right - left > 7.5 * (a + b) / 2, (format, code)


def test_a_format_looks_the_same_in_the_gpu_pictures_of_every_chapter():
    names = {"w4a16-g128": "INT4", "mxfp4": "MXFP4", "nvfp4": "NVFP4", "fp8-row": "FP8"}
    few, many = (
        {line.get_label().split(":")[0]: (line.get_color(), line.get_marker()) for line in figure.axes[0].get_lines()}
        for figure in (gpu.gpu_speedup({"fp8-row": "FP8", "w4a16-act-order": "act"}), gpu.gpu_speedup(names))
    )
    assert few["FP8"] == many["FP8"] and len(set(many.values())) == len(names) + 1  # the last one marks 1
    assert few["act"] != few["FP8"]


# mine and warm-ups


def test_the_recipe_is_the_library_s_nvfp4():
    w = randn(6, 8, 64)
    q = recipe.quantize(pieces.references(), w, recipe.RECIPE.scheme)
    assert torch.equal(q.dequantize(), microscaling.quantize(w, "nvfp4").dequantize())
    assert q.nbytes == microscaling.quantize(w, "nvfp4").nbytes
    with pytest.raises(ValueError, match="this chapter's quantizer is NVFP4"):
        recipe.quantize(pieces.references(), w, Scheme.int(4))


@pytest.mark.parametrize("seed", SEEDS)
def test_warm_up_answers_follow_from_the_questions(seed):
    code = warmup.e2m1_code(random.Random(seed))
    said = int(re.search(r"code (\d{4})", code.text).group(1), 2)
    assert minifloat.get("e2m1").values[said] == code.answer
    top = float(re.search(r"block is ([\d.]+?)\. ", warmup.mx_exponent(random.Random(seed)).text).group(1))
    scale = microscaling.quantize(torch.full((1, 32), top), "mxfp4").scale.float().item()
    assert math.log2(scale) == warmup.mx_exponent(random.Random(seed)).answer


def test_the_hints_compute_what_they_say():
    assert value.reference(0b0101, 2, 1, 1) == 3 and value.reference(0b0001, 2, 1, 1) == 0.5
    byte, codes = mx_block.reference(torch.tensor([3.5] + 31 * [0.0]))
    assert byte == 126 and codes[0] == 7
    t, s, _ = nvfp4.reference(torch.cat([torch.full((1, 16), 12.0), torch.full((1, 16), 3.0)], 1))
    assert t.item() == pytest.approx(12 / 2688) and s.tolist() == [[448.0, 112.0]]
    q, s = fp8_rows.reference(torch.tensor([[-7.0, 1.0]]))
    assert s.item() == 1 / 64 and q.tolist() == [[-448.0, 64.0]]
    assert nearest.reference(torch.tensor([0.5, 1.5]), torch.tensor([0.0, 1, 2, 3])).tolist() == [0, 2]
