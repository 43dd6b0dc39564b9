"""One submission in, one result out, with a real sandbox: references behind their masks, cells that spoil others."""

import os
import time

import pytest

from course_lib.files import repository
from course_lib.grading import notebooks, source, unit, worker
from course_lib.grading.sandbox import Copy, Template
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting

ROOT = repository()
FOLDERS = {path.name[:4]: path for path in (ROOT / "solutions").glob("ps[01]*")}
pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def contexts():
    """{ps01: its context, …}, all with one template."""
    copy = Copy.make()
    template = Template(copy, slot=6)
    settings = {short: Setting(str(ROOT), str(folder), str(copy.path), 1) for short, folder in FOLDERS.items()}
    yield {short: worker.prepare(setting, template) for short, setting in settings.items()}
    template.close()
    copy.remove()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setenv("COURSE_TIME_LIMIT", "1.5")


def submission(short="ps01", answers=None, own=()):
    """The solved notebook with some other answers, and cells of the student's own after the setup."""
    assignment = source.load(FOLDERS[short])
    path = ROOT / "exercises" / assignment.name / f"{assignment.notebook}.ipynb"
    notebook = notebooks.read(path)
    given = {c.grade_id: notebooks.without_markers(c.source) for c in assignment.cells if c.solution and not c.grade}
    for raw in notebook["cells"]:
        raw["source"] = (given | (answers or {})).get(
            raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"]
        )
    at = 1 + next(i for i, raw in enumerate(notebook["cells"]) if raw["id"] == "setup")
    notebook["cells"][at:at] = [{"cell_type": "code", "metadata": {}, "source": text, "outputs": []} for text in own]
    return Submission("anna", ((path.name, notebooks.json.dumps(notebook).encode()),))


def points(result):
    return [q["score"] for q in result["questions"] if q["score"] is not None]


def reasons(result, question):
    return next(q["reasons"] for q in result["questions"] if q["id"] == question)


@pytest.mark.parametrize("short", FOLDERS)
def test_the_references_earn_all_points_behind_their_masks(contexts, short):
    result = unit.grade(submission(short), contexts[short])
    assert points(result) == [4, 4, 4, 4, 4] and result["status"] == "graded" and result["notes"] == []


def test_what_is_masked_does_not_help_and_does_not_hurt_others(contexts):
    lazy = "from course_lib import quantize, Scheme\n\n\ndef asym_round_trip(w, b):\n"
    lazy += "    return quantize(w[None], Scheme.int(b, symmetric=False, group='tensor')).dequantize()[0]\n"
    result = unit.grade(submission(answers={"q5": lazy}, own=["from course_lib import quantize"]), contexts["ps01"])
    assert points(result) == [4, 4, 4, 4, 0]


@pytest.mark.parametrize(
    "cell, why",
    [
        ("import os\nos._exit(0)", "ended the process"), ("import os\nos.abort()", "ended the process"),
        ("import ctypes\nctypes.string_at(0)", "ended the process"), ("raise SystemExit", "SystemExit"),
        ("while True: pass", "did not end in time"), ("1 +", "SyntaxError"), ("scale_up = 3", "got the integer 3"),
        ("scale_up = object()", "of type object"), ("x = 1", "There is no scale_up"),
        ("def scale_up(s, t): pass", "takes (s, t)"), ("def scale_up(s): pass", "return missing"),
    ],
)  # fmt: skip
def test_a_broken_answer_costs_only_its_own_question(contexts, cell, why):
    result = unit.grade(submission(answers={"q2": cell}), contexts["ps01"])
    assert points(result) == [4, 0, 4, 4, 4] and why in " ".join(reasons(result, "q2"))


def test_a_cell_that_spoils_the_process_is_left_out_for_the_others(contexts):
    result = unit.grade(submission(own=["import os\nos._exit(1)", "while True: pass"]), contexts["ps01"])
    assert points(result) == [4, 4, 4, 4, 4]


def test_no_question_sees_what_another_has_done(contexts):
    spoil = "import torch, builtins\ntorch.round = torch.clip = None\nopen('/tmp/left', 'w').write('x')\n"
    seen = "import os\nassert os.path.exists('/tmp/left') and torch.round is None\n"
    answers = {"q1": "def spare_code(w, b):\n    " + spoil.replace("\n", "\n    ") + "return w, 1.0", "q2": seen}
    result = unit.grade(submission(answers=answers), contexts["ps01"])
    assert points(result) == [0, 0, 4, 4, 4] and "FileNotFound" not in str(result)


def test_one_hidden_case_that_never_ends_costs_what_comes_after_it(contexts):
    cells = source.load(FOLDERS["ps01"]).cells
    right = next(notebooks.without_markers(c.source) for c in cells if c.grade_id == "q4")
    trap = "    import time\n    if target_db > 50: time.sleep(60)\n    return reference(w, target_db)"
    answer = f"{right.replace('bits_needed', 'reference')}\n\ndef bits_needed(w, target_db):\n{trap}"
    start = time.monotonic()
    result = unit.grade(submission(answers={"q4": answer}), contexts["ps01"])
    assert points(result)[:3] == [4, 4, 4] and points(result)[3] < 4 and time.monotonic() - start < 60
    assert "did not finish" in " ".join(reasons(result, "q4")) or "time was up" in " ".join(reasons(result, "q4"))


def test_the_clock_of_a_whole_submission(contexts, monkeypatch):
    monkeypatch.setattr(unit, "SUBMISSION_S", -1.0)
    result = unit.grade(submission(), contexts["ps01"])
    assert points(result) == [0] * 5 and "time for the whole notebook" in reasons(result, "q1")[0]


def test_a_test_that_cannot_run_is_the_teachers_fault_and_no_zero(contexts):
    good = contexts["ps01"].assignment
    cells = [
        dict(c.raw, source=c.source.replace("from graded import ps01", "from graded import ps99")) for c in good.cells
    ]
    broken = source.parse({"cells": cells}, good.name, good.notebook)
    kind, result = worker._graded(submission(), unit.Context(broken, contexts["ps01"].template))
    assert (kind, result["status"], result["score"]) == ("graded", "failed", None)
    assert "cannot be run" in " ".join(result["notes"])


def test_a_template_that_has_ended_is_said_and_not_graded_over(contexts):
    from course_lib.grading.bubblewrap import NoSandbox

    template = Template(contexts["ps01"].template.copy, slot=5)
    template.warm_up()
    template.process.kill()
    with pytest.raises(NoSandbox):
        worker._graded(submission(), unit.Context(contexts["ps01"].assignment, template))


def test_a_template_that_ends_during_a_check_is_not_the_students_error(contexts, monkeypatch):
    from course_lib.grading.bubblewrap import NoSandbox
    from course_lib.grading.proxy import Answers

    template = Template(contexts["ps01"].template.copy, slot=5)
    template.warm_up()
    real = Answers.call

    def call(self, *args):
        template.process.kill()
        template.process.wait()
        return real(self, *args)

    monkeypatch.setattr(Answers, "call", call)
    with pytest.raises(NoSandbox):
        worker._graded(submission(), unit.Context(contexts["ps01"].assignment, template))


def test_an_argument_that_cannot_cross_is_the_tests_fault(contexts):
    good = contexts["ps01"].assignment
    cells = [dict(c.raw, source=c.source.replace("checks.result()", "spare_code(object(), 4)")) for c in good.cells]
    broken = source.parse({"cells": cells}, good.name, good.notebook)
    _, result = worker._graded(submission(), unit.Context(broken, contexts["ps01"].template))
    assert result["status"] == "failed" and "an object of type object" in " ".join(result["notes"])


def test_the_seed_of_the_environment_is_used(contexts, monkeypatch):
    """A right answer earns its points whatever the hidden cases are."""
    for seed in ("1", "2"):
        monkeypatch.setitem(os.environ, "COURSE_SECRET_SEED", seed)
        assert points(unit.grade(submission(), contexts["ps01"])) == [4, 4, 4, 4, 4]
