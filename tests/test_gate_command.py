"""`course gate`: an artifact examined, compared, judged; and every way in which the question may be wrong."""

import json
import shutil

import pytest

from course_lib.artifacts.gguf import llama
from course_lib.evaluate import examine, gate_command, serving
from course_lib.evaluate.examine import Base, token_difference
from course_lib.evaluate.gate import GATES, Gate, Report, judge, too_few
from course_lib.evaluate.page import page
from course_lib.evaluate.serving import Serving, Spread
from tests import tiny

TEXTS = ["the mug is broken", "please send money", "back to my card.\n" * 9]
FAST = Serving("transformers", 1, {"memory_gib": Spread(0.5, 0.5, 0.5), "context": Spread(64, 64, 64)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("artifacts")
    for name, model in (("same", tiny.trained()), ("other", tiny.llama())):
        model.save_pretrained(path / name)
        tiny.tokenizer().save_pretrained(path / name)
    return path


@pytest.fixture(scope="module")
def base():
    return Base(tiny.trained(), tiny.tokenizer(), TEXTS, tiny.EXAMPLES, progress=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(examine, "serve", lambda *_, **__: FAST)


def test_a_copy_differs_in_nothing(base, folder):
    figures = base.examine(folder / "same").figures
    want = {"kl": 0, "kl_p999": 0, "top1": 1, "perplexity_ratio": 1, "accuracy": 1, "flips": 0, "drop": 0, "items": 3,
            "drop_high": 0.4742, "json_valid": 1, "schema_valid": 0, "memory_gib": 0.5, "context": 64}  # fmt: skip
    assert {name: figures[name] for name in want} == pytest.approx(want, abs=1e-4)
    assert figures["file_gib"] * 2**30 == (folder / "same" / "model.safetensors").stat().st_size


def test_another_model_is_refused_by_language_and_task(base, folder):
    gate = Gate({"kl_max": 0.1}, {"accuracy_min": 0.9}, {"memory_gib_max": 1})
    assert judge(base.examine(folder / "same"), gate).approved
    verdict = judge(base.examine(folder / "other", name="x"), gate)
    assert verdict.opened == {"language": False, "task": False, "serving": True} and verdict.name == "x"


def test_another_tokenizer_is_said_and_nothing_is_compared(base, folder, tmp_path):
    shutil.copytree(folder / "same", tmp_path / "swapped")
    path = tmp_path / "swapped" / "tokenizer.json"
    data = json.loads(path.read_text())
    vocab = data["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(data))
    report = base.examine(tmp_path / "swapped")
    assert report.problem == "Its tokenizer is not the base's: 2 of 300 tokens differ, the first is 'a', number 65."
    assert set(report.figures) == {"memory_gib", "context", "file_gib"}
    reasons = judge(report, Gate({"kl_max": 1}, {}, {})).reasons
    assert reasons[0] == report.problem and "was not measured" in reasons[1]


def test_equal_tokens_may_still_be_cut_otherwise():
    class Words:
        def __init__(self, cut):
            self.cut = cut

        def get_vocab(self):
            return {"a": 0, "aa": 1}

        def __call__(self, text, **_):
            return {"input_ids": self.cut}

    assert token_difference(Words([1]), Words([1]), ["aa"]) == ""
    assert token_difference(Words([1]), Words([0, 0]), ["aa"]) == "'aa' is 2 tokens, other ones than the base's 1"


def test_what_cannot_be_read_is_a_report_not_a_crash(base, folder, tmp_path):
    shutil.copytree(folder / "same", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    report = base.examine(tmp_path / "cut")
    assert report.problem.startswith("It could not be measured: ")


def test_a_crashed_runtime_shuts_all_gates_and_leaves_its_log(base, folder, monkeypatch):
    monkeypatch.setattr(examine, "serve", lambda *_, **__: Serving("llama.cpp", 0, {}, "it ended by signal 11\nboo"))
    gate = Gate({"kl_max": 1, "top1_min": 0}, {"accuracy_min": 0}, {"context_min": 1})
    verdict = judge(base.examine(folder / "same"), gate)
    assert verdict.opened == dict.fromkeys(GATES, False)
    assert verdict.reasons[0] == "llama.cpp did not serve it." and verdict.reasons[-1] == "Its runtime said: boo"
    assert verdict.reasons[1] == "language: kl, top1 were not measured."
    assert "<pre>it ended by signal 11\nboo</pre>" in page([verdict], gate)


# too few items


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"items": 1319, "flips": 0.05, "drop": 0.005}, "it takes 3,092 items to show that: 1,773 more."),
        (
            {"items": 5000, "flips": 0.05, "drop": 0.009},
            "With 5 % flips 5000 items would show that, had it not dropped by 0.009.",
        ),
        ({"items": 100, "flips": 0.05, "drop": 0.02}, ""),
        (
            {"items": 100, "flips": 0.0, "drop": 0.0},
            "With 0 % flips and no drop it takes 268 items to show that: 168 more.",
        ),
        ({"flips": 0.05, "drop": 0.0}, ""),
    ],
)
def test_a_margin_that_so_few_items_cannot_show(figures, words):
    told = too_few(figures, 0.01)
    assert words in told and bool(words) == bool(told)
    verdict = judge(Report("x", figures | {"drop_high": 0.03}), Gate(task={"drop_high_max": 0.01}))
    assert words in verdict.reasons[0]


# the page


def test_the_page_says_what_the_verdicts_say():
    gate = Gate({"kl_max": 0.1}, {}, {"memory_gib_max": 1})
    good = judge(Report("<good>", {"kl": 0.01, "memory_gib": 0.5}, "served"), gate)
    bad = judge(Report("bad", {"kl": 0.01, "memory_gib": 2}), gate)
    text = page([good, bad], gate)
    assert text.count("✓ approved") == text.count("✗ refused") == 1 and "✗ 2<" in text and "&lt;good&gt;" in text
    assert bad.reasons[0] in text and "Every limit holds." in text and "mean KL divergence" in text


# the command


def test_a_folder_stands_for_the_artifacts_in_it(folder, tmp_path):
    assert gate_command.found([str(folder)]) == [str(folder / "other"), str(folder / "same")]
    assert gate_command.found(["bundled", str(folder / "same")]) == ["bundled", str(folder / "same")]
    with pytest.raises(ValueError, match="holds neither config.json nor an artifact"):
        gate_command.found([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="ARTIFACT: there is no nowhere"):
        gate_command.found(["nowhere"])


def test_the_shipped_policy_is_one():
    gate = gate_command.policy_of("returns-bot")
    assert all(getattr(gate, name) for name in GATES) and gate.task["drop_high_max"] == 0.03


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "ARTIFACT: there is no nowhere"),
        (["bundled", "--policy", "strict"], "there is no file strict; the course's own are returns-bot"),
        (["bundled", "--items", "0"], "--items and --runs must be at least 1, got 0 and 2"),
        (["bundled", "--against", "./nowhere"], "expected a checkpoint directory"),
    ],
)
def test_a_wrong_question_is_one_sentence_and_status_2(capsys, arguments, words):
    assert gate_command.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("course gate: ") and words in said and said.count("\n") == 1


def test_a_policy_says_how_much_context_is_tried():
    for asked, tried in (
        ({}, serving.LONGEST),
        ({"context_min": 512}, serving.LONGEST),
        ({"context_min": 32768}, 32769),
    ):
        gate = Gate(task={"accuracy_min": 0.9}, serving=asked)
        assert gate_command.longest_of(gate) == tried


def test_a_policy_with_an_unknown_key_is_named(capsys, tmp_path):
    (tmp_path / "p.toml").write_text("[task]\nvram_max = 3\n")
    assert gate_command.main(["bundled", "--policy", str(tmp_path / "p.toml")]) == 2
    assert "task.vram_max is no limit: take one of accuracy" in capsys.readouterr().err


def test_the_bundled_model_s_own_gguf_passes_and_a_cut_one_does_not(monkeypatch, capsys, tmp_path):
    from course_lib import models

    monkeypatch.setattr(examine, "serve", serving.serve)
    llama.export(*models.load("bundled"), tmp_path / "q8.gguf", "Q8_0")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "q8.gguf").read_bytes()[:9999])
    policy = tmp_path / "p.toml"
    policy.write_text("[language]\nkl_max=0.01\n[task]\njson_valid_min=1\n[serving]\ncontext_min=512\n")
    files = ["--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    arguments = [str(tmp_path), "--policy", str(policy), "--items", "4", "--runs", "1", *files]
    assert gate_command.main(arguments) == 1
    said = capsys.readouterr().out
    assert "q8.gguf: approved" in said and "cut.gguf: refused" in said and "does not load cut.gguf" in said
    data = json.loads((tmp_path / "out.json").read_text())
    assert [v["approved"] for v in data["verdicts"]] == [False, True] and data["items"] == 4
    assert "✓ approved" in (tmp_path / "out.html").read_text()
