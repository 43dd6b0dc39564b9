"""The teacher's day in nbgrader's Formgrader, in a real browser: a small class, points and a comment for a written
answer, a second hand-in graded with the lightning, the pages that students get.

Screenshots go to the test's temporary folder, or to COURSE_SHOTS if it is set.
"""

import contextlib
import os
from pathlib import Path

import pytest

from tests.browser import TOKEN, lab_server
from tests.graded_class import CLASS, NOT_CLIPPED, PS01, REFERENCE, graded

pytestmark = [pytest.mark.browser, pytest.mark.sandbox, pytest.mark.xdist_group("browser")]

PATIENCE_MS = 120_000
TRESPASS = "import pathlib\npathlib.Path({path!r}).write_text('was here')\n"


class Teacher:
    """A browser on the Formgrader of a course; collects what goes wrong on its pages."""

    def __init__(self, page, lab, shots):
        self.page, self.url, self.shots, self.wrong = page, f"{lab.url}/formgrader", shots, []
        page.set_default_timeout(PATIENCE_MS)
        page.route(lambda url: not url.startswith((lab.url, "file:")), lambda route: route.abort())  # MathJax's address
        page.on("pageerror", lambda error: "MathJax" in str(error) or self.wrong.append(f"page: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("response", lambda got: got.status >= 400 and self.wrong.append(f"{got.status}: {got.url}"))
        page.goto(f"{self.url}/manage_assignments?token={TOKEN}")
        page.wait_for_selector(f"text={PS01.name}")
        self.shot("assignments")

    def shot(self, name):
        """Screenshot; an empty page makes a far smaller file than this."""
        path = self.shots / f"formgrader-{name}.png"
        self.page.screenshot(path=path)
        assert path.stat().st_size > 15_000

    def submissions(self):
        """{student: (status, score)} of Manage Submissions."""
        self.page.goto(f"{self.url}/manage_submissions/{PS01.name}")
        self.page.wait_for_selector("td.score:has-text('/')")
        rows = self.page.locator("tbody tr")
        return {
            self.text(row, ".student-id"): (self.text(row, ".status"), self.text(row, ".score")) for row in rows.all()
        }

    @staticmethod
    def text(row, part):
        return row.locator(part).inner_text().strip()

    def click(self, student, button):
        """One of the buttons behind a student; what nbgrader says afterwards."""
        self.page.click(f"tr:has(td.student-id:text-is('{student}')) .{button} a")
        self.page.wait_for_selector(".modal.in")
        said = self.page.inner_text(".modal.in")
        self.shot(button)
        self.page.click(".modal.in button:has-text('OK')")
        self.page.wait_for_selector(".modal.in", state="detached")
        return said

    def open(self, name):
        """The submission of somebody, by name, from Manual Grading."""
        self.page.goto(f"{self.url}/gradebook/{PS01.name}/{PS01.notebook}")
        self.page.wait_for_selector("a:visible:has-text('Submission #')")
        self.page.click("text=Show All Names")
        self.page.click(f'a:visible:has-text("{name}")')
        self.page.wait_for_function("() => window.formgrader?.grades?.loaded && window.formgrader.comments?.loaded")

    def give(self, points, comment):
        """Points and a comment for the written answer, saved as the Formgrader saves them."""
        for field, text, address in (
            ("#explain", points, "/api/grade/"),
            ("#explain-comment", comment, "/api/comment/"),
        ):
            with self.page.expect_response(
                lambda got, at=address: at in got.url and got.request.method == "PUT"
            ) as saved:
                self.page.fill(field, text)
                self.page.press(field, "Tab")
            assert saved.value.ok
        self.shot("answer")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return graded(tmp_path_factory.mktemp("course") / "teacher")


@pytest.fixture
def teacher(course, tmp_path, browser):
    shots = Path(os.environ.get("COURSE_SHOTS", tmp_path))
    with contextlib.chdir(course.root), lab_server(course.root) as lab:
        page = browser.new_page(viewport={"width": 1180, "height": 1000})
        yield Teacher(page, lab, shots)
        page.close()


def test_a_teachers_day(course, teacher):
    found = teacher.submissions()
    assert set(found) == set(CLASS)
    assert found["anna"] == ("needs manual grading", "20 / 25") and found["bert"] == ("graded", "15 / 25")
    teacher.shot("submissions")

    teacher.open("Dora")  # whose answer is a script
    teacher.open("Anna")
    teacher.give("4.5", "Good: *see* your own table.")
    assert "anna              24.5 of 25" in course.run("feedback", "ps01")

    # Bert hands in again, with code that would leave a file in the course's folder
    mark = course.root / "trespassed"
    course.hand_in("bert", REFERENCE | {"q1": TRESPASS.format(path=str(mark)) + NOT_CLIPPED})
    course.run("collect", "ps01", course.root / "downloads", "--at", "2026-11-21T09:00+00:00")
    assert teacher.submissions()["bert"][0] == "needs autograding"
    said = teacher.click("bert", "autograde")
    assert "Successfully autograded" in said and "graded" in said and not mark.exists()
    course.grade("--student", "anna", "--force", "--reason", "Question 2 was disputed.", status=0)
    found = teacher.submissions()
    assert found["anna"] == ("graded", "24.5 / 25") and found["bert"] == ("graded", "16 / 25")

    assert "Successfully generated feedback" in teacher.click("anna", "generate-feedback")
    (made,) = (course.root / ".nbgrader" / "feedback" / "anna").rglob("*.html")
    by_button = made.read_bytes()
    assert "bert  2026" in (said := course.run("feedback", "ps01")) and "15 → 16" in said
    assert "anna  2026" in said and '"Question 2 was disputed."' in said
    assert made.read_bytes() == by_button
    teacher.page.goto(made.as_uri())
    page = teacher.page.inner_text("body")
    assert "24.5 of 25 points" in page and "Good: see your own table." in page and "was disputed" in page
    teacher.page.screenshot(path=teacher.shots / "feedback-page.png", full_page=True)
    teacher.page.set_viewport_size({"width": 390, "height": 844})  # a telephone; Bert's error names a long path
    teacher.page.goto(made.as_uri().replace("/anna/", "/bert/"))
    assert teacher.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not teacher.wrong, teacher.wrong
