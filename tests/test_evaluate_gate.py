"""The gate: the source document's three candidates, what shuts it, and what a policy file may say."""

import json

import pytest

from course_lib.evaluate.gate import Gate, Report, judge, read_policy

SOURCE = Gate(task={"accuracy_min": 0.90}, serving={"memory_gib_max": 8.0})
CANDIDATES = [
    Report("FP16", {"accuracy": 0.93, "p95_ms": 70, "memory_gib": 14.0}),
    Report("AWQ-4bit", {"accuracy": 0.92, "p95_ms": 49, "memory_gib": 4.1}),
    Report("aggressive-3bit", {"accuracy": 0.85, "p95_ms": 43, "memory_gib": 3.2}),
]


def test_of_the_three_candidates_only_awq_is_approved():
    verdicts = [judge(candidate, SOURCE) for candidate in CANDIDATES]
    assert [v.name for v in verdicts if v.approved] == ["AWQ-4bit"]
    assert verdicts[0].opened == {"language": True, "task": True, "serving": False}
    assert verdicts[2].opened == {"language": True, "task": False, "serving": True}


@pytest.mark.parametrize(("value", "passes"), [(0.9, True), (0.8999, False), (float("nan"), False), (None, False)])
def test_a_limit_includes_itself_and_what_is_not_measured_does_not_pass(value, passes):
    figures = {} if value is None else {"accuracy": value}
    verdict = judge(Report("x", figures), Gate(task={"accuracy_min": 0.9}))
    assert verdict.approved is passes and bool(verdict.reasons) is not passes


def test_reasons_name_figure_value_and_limit():
    verdict = judge(CANDIDATES[0], SOURCE)
    assert verdict.reasons == ("serving: peak memory, GiB is 14, at most 8 was asked.",)
    assert "was not measured" in judge(Report("x", {}), SOURCE).reasons[0]


def test_a_crash_is_a_refusal_with_the_last_words():
    verdict = judge(Report("x", {}, log="loading\nerror: unknown type 39\n"), SOURCE)
    assert not verdict.approved and verdict.reasons[-1] == "Its runtime said: error: unknown type 39"


def test_json_and_html_carry_the_verdict():
    verdict = judge(Report("<b>x</b>", {"accuracy": 1.0, "memory_gib": 1.0}), SOURCE)
    assert json.loads(verdict.json())["approved"] is True
    assert json.loads(verdict.json())["report"]["figures"] == {"accuracy": 1.0, "memory_gib": 1.0}
    assert "&lt;b&gt;x" in verdict._repr_html_() and "✗" not in verdict._repr_html_()


def test_a_policy_is_read_from_toml(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[language]\nkl_max = 0.1\n[task]\naccuracy_min = 0.9\n[serving]\nmemory_gib_max = 8\n")
    assert read_policy(path) == Gate({"kl_max": 0.1}, {"accuracy_min": 0.9}, {"memory_gib_max": 8})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[language]\nperplexity_max = 8\n",
            "policy.toml: language.perplexity_max is no limit: take one of kl, kl_p99",
        ),
        ("[task]\naccuracy = 0.9\n", "task.accuracy is no limit"),
        ("[speed]\nx_max = 1\n", "may have the tables language, task, serving; it has speed"),
        ("language = 3\n", "it has language"),
        ('[task]\naccuracy_min = "high"\n', "task.accuracy_min must be a number, got 'high'"),
        ("[task]\naccuracy_min = nan\n", "must be a number, got nan"),
        ("[task]\naccuracy_min = true\n", "must be a number, got True"),
        ("[task\n", "is no TOML"),
        ("", "would let everything through"),
    ],
)
def test_a_policy_with_a_mistake_names_it(tmp_path, text, words):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_policy(path)


def test_unknown_figures_are_refused():
    with pytest.raises(ValueError, match="figures must be among .* got vram"):
        Report("x", {"vram": 3.0})
