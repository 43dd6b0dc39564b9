"""A hostile class: every notebook of the bank is graded as deserved, nothing leaks, and the others are unharmed."""

import base64
import html
import math
import os
from collections import Counter

import pytest
import torch

from course_lib.grading.proxy import Answers, Job
from course_lib.grading.sandbox import Copy, Template
from course_lib.grading.submission import Submission
from graded import ps01
from tests.hostile import __main__ as table
from tests.hostile import active, bank, checks, runs

ENTRIES = bank.every()
HONEST = [entry for entry in ENTRIES if entry.honest]
HOSTILE = [entry for entry in ENTRIES if not entry.honest]
CLASS = [entry for entry in ENTRIES if not entry.slow or os.environ.get("HOSTILE") == "full"]  # five are slow
CAUGHT = [entry for entry in HOSTILE if entry.tame and entry.naive]
NEIGHBOUR = next(entry for entry in HONEST if entry.name == "neighbour")
FAMILIES = {
    "comparison", "damage", "floods", "imports", "liars", "links", "network", "outlive", "pipe", "reading", "scripts",
    "writing",
}  # fmt: skip
MEMORY = (
    "disk", "gifts_to_pipes", "headless_children", "hidden_children", "kernel_buffers", "mapped_zeros",
    "mappings_of_children", "memory", "memory_files", "semaphores", "shared_memory_disk", "shared_memory_of_children",
    "system_v_memory", "torch_memory",
)  # fmt: skip


# ---- the bank, its table, and checks that can fail


def test_the_bank_is_large_and_says_what_each_notebook_tries():
    assert len(HOSTILE) >= 60 and len(HONEST) >= 30
    assert {entry.family for entry in HOSTILE} == FAMILIES
    assert min(Counter(entry.family for entry in HOSTILE).values()) >= 4
    assert len({entry.student for entry in ENTRIES}) == len({entry.tries for entry in ENTRIES}) == len(ENTRIES)
    assert len({Submission(entry.student).account for entry in ENTRIES}) == len(ENTRIES)
    assert all(len(entry.tries) > 15 and set(entry.deserved) == set(bank.QUESTIONS) for entry in HOSTILE)


def test_the_table_is_the_banks_and_without_a_problem():
    """README.md is what `python -m tests.hostile --write` measured; only its last columns are not the bank's own."""
    lines = [line for line in table.README.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    assert [row[:3] for row in rows] == [table.said(entry) for entry in ENTRIES]
    assert {row[5] for row in rows} == {"none"}
    assert all(row[3] in (row[2], "no score") for row in rows if "–" not in row[2])
    assert all(row[4] in entry.status for row, entry in zip(rows, ENTRIES, strict=True))


def test_no_notebook_holds_what_counts_as_a_leak(tmp_path):
    """Else a report that only repeats a student's own code would be taken for a leak, or a leak for that."""
    assert len(checks.hidden_lines()) > 100 and len(checks.case_names()) > 15
    for entry in ENTRIES:
        for cell in bank.notebook(entry, bank.Place(tmp_path))["cells"]:
            text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            assert checks.hidden_in(text) == [] and checks.exfiltrated(text) == [], entry.student
            assert entry is NEIGHBOUR or "CANARY-" not in text, entry.student


@pytest.mark.parametrize("canary", bank.CANARY.values())
def test_a_secret_is_found_however_it_is_written(canary):
    entry = bank.load(bank.BANK / "honest" / "plain.py")
    for form in (canary, canary.encode().hex(), base64.b64encode(f"{canary}xx".encode()).decode(), canary[::-1]):
        assert checks.of_secrets(entry, {"report.json": f'{{"reasons": ["so {form}"]}}'.encode()})
    assert not checks.of_secrets(entry, {"report.json": b'{"reasons": ["so CANARY-OTHER"]}'})


def test_hidden_lines_are_found_in_json_and_in_coloured_html():
    line = next(line for line in sorted(checks.hidden_lines()) if '"' in line and "=" in line)
    coloured = "".join(f"<span class='x'>{html.escape(word)}</span> " for word in line.split())
    entry = bank.load(bank.BANK / "honest" / "plain.py")
    for name, text in (("a.html", coloured), ("a.json", f'["{line.replace(chr(34), chr(92) + chr(34))}"]')):
        assert checks.of_secrets(entry, {name: text.encode()})
        assert not checks.of_secrets(entry, {name: text.replace("=", "≠").encode()})


def test_inputs_that_were_sent_out_are_found_unless_everybody_sees_them():
    assert checks.exfiltrated("Reason: EXFIL 0.5000 -1.0000 2.0000 bits 4 END") == []
    assert checks.exfiltrated("EXFIL 0.2500 -1.0000 0.9999 0.5000 bits 8 END")
    assert checks.exfiltrated("EXFIL 0.0313 0.1441 -0.2772 0.2018 -0.0505 0.2233 END")


@pytest.mark.parametrize(
    "text", [active.HTML, active.SVG, "<p onclick = XSS()>", "<a href='JaVa&#9;script:XSS()'>x</a>"]
)
def test_active_pages_are_found(text):
    assert checks.of_pages({"page.html": f"<html><body><p>{text}</p></body></html>".encode()})
    assert not checks.of_pages({"page.html": f"<html><body><pre>{html.escape(text)}</pre></body></html>".encode()})


def test_wrong_scores_and_statuses_are_found():
    entry = bank.load(bank.BANK / "comparison" / "tolerance.py")
    scores = {"q1": 0.0} | dict.fromkeys(("q2", "q3", "q4", "q5"), 4.0)
    questions = [{"id": q, "score": s, "max_score": 4.0, "reasons": ["why"] * (not s)} for q, s in scores.items()]
    good = {"status": "graded", "score": 16.0, "max_score": 20.0, "questions": questions}
    assert checks.of_scores(entry, good) == []
    forged = [{**questions[0], "score": 4.0}, *questions[1:]]
    bad = [None, good | {"status": "failed"}, good | {"score": 20.0}, good | {"questions": questions[1:]}]
    bad += [
        good | {"questions": forged, "score": 20.0},
        good | {"questions": [{**questions[0], "reasons": []}, *questions[1:]]},
    ]
    assert all(checks.of_scores(entry, submission) for submission in bad)


def test_changes_outside_are_found(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "link").symlink_to("a")
    before = checks.snapshot(tmp_path)
    assert checks.of_changes(before, checks.snapshot(tmp_path)) == []
    (tmp_path / "WROTE-x").touch()
    assert len(checks.of_changes(before, checks.snapshot(tmp_path))) == 1
    assert len(checks.of_marks([tmp_path], [])) == len(checks.of_marks([], [tmp_path])) == 1


# ---- a grader without a sandbox


@pytest.mark.parametrize("path", ["always_equal q1", "always_equal q3", "always_equal q4", "number_subclasses q3",
                                  "number_subclasses q4"])  # fmt: skip
def test_liars_fool_a_plain_comparison_and_not_the_judge(path):
    name, question = path.split()
    exercise = next(e for e in ps01.build(ps01.SEED) if e.name == question)
    space = {"torch": torch, "math": math}
    exec(bank.load(bank.BANK / "liars" / f"{name}.py").cells[question], space)
    answer = space[exercise.answer_name]
    assert all(answer(*case.args) == exercise.reference(*case.args) for case in exercise.cases)
    assert exercise.score(answer) == 0


@pytest.mark.long
@pytest.mark.sandbox
def test_the_honest_deserve_what_the_judge_of_each_question_says():
    """Three draws of hidden cases, judged in the student's own process: right as long as nobody cheats."""
    entries = [entry for entry in HONEST if entry.tame]
    with runs.a_place() as place:
        graded = runs.naive(entries, place, seeds=(5, 77))
    for entry in entries:
        submission = graded.submissions[entry.student]
        first = {question["id"]: question["score"] for question in submission["questions"]}
        assert [first, *submission["also"]] == [entry.deserved] * 3, entry.student


@pytest.fixture
def scripts_that_ran(browser):
    """scripts_that_ran(pages): how often a real browser runs a student's script on these pages."""

    def count(pages: list[bytes]) -> int:
        ran, texts = [], {}
        page = browser.new_page()
        page.set_default_timeout(120_000)  # a busy machine
        page.expose_function("XSS", lambda *args: ran.append(args))
        page.route("**/*", lambda route: answer(route, texts.get(route.request.url)))
        for number, data in enumerate(pages):
            texts[f"http://page.test/{number}"] = data
            page.goto(f"http://page.test/{number}", wait_until="load")
            page.wait_for_timeout(300)
        page.close()
        return len(ran)

    def answer(route, data):  # no network, which a student's page might ask for
        route.abort() if data is None else route.fulfill(body=data, content_type="text/html; charset=utf-8")

    return count


@pytest.mark.long
@pytest.mark.sandbox
@pytest.mark.browser
def test_a_naive_grader_is_caught(subtests, scripts_that_ran):
    """What the bank is for: each of these succeeds where tests run beside the student's code, and is noticed."""
    assert len(CAUGHT) >= 40
    with runs.a_place() as place:
        graded = runs.naive([*CAUGHT, NEIGHBOUR], place)
        outside = graded.problems_outside()
    for entry in CAUGHT:
        with subtests.test(entry.student):
            found = outside if entry.naive == "wrote" else graded.problems(entry)
            assert any(problem.startswith(entry.naive) for problem in found), found
            if entry.family == "scripts":
                assert scripts_that_ran([graded.pages[entry.student]["page.html"]])


# ---- course grade


@pytest.mark.long
@pytest.mark.sandbox
@pytest.mark.browser
def test_a_hostile_class(subtests, scripts_that_ran):
    """One test, because a class takes minutes to grade, and each of several workers would grade its own."""
    with runs.a_place() as place:
        graded = runs.course_grade(CLASS, place)
        runs.feedback(graded, "scripts-*")
        runs.feedback(graded, "*[~学]*")  # names that had to be changed, and one in Chinese
        for entry in CLASS:
            with subtests.test(entry.student.encode("utf-8", "backslashreplace").decode()):
                assert graded.problems(entry) == []
        with subtests.test("outside"):
            assert graded.problems_outside() == []
        with subtests.test("report"):
            assert graded.count == len(CLASS) and graded.status == 3  # some could not be read
            assert checks.of_secrets(NEIGHBOUR, {"said": graded.said.encode()}, student=False) == []
            assert "Traceback" not in graded.said and "\x1b[2J" not in graded.said
    with subtests.test("no browser runs what students wrote"):  # the naive grader's pages show that it would be seen
        scripts = [graded.pages[entry.student] for entry in CLASS if entry.family == "scripts"]
        pages = [data for found in scripts for name, data in found.items() if name.endswith(".html")]
        assert len(pages) == len(scripts) and scripts_that_ran(pages) == 0


@pytest.mark.sandbox
def test_memory_has_an_end_however_long_it_takes(subtests):
    """In a class some of these are stopped by time; here they have all the time that they want."""
    copy = Copy.make()
    template = Template(copy, slot=8)
    try:
        template.warm_up()
        for name in MEMORY:
            source = "import torch\n" + bank.load(bank.BANK / "floods" / f"{name}.py").cells["q2"] + "\n\nGOT = won()\n"
            answers = Answers(template, Job([(0, source)], ("GOT",), cell_s=100.0))
            answers.start()
            got, errors = answers.described.get("GOT"), answers.outcome.errors
            with subtests.test(name):
                assert got == ("value", False) or got is None and (errors or answers.outcome.why == "memory")
            answers.end()
    finally:
        template.close()
        copy.remove()
