"""Explorers and plots: the figures they show, the sentences they say, and how they reach a notebook."""

import functools
import io
import itertools
import random
import re
import struct

import numpy as np
import pytest
import torch

from course_lib import pictures
from course_lib.viz import explorers, palette, plots
from course_lib.viz.axis import Axis, nice_step, number
from course_lib.viz.bot import Bot, compare, faults
from course_lib.viz.controls import Choice
from course_lib.viz.display import bundle
from course_lib.viz.explorers.ch01_ruler import round_trip
from course_lib.viz.explorers.ch02_grid import examples, fit
from course_lib.viz.explorers.ch03_planner import plan
from course_lib.viz.explorers.ch04_heatmap import measure, typical
from course_lib.viz.scene import Scene
from tests.fake_bot import MESSAGES, FakeBot
from tests.tiny import llama, tokenizer

MAKERS = {
    "break_the_bot": lambda: explorers.break_the_bot(bot=FakeBot(), messages=MESSAGES),
    "ruler": explorers.ruler,
    "grid": explorers.grid,
    "planner": explorers.planner,
    "heatmap": explorers.heatmap,
    "migrate": explorers.migrate,
    "stepper": explorers.stepper,
    "attention": explorers.attention,
    "canary": explorers.canary,
    "pages": lambda: explorers.pages(block=32),
}


@pytest.fixture(params=MAKERS, scope="module")
def explorer(request):
    return MAKERS[request.param]()


def ends_and_middle(control):
    """Both ends of a control and its middle."""
    values = control.values()
    return [values[0], values[len(values) // 2], values[-1]]


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


# every explorer


@functools.cache
def ink(text, size, bold, mono):
    """(left, right, bottom, top) of a text's letters from its origin, in DejaVu: wide, and at hand everywhere."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family="DejaVu Sans Mono" if mono else "DejaVu Sans", weight="bold" if bold else "normal")
    path = TextPath((0, 0), text, size=size, prop=font)
    ends = path.vertices[path.codes != path.CLOSEPOLY]  # these letters turn at points of their outlines
    return ends[:, 0].min(), ends[:, 0].max(), ends[:, 1].min(), ends[:, 1].max()


def words_in_trouble(scene, slack=1.5):
    """Words that reach beyond the picture, or run into other words by more than `slack` pixels both ways."""
    placed, found = [], []
    for mark in scene.marks:
        if mark.kind != "text" or not mark.at[2].strip() or mark.look["length"]:
            continue
        (x, y, text), look = mark.at, mark.look
        left, right, bottom, top = ink(text, look["size"], look["bold"], look["mono"])
        x -= {"start": 0, "middle": right / 2, "end": right}[look["anchor"]]
        left, right, top, bottom = x + left, x + right, y - top, y - bottom
        if left < -slack or right > scene.width + slack or top < -slack or bottom > scene.height + slack:
            found.append((text, "the edge"))
        for other, a, b, c, d in placed:
            if min(right, b) - max(left, a) > slack and min(bottom, d) - max(top, c) > slack:
                found.append((text, other))
        placed.append((text, left, right, top, bottom))
    return found


@pytest.mark.parametrize("name, setting", pictures.STILLS.values(), ids=pictures.STILLS)
def test_no_words_run_into_others_or_off_the_picture(name, setting):
    explorer = MAKERS[name]() if name == "break_the_bot" else getattr(explorers, name)(**setting)
    rng = random.Random(9)
    for _ in range(6 if name == "trace" else 12):
        state = {control.name: rng.choice(control.values()) for control in explorer.controls}
        assert words_in_trouble(explorer.frame(**state)[1]) == [], state


@pytest.mark.parametrize(
    "name, state",
    [
        ("trace", {"version": 5, "rows": 1, "access": 176}),
        ("trace", {"version": 5, "rows": 4, "access": 15}),
        ("capacity", {"model": "deepseek-v3", "weights": "gptq", "batch": 32}),
        ("capacity", {"model": "llama-3.2-3b", "weights": "gptq", "batch": 32}),
        ("capacity", {"model": "gpt-oss-120b", "weights": "bf16", "kv_bits": 3, "batch": 8, "gb": True}),
    ],
)
def test_words_that_once_were_in_trouble(name, state):
    assert words_in_trouble(getattr(explorers, name)(**state).frame()[1]) == []


def test_words_in_trouble_are_seen():
    assert words_in_trouble(Scene(100, 40).text(50, 20, "here").text(52, 24, "there")) == [("there", "here")]
    assert words_in_trouble(Scene(100, 40).text(95, 20, "off it", anchor="start")) == [("off it", "the edge")]
    assert words_in_trouble(Scene(100, 40).text(50, 15, "above").text(50, 34, "below")) == []


def test_every_corner_of_every_control_draws_and_says_something(explorer):
    for values in itertools.product(*map(ends_and_middle, explorer.controls)):
        state = dict(zip([control.name for control in explorer.controls], values, strict=True))
        sentence, scene = explorer.frame(**state)
        assert sentence.endswith((".", "!")) and 40 < len(sentence) < 330, (state, sentence)
        assert not re.search(r"nan|inf\b|None|(?<![a-z])-\d", sentence), (state, sentence)  # a minus sign is −
        assert scene.width == 760 and len(scene.marks) > 15


SEVERAL = "sequences|tokens|points|columns|values|times|layers|rows|sectors|bytes|weights|channels|exercises"


@pytest.mark.parametrize("name", explorers.__all__)
def test_sentences_can_count_to_one(name):
    draw, shown = random.Random(0), MAKERS.get(name, getattr(explorers, name))()
    for _ in range(25 if name == "trace" else 100):
        state = {control.name: draw.choice(control.values()) for control in shown.controls}
        said = shown.sentence(shown.numbers(**state))
        assert not re.search(rf"(?<![\d.,])1 ({SEVERAL})\b", said), (state, said)


def test_nothing_is_drawn_outside_the_picture(explorer):
    for values in itertools.product(*map(ends_and_middle, explorer.controls)):
        _, scene = explorer.frame(**dict(zip([c.name for c in explorer.controls], values, strict=True)))
        for mark in scene.marks:
            points = mark.at if mark.kind == "path" else [mark.at[:2]]
            assert all(-1 <= x <= scene.width + 1 and -1 <= y <= scene.height + 1 for x, y in points), (values, mark)


def test_two_or_three_controls_with_a_name_each_and_at_most_four(explorer):
    assert 2 <= len(explorer.controls) <= 4
    labels = [control.label for control in explorer.controls]
    assert len(set(labels)) == len(labels) and all(3 <= len(label) <= 20 for label in labels)


def test_a_control_that_moves_changes_picture_and_sentence(explorer):
    start = {control.name: control.value for control in explorer.controls}
    before = explorer.html(**start)
    for control in explorer.controls:
        other = next(value for value in reversed(control.values()) if value != control.value)
        assert explorer.html(**{**start, control.name: other}) != before, control.name


def test_one_bundle_holds_the_widget_a_sharp_png_and_the_sentence(explorer):
    data, metadata = explorer.bundle()
    sentence, scene = explorer.frame()
    assert set(data) >= {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert data["text/plain"] == sentence == metadata["image/png"]["alt"]
    assert png_size(data["image/png"]) == (2 * scene.width, 2 * scene.height)
    assert metadata["image/png"]["width"] == scene.width


def test_a_slider_of_the_widget_moves_the_picture(explorer):
    box = explorer.box()
    *handles, face = box.children
    control, handle, before = explorer.controls[-1], handles[-1], face.value
    labels = [label for label, _ in getattr(control, "options", [(value, value) for value in control.values()])]
    handle.value = next(label for label in labels if label != handle.value)
    assert face.value != before
    assert explorer.state[control.name] == control.read(handle.value)
    assert [handle.description for handle in handles] == [control.label for control in explorer.controls]


def test_the_page_gets_a_named_picture_and_no_stray_markup(explorer):
    html = explorer.html()
    assert html.count('role="img"') == 1 and 'aria-label="' in html
    assert len(html) < 120_000
    sliders = sum(not isinstance(control, Choice) for control in explorer.controls)
    assert f'data-sliders="{sliders}"' in html


def test_an_unknown_control_is_named():
    with pytest.raises(TypeError, match="ruler: no control named width; there are bits, s, w"):
        explorers.ruler(width=3)


def test_an_unknown_explorer_or_plot_is_named():
    with pytest.raises(AttributeError, match="has no 'rular'; it has break_the_bot, ruler"):
        _ = explorers.rular
    with pytest.raises(AttributeError, match="has no 'histo'"):
        _ = plots.histo


# the figures behind each picture


def test_ruler_shows_the_document_s_weight():
    fine, coarse = round_trip(0.73, 0.1, 8), round_trip(0.73, 0.5, 8)
    assert (fine.q, round(fine.restored, 9), round(fine.error, 9)) == (7, 0.7, 0.03)
    assert (coarse.q, coarse.restored) == (1, 0.5)


def test_ruler_rounds_ties_to_even_and_clips_to_the_restricted_range():
    assert [round_trip(w, 0.1, 5).q for w in (0.05, 0.15, 0.25, -0.25)] == [0, 2, 2, -2]
    far = round_trip(1.4, 0.1, 4)
    assert far.clipped and far.q == 7 and round(far.error, 9) == 0.7
    assert "(a tie: it goes to the even mark)" in explorers.ruler(w=0.25).frame()[0]


def test_ruler_agrees_with_quantize():
    from course_lib import Scheme, quantize

    for w in np.linspace(-1, 1, 41):
        q = quantize(torch.tensor([w, 1.4]), Scheme.int(4))  # 1.4 sets the scale to 0.2
        assert round_trip(round(float(w), 4), 0.2, 4).q == q.codes[0].item()


def test_grid_shows_the_document_s_two_steps():
    values = np.array([0.0, 1.2, 1.8, 2.6, 3.0], np.float32)
    symmetric, asymmetric = fit(values, 4, True, 100), fit(values, 4, False, 100)
    assert (round(symmetric.step, 3), round(asymmetric.step, 3)) == (0.429, 0.2)
    assert (symmetric.used[:7] == 0).all() and asymmetric.zero == 0


@pytest.mark.parametrize("symmetric", [True, False])
def test_grid_splits_the_whole_error(symmetric):
    for values in examples().values():
        for kept in (100, 99, 95):
            f = fit(values, 4, symmetric, kept)
            nearest = np.abs(values[:, None] - f.marks[None, :]).min(axis=1) ** 2
            assert f.total == pytest.approx(float(nearest.mean()), rel=1e-3)
            assert f.rounding <= f.step**2 / 4 and (f.clipping > 0) == (f.outside > 0)


def test_grid_takes_a_learner_s_own_values_and_refuses_bad_ones():
    shown = explorers.grid(values={"mine": torch.randn(40, 300)})
    assert shown.sets["mine"].shape == (4096,)
    with pytest.raises(ValueError, match="'mine' must hold finite numbers"):
        explorers.grid(values={"mine": [1.0, float("nan")]})


def test_planner_shows_the_document_s_sizes():
    whole, small = plan(70e9, (16, None), "h100-sxm", 1), plan(70e9, (4, 128), "h100-sxm", 1)
    assert whole.total_bytes == 140e9 and not whole.fits
    assert small.codes_bytes == 35e9 and round(small.scales_bytes / 1e9, 2) == 1.09 and small.fits


def test_planner_says_when_fewer_bits_stop_helping():
    ahead, beyond = (plan(70e9, (4, 128), "h100-sxm", batch) for batch in (1, 512))
    assert ahead.bound == "memory" and round(ahead.rate / ahead.rate16, 1) == 3.9
    assert beyond.bound == "compute" and beyond.rate == pytest.approx(plan(70e9, (16, None), "h100-sxm", 512).rate)
    assert "fewer bits no longer help" in explorers.planner(device="h100-sxm", weights=(4, 128), batch=512).frame()[0]


def test_heatmap_s_outlier_hurts_its_block_and_no_other():
    clean = measure(5, 21, 1.0, 16)
    with_outlier = measure(5, 21, 30.0, 16)
    block = np.zeros((16, 64), bool)
    block[5, 16:32] = True
    assert with_outlier.block == (5, 6, 16, 32)
    assert np.array_equal(with_outlier.error[~block], clean.error[~block])
    assert with_outlier.near > 5 * clean.near


def test_heatmap_s_sentence_follows_the_outlier():
    assert len({explorers.heatmap(row=row, col=col).frame()[0] for row, col in ((5, 21), (6, 21), (5, 22))}) == 3


def test_heatmap_s_price_falls_from_tensor_to_four_columns():
    h = measure(5, 21, 20.0, "tensor")
    bits = [entry[1] for entry in h.price]
    sqnr = [entry[2] for entry in h.price]
    assert bits == sorted(bits) and bits[0] == pytest.approx(4 + 16 / 1024) and bits[-1] == 8
    assert sqnr == sorted(sqnr) and h.far is None
    assert typical().std() == pytest.approx(1, abs=0.05)


# the bot


def test_bot_s_sentence_follows_the_bits():
    shown = explorers.break_the_bot(bot=FakeBot(), messages=MESSAGES)
    assert shown.frame(bits=16)[0].endswith("over the budget of 1.90 MB. olive-5426: the reply is exactly right.")
    assert "the refund goes to the wrong order (olive-4526, not olive-5426)" in shown.frame(bits=4)[0]
    assert "tokens are still right (9" in shown.frame(bits=3)[0]
    assert "no longer JSON" in shown.frame(bits=2)[0]


def test_bot_s_sentence_names_the_request():
    shown = explorers.break_the_bot(bot=FakeBot(), messages=MESSAGES)
    assert "iris-2176: the reply is exactly right." in shown.frame(message=1)[0]


def test_bot_compares_token_by_token():
    tokens = FakeBot().tokens
    wanted = MESSAGES[0].answer.strip()
    same = compare(wanted, wanted, MESSAGES[0].action, tokens)
    assert same.exact and same.right == len(same.hits) and len(same.pieces) == 1
    other = compare(wanted.replace("5426", "5427"), wanted, MESSAGES[0].action, tokens)
    assert not other.exact and other.right == len(other.hits) - 1
    assert [text for text, right in other.pieces if not right] == ["27"]
    short = compare(wanted.replace('"total":40,', ""), wanted, MESSAGES[0].action, list)  # letters for tokens
    assert ("", False) in short.pieces and short.right < len(short.hits)


def test_bot_names_the_gravest_fault_first():
    wanted = MESSAGES[0].action
    line = wanted["lines"][0]
    assert list(faults(wanted, wanted)) == []
    assert list(faults({**wanted, "pay": "card"}, wanted)) == ["the money goes to the card, not the voucher"]
    assert next(faults({**wanted, "order": "x", "total": 9}, wanted)).startswith(
        "the refund goes to the wrong order (x,"
    )
    assert list(faults({**wanted, "lines": []}, wanted)) == ["the reply lists 0 items instead of 2"]
    swapped = {**wanted, "lines": [{**line, "do": "refund"}, *wanted["lines"][1:]]}
    assert list(faults(swapped, wanted)) == ["the red jacket gets “refund” instead of “resend”"]
    moved = {**wanted, "lines": [{**line, "shelf": 417}, *wanted["lines"][1:]]}
    assert list(faults(moved, wanted)) == ["the red jacket goes to shelf 417, not 374"]
    for odd in ({}, {"order": 3}, {**wanted, "lines": None}, {**wanted, "lines": ["a", "b"]}, {**wanted, "extra": 1}):
        assert all(isinstance(said, str) for said in faults(odd, wanted)) and list(faults(odd, wanted))


@pytest.fixture(scope="module")
def tiny():
    """A random Llama of no sense, and its tokenizer."""
    return llama(context=512), tokenizer()


def test_bot_on_a_real_model_shrinks_and_keeps_its_replies(tiny):
    bot = Bot(*tiny)
    prompt = MESSAGES[0].prompt
    sizes = [bot.reply(prompt, bits).size_bytes for bits in (16, 8, 4, 2)]
    assert sizes == sorted(sizes, reverse=True)
    assert bot.reply(prompt, 4) is bot.reply(prompt, 4)
    assert "".join(bot.tokens('{"do":"refund"} é')) == '{"do":"refund"} é'


def test_bot_runs_on_a_learner_s_rounding(tiny):
    prompt = MESSAGES[0].prompt
    theirs = Bot(*tiny, rounding=lambda w, s: s * torch.round(w / s)).reply(prompt, 4)
    assert theirs == Bot(*tiny).reply(prompt, 4)


def test_a_learner_s_rounding_that_fails_is_said_and_nothing_breaks(tiny):
    shown = explorers.break_the_bot(lambda w, s: w / 0 + missing, *tiny, messages=MESSAGES)  # noqa: F821
    assert shown.frame(bits=4)[0] == "Your rounding stopped with NameError: name 'missing' is not defined."
    assert (
        "ValueError: function must return a finite tensor"
        in explorers.break_the_bot(lambda w, s: s * float("nan"), *tiny, messages=MESSAGES).frame(bits=4)[0]
    )
    with pytest.raises(TypeError, match="rounding must be a function of .w, s., got float"):
        explorers.break_the_bot(rounding=0.5)


# palette, axes, words


def contrast(first, second):
    """Contrast ratio of two hex colours after WCAG 2."""

    def luminance(color):
        channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted(map(luminance, (first, second)))
    return (lighter + 0.05) / (darker + 0.05)


def test_palette_is_legible_on_both_papers():
    for table in (palette.LIGHT, palette.DARK):
        for name in ("ink", "muted", "blue", "red", "green", "purple"):
            for ground in ("paper", "card"):
                assert contrast(table[name], table[ground]) >= 4.4, (name, ground)


def test_axis_and_number():
    assert Axis(1, 1000, 0, 300, log=True)(10) == pytest.approx(100)
    assert Axis(0, 1, 0, 10).inside(7) == 10
    assert Axis(-1.5, 1.5, 0, 1).ticks(6) == [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]
    assert [nice_step(v) for v in (0.13, 1.0, 7.1)] == [0.2, 1.0, 10.0]
    assert [number(v) for v in (0, -0.5, 1e9, 0.1 + 0.2, float("nan"))] == [
        "0",
        "−0.5",
        "1,000,000,000",
        "0.3",
        "not a number",
    ]


# static plots and show


PLOTS = {
    "compare_histograms": lambda: plots.compare_histograms({"a": np.arange(9.0), "b": np.ones(4)}),
    "sqnr_by_bits": lambda: plots.sqnr_by_bits([2, 3, 4], {"one": [4, 11, 17], "two": [7, 14, 20]}),
    "footprints": lambda: plots.footprints({"FP16": 140, "INT4": 35}, limit=80),
    "roofline": lambda: plots.roofline("h100-sxm", [("batch 1", 1)]),
    "ladder": lambda: plots.ladder(
        [dict(name="8", kl=1e-4, top1=0.99, task=1.0), dict(name="2", kl=1.3, top1=0.3, task=0)]
    ),
    "my_curve": lambda: plots.my_curve([dict(name="a", bytes=1e6, task=0.5, own=False)], budget_bytes=2e6),
    "kl_by_way": lambda: plots.kl_by_way({"3 bits": {"one": (0.02, 0.005), "two": (0.01, 0.02)}}, title="c", base="d"),
    "pipeline": plots.pipeline,
    "gpu_speedup": lambda: plots.gpu_speedup({"w4a16-g128": "INT4", "fp8-row": "FP8"}, peers=["humming"], title="a"),
    "gpu_attention": lambda: plots.gpu_attention({"kv_fp8": "FP8", "kv_int4": "INT4"}, title="b"),
}


def test_every_plot_has_a_test():
    assert set(PLOTS) == set(plots.__all__)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_shown_with_its_description_at_two_dots_a_pixel(name):
    data, metadata = bundle(PLOTS[name](), alt="Two <bars> & a line.")
    assert 'alt="Two &lt;bars&gt; &amp; a line."' in data["text/html"] or "aria-label=" in data["text/html"]
    assert data["text/plain"] == metadata["image/png"]["alt"] == "Two <bars> & a line."
    width, _ = png_size(data["image/png"])
    assert abs(width - 2 * metadata["image/png"]["width"]) <= 2
    assert len(data["image/png"]) < 400_000


def test_show_insists_on_a_description_and_on_a_picture():
    with pytest.raises(ValueError, match="alt must say in words"):
        bundle(Scene(10, 10), alt=" ")
    with pytest.raises(TypeError, match="expected a matplotlib figure or a Scene, got list"):
        bundle([1, 2], alt="words")


def test_a_plot_refuses_nan_by_name():
    with pytest.raises(ValueError, match="w must hold finite numbers"):
        plots.compare_histograms({"w": [1.0, float("nan")]})


def test_names_in_a_crowd_hide_neither_each_other_nor_a_point():
    near = [
        (1.75, 0.875),
        (1.86, 0.92),
        (1.86, 0.96),
        (1.86, 0.96),
        (1.87, 0.92),
        (1.9, 0.96),
        (1.62, 0.96),
        (1.7, 0.92),
    ]
    crowd = [dict(name=f"ch{k:02}", bytes=x * 1e6, task=y) for k, (x, y) in enumerate([*near, (3.04, 0.96)])]
    (axes,) = plots.my_curve(crowd).axes
    axes.figure.draw_without_rendering()
    names = [label.get_window_extent() for label in axes.texts if label.get_text()]
    frame = axes.get_window_extent()
    assert len(names) == len(crowd)
    for a, b in itertools.combinations(names, 2):
        assert not (min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1)
    for name in names:
        assert not any(name.contains(*axes.transData.transform((p["bytes"] / 1e6, p["task"]))) for p in crowd)
        assert frame.x0 < name.x0 and name.x1 < frame.x1 and frame.y0 < name.y0


def test_plots_leave_no_figure_open_and_no_setting_changed():
    import matplotlib
    import matplotlib.pyplot

    before = dict(matplotlib.rcParams)
    for make in PLOTS.values():
        make()
    assert matplotlib.pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_scene_escapes_what_it_is_given():
    svg = Scene(10, 10).text(1, 1, "<script>&").svg('a "quoted" <alt>')
    assert "<script>" not in svg and "&lt;script&gt;&amp;" in svg and "&quot;quoted&quot;" in svg


def test_neighbours_of_one_look_are_one_path_and_every_tip_keeps_its_text():
    lines = Scene(20, 20).line(0, 1, 9, 1).line(0, 2.25, 9, 5).rect(1, 1, 4, 4, fill="sky").line(5, 0, 5, 9, "red")
    svg = lines.tip(0, 0, 5, 5, "here").tip(5, 0, 5, 5, 'a "there"').svg("two boxes")
    paths = re.findall(r'<path d="([^"]+)"', svg)
    assert paths == ["M0 1H9M0 2.2L9 5", "M1 1H5V5H1Z", "M5 0V9", "M0 0H5V5H0", "M5 0H10V5H5"]
    assert svg.count("<title>") == 2 and '<title>a "there"</title>' in svg
    faint = Scene(20, 20).path([(0, 0), (9, 9)], opacity=0.5).path([(9, 0), (0, 9)], opacity=0.5).svg("a cross")
    assert faint.count("<path") == 2  # where two veils cross it is darker


def test_pictures_writes_a_still_with_its_sentence(tmp_path, capsys):
    assert pictures.main(["01", "--folder", str(tmp_path)]) == 0
    assert png_size((tmp_path / "01-explorer.png").read_bytes())[0] == 1520
    assert "w/s = 7.3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        pictures.main(["77"])


def test_an_image_mark_keeps_its_cells():
    from PIL import Image

    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0, 1] = (250, 0, 0)
    png = Scene(20, 20).image(0, 0, 20, 20, rgb).png(scale=1)
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert tuple(seen[5, 15]) == (250, 0, 0) and tuple(seen[15, 5]) == (0, 0, 0)
