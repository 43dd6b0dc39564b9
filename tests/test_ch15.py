"""Chapter 15's own: references against torch and the library, the rubric, the map, follow-ups, *mine*, what it says."""

import contextlib
import io
import json
import random
from pathlib import Path

import pytest
import torch

from course_lib.calibrate.qat import FakeQuant
from course_lib.calibrate.rotation import hadamard
from course_lib.checks import curve, history, mastery, namespace, pieces, store
from course_lib.checks.ch15 import fold, followups, gradients, level, off_by, step
from course_lib.checks.ch15 import mine as recipe
from course_lib.checks.ch15.level import RUBRIC
from course_lib.checks.verdict import PASS
from course_lib.scheme import Scheme
from course_lib.viz import explorers
from course_lib.viz.explorers import ch15_mastery
from course_lib.viz.plots import ch15

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "15-mastery.ipynb"


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def cell(name):
    return "".join(next(c["source"] for c in cells() if c["id"] == f"ch15-{name}"))


# the exercises' references, against torch and the library


@pytest.mark.parametrize("b", [2, 3, 4])
def test_gradients_are_torchs(b):
    w, g, s = randn(b, 5, 40), randn(8, 5, 40), torch.tensor([0.2, 0.3, 0.4, 0.5, 0.6])
    leaf, steps, top = w.clone().requires_grad_(), s.clone().requires_grad_(), 2 ** (b - 1) - 1
    torch._fake_quantize_learnable_per_channel_affine(leaf, steps, torch.zeros(5), 0, -top, top, 1.0).backward(g)
    g_w, g_s = gradients.reference(w, s[:, None], b, g)
    assert torch.equal(g_w, leaf.grad) and torch.allclose(g_s[:, 0], steps.grad, atol=1e-4)
    assert 0 < (g_w == 0).sum() < g_w.numel()


def test_an_answer_by_autograd_passes_though_it_rounds_g():
    def by_autograd(w, s, b, g):
        w, s, qmax = w.clone().requires_grad_(), s.clone().requires_grad_(), 2 ** (b - 1) - 1
        u = w / s
        (s * (u + (torch.round(u) - u).detach()).clamp(-qmax, qmax)).backward(g)
        return w.grad, s.grad

    assert gradients.judge(by_autograd).state == PASS


@pytest.mark.parametrize("scheme", [Scheme.int(3, group=8), Scheme.int(2), Scheme.int(4, group="tensor")])
def test_a_learner_s_gradients_train_as_the_library_s(scheme):
    w, g = randn(1, 6, 16), randn(2, 6, 16)
    ours, theirs = FakeQuant(w, scheme), recipe.fake_of(gradients.reference)(w, scheme)
    a, b = ours(), theirs()
    a.backward(g)
    b.backward(g)
    if scheme.block[0] == 1:
        assert torch.allclose(a, b) and torch.allclose(ours.w.grad, theirs.w.grad)
        assert torch.allclose(ours.log_step.grad, theirs.log_step.grad, atol=1e-4)


def test_a_step_is_what_autograd_says_of_the_straight_through_loss():
    w, x, y = randn(0, 3, 4), randn(1, 6, 4), randn(2, 6, 3)
    s = w.abs().amax(1, keepdim=True) / 3
    leaf = w.clone().requires_grad_()
    w_hat = s * (leaf / s + (torch.round(leaf / s) - leaf / s).detach())
    (0.5 * (x @ w_hat.T - y).square().sum(1).mean()).backward()
    assert torch.allclose(step.reference(w, s, 3, x, y, 0.1), w - 0.1 * leaf.grad, atol=1e-6)


def test_the_broken_step_never_arrives_and_the_mended_one_does():
    scope = {"torch": torch}
    exec(step.stub, scope)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 16, generator=g) @ torch.randn(16, 16, generator=g)  # channels that go together
    target = torch.randn(4, 16, generator=g)
    s = 1.5 * target.abs().amax(1, keepdim=True) / 3

    def loss(w):
        return (x @ (s * torch.round(w / s).clamp(-3, 3)).T - x @ target.T).square().mean().item()

    ends = {}
    for name, one in (("broken", scope["step"]), ("mended", step.reference)):
        w, seen = target, []
        for _ in range(200):
            w = one(w, s, 3, x, x @ target.T, 0.0003)
            seen.append(loss(w))
        ends[name] = min(seen)
    assert ends["broken"] == pytest.approx(loss(target)) and ends["mended"] < 0.9 * ends["broken"]


def test_fold_is_what_the_library_does_to_a_model():
    from course_lib.calibrate.rotation import rotate_residual
    from tests.tiny import llama

    model = llama()
    with torch.no_grad():
        layer, R = model.model.layers[0], hadamard(32, 0)
        layer.post_attention_layernorm.weight.uniform_(0.5, 1.5)
        done = rotate_residual(model, seed=0)
        parts = layer.mlp.up_proj.weight, layer.mlp.down_proj.weight
        embed, reads, writes = fold.reference(
            model.model.embed_tokens.weight, layer.post_attention_layernorm.weight, *parts, R
        )
    turned = done.model.layers[0].mlp
    for mine, theirs in ((embed, done.model.embed_tokens), (reads, turned.up_proj), (writes, turned.down_proj)):
        assert torch.allclose(mine, theirs.weight, atol=1e-5)


def test_off_by_is_the_geometric_mean():
    import statistics

    pairs = [(1.5, 1.0), (10.0, 12.0), (0.5, 7.0)]
    factor, bias = off_by.reference(pairs)
    assert factor == pytest.approx(statistics.geometric_mean(max(g / o, o / g) for g, o in pairs))
    assert 2**bias == pytest.approx(statistics.geometric_mean(g / o for g, o in pairs))


def test_level_is_the_explorer_s_rule():
    rng = random.Random(0)
    every = [each for _, needed in RUBRIC for each in needed]
    for _ in range(200):
        passed = rng.sample(every, rng.randint(0, len(every)))
        assert level.reference(passed, RUBRIC) == ch15_mastery.reached(set(passed), RUBRIC)


# the rubric


def test_every_entry_names_something_and_every_exercise_shows_something():
    known = {e.id for e in namespace.every()}
    entries = [e for _, of in [*mastery.STATEMENTS.values(), *mastery.RUBRIC.values()] for e in of]
    for entry in entries:
        assert entry in known or any(each.startswith(entry + ".") for each in known), entry
    chapters = {entry[:4] for entry in entries}
    assert chapters == {f"ch{c:02d}" for c in range(1, 16)}
    assert len(mastery.STATEMENTS) == 7 and len(mastery.RUBRIC) == 5
    assert tuple(mastery.STATEMENTS) == ch15_mastery.NAMES


def passed(*ids):
    for each in ids:
        store.append("attempt", exercise=each, state=PASS)


def test_a_fresh_learner_has_everything_before_them(course_home):
    shown = mastery.Mastery()
    assert shown.level == "Needs work" and all(count.startswith("0 of ") for count, _ in shown.rows())
    assert "Developing:" in shown.text() and "ch01.round_trip" in shown.html()


def test_course_progress_says_the_level(course_home, capsys):
    from course_lib.checks import progress

    assert progress.main([]) == 0 and capsys.readouterr().out.endswith("as your checks show it: Needs work.\n")


def test_levels_add_up_and_a_solution_read_does_not_count(course_home):
    levels = dict(mastery.found()["levels"])
    passed(*levels["Developing"])
    assert mastery.Mastery().level == "Developing"
    passed(*levels["Strong"])
    assert mastery.Mastery().level == "Developing", "a gap is not jumped over"
    for each in levels["Solid"]:
        store.append("solution", exercise=each)
    passed(*levels["Solid"])
    assert {history.standing(e).state for e in levels["Solid"]} >= {"passed, solution seen"}
    assert mastery.Mastery().level == "Developing"
    everything = explorers.mastery(mastery.found()).numbers(None, True, 0)
    assert everything.level == "Strong"


def test_all_passed_is_excellent(course_home):
    passed(*[e.id for e in namespace.every()])
    shown = mastery.Mastery()
    assert shown.level == "Excellent" and "no higher one" in shown.text()
    assert all(count.split(" of ")[0] == count.split(" of ")[1] for count, _ in shown.rows())


# the map


def test_what_the_tasks_promise(course_home):
    found = mastery.found()
    fewest = min(found["statements"], key=lambda pair: len(pair[1]))
    assert fewest[0] == "calibration and groups" and len(fewest[1]) == 5
    explorer = explorers.mastery(found)
    seven = explorer.numbers(None, False, 7)
    assert seven.level == "Developing" and seven.following == "Solid" and seven.lacking > 0
    assert {"ch08.offload", "ch11.cache_bytes"} <= set(dict(found["levels"])["Solid"]) - seven.passed
    ten = explorer.numbers(None, False, 10)
    low = [name for (name, _), (done, of) in zip(found["statements"], ten.shares, strict=True) if done < 0.5 * of]
    assert low == ["evaluation", "weights, activations, cache"]


@pytest.mark.parametrize("statement", [None, 0, 6])
@pytest.mark.parametrize("upto", [0, 7, 14])
def test_the_map_says_what_it_shows(statement, upto):
    explorer = explorers.mastery()
    n = explorer.numbers(statement, True, upto)
    sentence = explorer.sentence(n)
    assert f"The level is {n.level}." in sentence and sentence.endswith(".")
    assert ("As if chapters" in sentence) == bool(upto)
    texts = [m.at[2] for m in explorer.draw(n).marks if m.kind == "text"]
    assert all(f"{done} of {of}" in texts for done, of in n.shares) and {"01", "14", "Excellent"} <= set(texts)
    assert n.level == "Excellent" if upto == 14 else n.level != "Excellent"


def test_the_picture_s_learner_is_made_up_and_its_exercises_are_the_course_s(course_home):
    shown, found = ch15_mastery.sample(), mastery.found()
    real = dict(zip(shown["states"], found["states"], strict=True))  # "ch01.0" -> "ch01.round_trip"
    for part in ("statements", "levels"):
        assert [(name, [real[e] for e in ids]) for name, ids in shown[part]] == found[part]
    for given, labelled in ((shown, True), (found, False)):
        explorer = explorers.mastery(given)
        texts = [m.at[2] for m in explorer.draw(explorer.numbers(None, False, 0)).marks if m.kind == "text"]
        assert any("an example" in text for text in texts) == labelled


def test_a_curve_without_points_says_so(course_home):
    assert curve.described() == "My curve, bytes against exact replies. No point yet."


def test_the_map_refuses_what_is_no_map():
    with pytest.raises(ValueError, match=r"mastery\(found\)"):
        explorers.mastery({"states": {}})


# follow-ups


def test_a_full_answer_is_shown_only_after_an_answer(course_home):
    for number, entry in enumerate(followups.QUESTIONS, 1):
        asked = followups.follow_up(number, None)
        assert entry.question in asked.text() and entry.names[0] not in asked.text()
        answered = followups.follow_up(number, "The cache.")
        assert all(name in answered.text() for name in entry.names) and len(entry.names) == 3
    assert len(followups.QUESTIONS) == 5 and len(store.records("follow_up")) == 5


def test_bad_follow_ups_are_said(course_home):
    with pytest.raises(ValueError, match=r"number must be 1 … 5, got 6"):
        followups.follow_up(6)
    with pytest.raises(TypeError, match="answer must be a text or None, got int"):
        followups.follow_up(1, 3)


def test_the_numbers_in_the_follow_ups():
    assert 34e9 * 16 / 8 / 1e9 == 68 and 34e9 * 8 / 8 / 1e9 == 34
    assert 16 / 64 == 0.25


# plots, warm-ups, the smallest


def test_guesses_far_off_stand_at_the_rim():
    figure = ch15.guesses({"ch01.a": (2, 1), "ch02.b": (1000, 1), "ch02.c": (1, 1000)})
    heights = [line.get_ydata()[0] for line in figure.axes[0].lines[1:]]
    assert heights == [1, 4, -4]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["01", "02"]
    assert ch15.guesses({}).axes[0].texts[0].get_text() == "no guess yet"
    with pytest.raises(ValueError, match="positive numbers"):
        ch15.guesses({"a": (0, 1)})


def test_losses_are_drawn_over_their_steps():
    figure = ch15.losses({"a": [2.0, 1.0], "b": [2.0, 1.5, 1.2]}, level=("GPTQ", 0.8))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 3, 2]
    assert figure.axes[0].texts[0].get_text() == "GPTQ, 0.8"


def test_the_smallest_must_pass_both():
    point = {"bytes": 2, "kl": 0.05, "exact": 9, "n": 10}
    points = [point, point | {"bytes": 1, "kl": 0.5}, point | {"bytes": 1, "exact": 1}, point | {"bytes": 3}]
    assert recipe.smallest(points, 0.1, 0.8) is point and recipe.smallest(points[1:3], 0.1, 0.8) is None


def test_the_hints_compute_what_they_say():
    g_w, g_s = gradients.reference(torch.tensor([[0.3, 5.0]]), torch.tensor([[2.0]]), 2, torch.ones(1, 2))
    assert g_w.tolist() == [[1, 0]] and g_s.item() == pytest.approx(0.85)
    one = torch.tensor([[0.6]])
    moved = step.reference(one, torch.ones(1, 1), 2, torch.ones(1, 1), torch.zeros(1, 1), 0.1)
    assert moved.item() == pytest.approx(0.5)
    assert off_by.reference([(8, 4), (4, 8)]) == (2.0, 0.0)
    assert level.reference(["b1", "b3"], RUBRIC) == "B"


# mine, and cells that say something


def test_a_broken_piece_is_said_and_replaced(course_home, monkeypatch):
    own = pieces.references()
    own.functions = own.functions | {"gradients": lambda w, s, b, g: 1 / 0}
    own.whose = own.whose | {"gradients": "yours"}
    monkeypatch.setattr(recipe.pieces, "load", lambda: own)
    monkeypatch.setattr(recipe.curve, "base", lambda: None)
    figures = {"bytes": 1, "kl": 0.1, "kl_stderr": 0.01, "exact": 1, "n": 2}
    monkeypatch.setattr(recipe.curve, "measure", lambda model: dict(figures))
    monkeypatch.setattr(recipe.MineRun, "show", lambda self: self)

    def train(self, functions):
        fake = recipe.fake_of(functions.gradients)(randn(0, 2, 8), Scheme.int(3))
        fake().sum().backward()

    monkeypatch.setattr(recipe.TrainRecipe, "train", train)
    run = recipe.RECIPE()
    assert run.whose == {"gradients": "the course's"} and "the course's were used" in run.notes[0]
    assert store.records("curve")[0]["own"] is False


def test_the_two_gradients_of_the_first_cell():
    from course_lib.calibrate import qat

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(cell("flat"), {"torch": torch, "qat": qat})
    assert [line.split(":")[1].strip() for line in out.getvalue().splitlines()] == [
        "[0.0, 0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0, 0.0]",
    ]  # fmt: skip


def test_what_is_recorded_says_what_the_text_says():
    results = Path(__file__).parents[1] / "benchmarks" / "results"
    found = json.loads((results / "qat.json").read_text(encoding="utf-8"))["results"]["int2 g64"]
    kl = {way: row["kl_prose"] for way, row in found.items()}
    assert kl["rtn"] > kl["gptq"] > kl["qat, 40 steps"] > kl["qat, 160 steps"]
    assert len({row["bytes"] for row in found.values()}) == 1 and not any(row["exact"] for row in found.values())
    assert 1.8 < kl["gptq"] / kl["qat, 160 steps"] < 2.6
    prose = found["qat, 40 steps, prose only"]
    assert prose["kl_prose"] < kl["qat, 40 steps"] and prose["kl_task"] > 5 * found["qat, 40 steps"]["kl_task"]
    three = json.loads((results / "qat.json").read_text(encoding="utf-8"))["results"]["int3 channel"]
    few, many, gptq = three["qat, 40 steps"], three["qat, 160 steps"], three["gptq"]
    assert few["kl_prose"] < gptq["kl_prose"] and few["exact"] < gptq["exact"] < many["exact"]
    assert many["kl_prose"] < gptq["kl_prose"]
    loud = json.loads((results / "rotations.json").read_text(encoding="utf-8"))["results"]
    assert loud["loud w4a4"]["not rotated"] > 5 * loud["loud w4a4"]["most"]
    assert loud["quiet w4a16"]["rotated"] > loud["quiet w4a16"]["not rotated"]
