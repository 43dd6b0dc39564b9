"""Chapter 14's own: references against the library, the tree, the explorer, warm-ups, *mine*, what cells say."""

import contextlib
import io
import itertools
import json
import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib import deploy, mine
from course_lib.capacity import DEVICES
from course_lib.checks import curve, pieces
from course_lib.checks.ch14 import cost, decide, first, opinion, sees, step, warmup
from course_lib.checks.ch14 import mine as recipe
from course_lib.deploy.choose import LOCAL, choose
from course_lib.evaluate.paired import Paired
from course_lib.viz import explorers
from course_lib.viz.explorers import ch14_canary
from course_lib.viz.explorers.ch14_decide import BATCHES, CONTEXTS, MACHINES, MODELS
from course_lib.viz.plots import quality

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "14-choose-and-ship.ipynb"
PAIRS = ((True, True), (False, True), (True, False), (False, False))


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch14-{name}"))


def printed(source, **space):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, space)
    return out.getvalue()


# the exercises' references, against the library


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_opinion_is_the_router_s(checks, up, down):
    health = deploy.Hysteresis(up, down)
    assert opinion.reference(checks, up, down) == [health.seen(ok) for ok in checks]


@given(st.text(max_size=20), st.floats(0, 1))
def test_sees_is_the_router_s(user, share):
    assert sees.reference(user, share) == deploy.in_share(user, share)


@given(st.lists(st.sampled_from(PAIRS), max_size=60))
def test_decide_is_the_canary_s(pairs):
    policy = deploy.CanaryPolicy(pairs=30)
    canary, state = deploy.Canary(policy), {"running": "wait", "promoted": "promote", "rolled back": "roll back"}
    for k, pair in enumerate(pairs[:30], 1):
        canary.compared(*pair, (1.0, 1.0))
        said = decide.reference(pairs[:k], policy.pairs, policy.may_lose, 0)
        if k < 30 or not canary.won:  # the last look of the canary weighs how many flipped, too
            assert said == state[canary.state]
        if canary.state != "running":
            break
    canary = deploy.Canary(policy)
    canary.failed("died")
    assert canary.state == "rolled back" and decide.reference([], 30, 1, canary.errors) == "roll back"


@given(st.lists(st.sampled_from(["canary", "promote", "roll back", "other"]), max_size=30))
def test_something_serves_after_any_events(events):
    state = {"serving": "f16", "candidate": None, "previous": None}
    for k, event in enumerate(events):
        before, state = state, step.reference(state, event, f"q{k}")
        assert state["serving"] is not None
        if event == "promote" and before["candidate"]:
            assert step.reference(state, "roll back")["serving"] == before["serving"]


def test_first_agrees_with_the_planner_s_tree():
    names = {"gguf": "gguf", "fp8": "fp8", "awq": "awq", "awq+kv8": "awq, fp8 cache"}
    agreed = 0
    for _, model in MODELS:
        for machine in MACHINES:
            choice = choose(model, machine, 4096, 8)
            p = choice.paths[0].plan
            room = (p.memory - p.reserve_bytes - p.activation_bytes(4096, 8)) / 2**30
            said = first.reference(p.weights.value / 2**30, p.kv.value / 2**30, room, machine not in LOCAL,
                               "fp8" in p.on.native)  # fmt: skip
            agreed += choice.first is None or names.get(choice.first.key, choice.first.key) in said
    assert agreed >= 30  # of 32: FP4 machines, and embeddings that stay at 16 bits, differ


def test_cost_by_hand():
    assert cost.reference(3.6, 1.0, 0.5) == pytest.approx(2000.0)


# choosing


@pytest.mark.parametrize(
    "model, machine, context, batch, key, said",
    [
        ("llama-3.1-8b", "a100-80gb", 4096, 8, "awq", "no FP8 units"),
        ("llama-3-70b", "rtx-3090", 4096, 1, "gguf", "main memory"),
        ("llama-3.1-8b", "ddr5-laptop", 4096, 1, "gguf", "llama.cpp"),
        ("llama-3.1-8b", "h100-sxm", 4096, 8, "fp8", "milder"),
        ("llama-3.1-8b", "h100-sxm", 1024, 128, "fp8", "FP8"),
        ("llama-3-70b", "a100-80gb", 4096, 1, "awq", "no FP8 units"),
        ("llama-3.1-8b", "rtx-3090", 8192, 64, None, "64 sequences of 8,192 tokens do not: fewer at once"),
        ("llama-3.1-8b", "rtx-4060", 65536, 1, None, "one sequence of 65,536 tokens does not: a shorter one"),
        ("llama-3-70b", "ddr5-laptop", 4096, 1, None, "smaller model"),
    ],
)
def test_the_bottleneck_decides(model, machine, context, batch, key, said):
    choice = choose(model, machine, context, batch)
    assert (choice.first and choice.first.key) == key and said in choice.reason


def test_every_choice_fits_or_says_where_the_rest_lies():
    for _, model in MODELS:
        for machine in MACHINES:
            for context in (1024, 16384):
                for batch in (1, 64):
                    choice = choose(model, machine, context, batch)
                    assert choice.reason.endswith(".")
                    if choice.first is not None and not choice.first.plan.fits:
                        assert choice.first.key == "gguf" and machine not in LOCAL and "main memory" in choice.reason


def test_a_mixture_of_experts_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="Q4_K_M|mix"):
        choose("gpt-oss-120b", "h100-sxm")


# what the text says


def test_the_guide_s_four_rows():
    printed_lines = printed(cell("guide")).splitlines()
    lines, reasons = printed_lines[::2], printed_lines[1::2]
    assert len(reasons) == 4 and all(why.startswith("    ") and why.endswith(".") for why in reasons)
    assert [line.split()[-1] for line in lines] == ["vLLM", "llama.cpp", "llama.cpp", "vLLM"]
    assert "AWQ or GPTQ" in lines[0] and "GGUF" in lines[1] and "GGUF" in lines[2] and "FP8" in lines[3]


def test_what_the_explorer_s_tasks_promise():
    box = explorers.decide()
    key = {machine: box.numbers("llama-3.1-8b", machine, 4096, 1).first.key for machine in ("rtx-3090", "rtx-4090")}
    assert key == {"rtx-3090": "awq", "rtx-4090": "fp8"}
    keys = [(c := box.numbers("llama-3.1-8b", "rtx-3090", 4096, batch)).first and c.first.key for _, batch in BATCHES]
    assert keys.index("awq+kv8") == keys.index(None) - 1 and keys[0] == "awq"
    bf16 = [not box.numbers("llama-3.1-8b", "rtx-3090", 4096, batch).paths[0].why_not for _, batch in BATCHES]
    assert bf16[0] and not bf16[keys.index("awq+kv8")]
    big = {machine: box.numbers("llama-3-70b", machine, 1024, 1).first for machine in MACHINES}
    assert [m for m, f in big.items() if f and f.key == "fp8"] == ["h100-sxm", "b200"]


def test_the_fluttering_of_one_check_is_seen(course_home):
    whose, *lines = printed(cell("health-after"), mine=mine).splitlines()
    turns = [int(line.split("turned ")[1].split()[0]) for line in lines]
    assert whose == "opinion is the course's"
    assert turns[0] > 10 * max(1, turns[1]) and turns[2] <= turns[1]


def test_few_pairs_catch_disasters_and_promote_what_loses_nothing():
    for line in printed(cell("deeper"), deploy=deploy).splitlines():
        chances = [int(part.split(": ")[1].rstrip("%")) for part in line.split("loses ")[1].split(", ")]
        assert chances[0] == 100 and chances == sorted(chances, reverse=True) and chances[-1] <= 2


# the explorer


def test_every_setting_of_the_explorer_draws():
    box = explorers.decide()
    for _, model in MODELS:
        for machine in MACHINES:
            for context, batch in ((CONTEXTS[0][1], 1), (CONTEXTS[-1][1], 128)):
                sentence, scene = box.frame(model=model, machine=machine, context=context, batch=batch)
                assert sentence.startswith(("Try first: ", "None of these. ")) and len(scene.marks) > 30
    assert set(MACHINES) <= set(DEVICES)


def test_the_sentence_s_sizes_say_the_same_as_its_words():
    box = explorers.decide()
    for model, machine, context, batch in itertools.product(MODELS, MACHINES, CONTEXTS[::3], BATCHES[::3]):
        choice = box.numbers(model[1], machine, context[1], batch[1])
        said = box.sentence(choice)
        needed = float(re.search(r"needs ([\d,.]+) GiB", said)[1].replace(",", ""))
        there = float(re.search(r"([\d.]+) GiB are", said)[1])
        fits = not said.startswith("None") and "main memory." not in said
        assert (needed <= there) == fits, said
        assert machine not in LOCAL or choice.least.key == "gguf"
        assert batch[1] > 1 or "sequences" not in said


# warm-ups and mine


def test_the_warm_up_s_rule_of_three():
    answers = {warmup.rule_of_three(random.Random(seed)).answer for seed in range(40)}
    assert {60, 30} <= answers  # 5 %, 10 %


def test_mine_takes_the_smallest_that_passes(monkeypatch):
    figures = {3: (1_600_000, 0.3, 5), 4: (1_700_000, 0.04, 22)}
    base = SimpleNamespace(exact=23)
    monkeypatch.setattr(curve, "base", lambda: base)
    kept = []
    monkeypatch.setattr(curve, "keep", lambda point: kept.append(point) or [])
    monkeypatch.setattr(recipe.render, "show", lambda run: run)
    monkeypatch.setattr(recipe.quantizer, "quantized", lambda r, scheme, own: (scheme.bits, {"per_group": "yours"}, []))

    def measure(bits):
        size, kl, exact = figures[bits]
        return {"bytes": size, "kl": kl, "kl_stderr": 0.0, "exact": exact, "n": curve.MESSAGES}

    monkeypatch.setattr(curve, "measure", measure)
    run = recipe.CapstoneRecipe()()
    assert [record["bytes"] for record in kept] == [1_600_000, 1_700_000] and run.chosen["own"]
    assert "1.70 MB is the smallest that passes" in run.text() and "refused" not in run.rows()[1][1]
    figures[4] = figures[5] = figures[3]
    assert recipe.CapstoneRecipe()().chosen is None


def test_the_trials_go_from_small_to_large():
    from course_lib.checks.quantizer import Recipe, recipe_of

    assert all(isinstance(recipe_of(chapter), Recipe) for chapter, _, _ in recipe.TRIALS)
    bits = [b + (16 / group if group else 0.1) for _, b, group in recipe.TRIALS]
    assert bits == sorted(bits)
    needed = {name for chapter, _, _ in recipe.TRIALS for name in recipe_of(chapter).pieces}
    assert set(recipe.RECIPE.pieces) == needed and needed <= set(pieces.references().functions)


def test_the_names_say_what_the_text_says(capsys):
    exec(cell("names"))
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len({line.split()[0] for line in lines}) == 11
    assert max(map(len, lines)) <= 115  # longer lines wrap in a usual window
    sizes = {line.split()[0]: float(line[28:32]) for line in lines if "?" not in line}
    four = [sizes[n] for n in ("Q4_K_M.gguf", "AWQ-INT4", "quantized.w4a16", "bnb-4bit", "4bit-mlx", "NVFP4")]
    assert round(max(four) / min(four), 1) == 1.3
    assert max(four) == sizes["NVFP4"] and min(four) == sizes["4bit-mlx"]
    listed = {"Q4_K_M.gguf": 4.92, "AWQ-INT4": 5.73, "4bit-mlx": 4.52}
    assert all(f"{size:.2f}" in cell("names-text") for size in listed.values())
    assert all(abs(sizes[name] - size) <= 0.01 for name, size in listed.items())


# the first good moment


def test_what_the_canary_explorer_s_tasks_promise():
    once = {drop: ch14_canary.decided_once(drop) for drop in (0, 8, 10, 12, 15, 20)}
    early = {rate: ch14_canary.first_good_moment(10, rate).share for rate in (1, 2, 20)}
    assert (round(once[10].share, 2), round(early[2], 2), round(early[20], 2)) == (0.05, 0.23, 0.17)
    assert early[1] >= early[2] > early[20] > once[10].share
    nothing = ch14_canary.first_good_moment(0, 2)
    assert once[0].share == nothing.share == 1 and 5.5 < once[0].pairs.mean() / nothing.pairs.mean() < 6.5
    assert (round(once[0].lost.mean()), round(nothing.lost.mean())) == (6, 1)
    paid = [once[drop].lost[~once[drop].promoted].mean() for drop in (8, 10, 12, 15, 20)]
    assert 15.5 < min(paid) and max(paid) < 18.5


@pytest.mark.parametrize("drop, rate", [(0, 1), (10, 2), (5, 20), (20, 10)])
def test_the_explorer_s_canaries_are_those_of_the_library(drop, rate):
    rule = ch14_canary.policy()
    lost, won = ch14_canary.counts(drop)
    once, early = ch14_canary.decided_once(drop), ch14_canary.first_good_moment(drop, rate)
    for k in range(25):
        canary, hasty = deploy.Canary(deploy.CanaryPolicy(pairs=200, margin=0.1, differ=1.0)), None
        lost_now = won_now = 0
        for n in range(200):
            bad, better = lost[k, n] > lost_now, won[k, n] > won_now
            canary.compared(not bad, not better, (1.0, 1.0))
            lost_now, won_now = int(lost[k, n]), int(won[k, n])
            good = (n + 1) % rate == 0 and Paired(n + 1, lost_now, won_now).not_worse_by(rule.margin)
            if hasty is None and (good or canary.state != "running"):
                hasty = (n + 1, good or canary.state == "promoted", lost_now, won_now)
            if canary.state != "running":
                break
        assert (once.pairs[k], once.promoted[k], once.lost[k], once.won[k]) == (
            n + 1, canary.state == "promoted", lost_now, won_now)  # fmt: skip
        assert (early.pairs[k], early.promoted[k], early.lost[k], early.won[k]) == hasty


def test_the_drawn_paths_end_where_the_canaries_do():
    shown = explorers.canary(drop=8, rate=5)
    scene, n = shown.frame()[1], shown.numbers(8, 5)
    circles = sum(mark.kind == "circle" for mark in scene.marks)
    assert circles == n.once.promoted[:24].sum() + n.first.promoted[:24].sum() > 5


def test_the_plot_over_size_holds_every_file_and_both_16_bit_models():
    families = {"small": {"a": (5.0, 5.9), "b": (3.0, 6.5)}, "large": {"c": (9.0, 5.2), "d": (5.1, 5.8)}}
    axes = quality.over_size(families, {"small": 5.8, "large": 5.1}, "t", band=(4.9, 5.2)).axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines[::2]] == [[[3, 6.5], [5, 5.9]], [[5.1, 5.8], [9, 5.2]]]
    assert [line.get_ydata()[0] for line in axes.lines[1::2]] == [5.8, 5.1]
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        ["a", "b", "c", "d", *(f"{n}, 16 bits" for n in families)]
    )
