"""What must hold of a graded class. Every function returns problems, one sentence each that begins with its kind:

points:   a score that was not deserved            status:  a wrong or unclear status, or an impossible total
lost:     a submission that is not in the report   leak:    a secret in something that comes back
active:   a page that would run a student's script wrote:   a file changed or made outside of the sandbox
"""

import base64
import hashlib
import html
import html.parser
import json
import os
import re
from functools import cache
from pathlib import Path

import torch

from course_lib.grading import leaks
from tests.hostile import bank
from tests.hostile.bank import CANARY, QUESTIONS, ROOT, Entry

LOST = ("unreadable", "failed")
DEEP = 60  # folders in folders where nobody looks any further
LONG = 30  # characters from which a line of a hidden source is its own
NUMBERS = re.compile(r"EXFIL ((?:[-+0-9.e]+ ?)+)")

LETTERS = ("pre", "code", "textarea")  # where MathJax finds no formulas

# ---- scores


def of_scores(entry: Entry, submission: dict | None) -> list[str]:
    """Is the score the deserved one, and does the report say what has happened?"""
    if submission is None:
        return ["lost: it is not in the report"]
    found, status = [], submission.get("status")
    if status not in entry.status:
        found.append(f"status: {status!r}, right would be {', '.join(sorted(entry.status))}")
    by_id = {question.get("id"): question for question in submission.get("questions", [])}
    for name in QUESTIONS:
        score = by_id.get(name, {}).get("score")
        least, most = entry.deserved[name] if isinstance(entry.deserved[name], tuple) else (entry.deserved[name],) * 2
        if score is None and status not in LOST:
            found.append(f"points: {name} has no score, deserved {entry.deserved[name]}")
        elif score is not None and not least <= score <= most:
            found.append(f"points: {name} has {score}, deserved {entry.deserved[name]}")
    return found + of_report(submission, by_id)


def of_report(submission: dict, by_id: dict) -> list[str]:
    """Does one entry of the report fit together?"""
    found = []
    scores = [question["score"] for question in by_id.values() if question.get("score") is not None]
    if submission["status"] in LOST:
        return ["status: an unreadable submission must not have a score"] if submission.get("score") else []
    if len(by_id) != len(submission["questions"]) or not set(QUESTIONS) <= set(by_id):
        found.append(f"status: its questions are {[question.get('id') for question in submission['questions']]}")
    if submission.get("score") != sum(scores) or submission.get("max_score") != 20:
        found.append(f"status: {submission.get('score')} of {submission.get('max_score')} is not the sum of {scores}")
    for name in QUESTIONS:
        question = by_id.get(name, {})
        if (question.get("score") or 0) < question.get("max_score", 4) and not question.get("reasons"):
            found.append(f"status: {name} has lost points without a reason")
    return found


# ---- secrets


@cache
def hidden_lines() -> frozenset[str]:
    """The lines of graded sources, hidden tests and solutions that no student is shown."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "graded" / "ps01").glob("*.py"))]
    cells = json.loads(bank.source_path().read_text(encoding="utf-8"))["cells"]
    texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = {line for text in texts for line in leaks.lines_of(text) if len(line) >= LONG}
    return frozenset(line for line in lines if not any(phrase in line for phrase in told())) - shown()


@cache
def shown() -> frozenset[str]:
    """The lines of the notebook that everybody gets."""
    return frozenset(line for cell in bank.released()["cells"] for line in leaks.lines_of("".join(cell["source"])))


@cache
def told() -> frozenset[str]:
    """The sentences that a reason may say: names and reasons of properties, names and diagnoses of mistakes."""
    from graded import ps01

    found = set()
    for question in ps01.build(ps01.SEED):
        found |= {text for p in question.properties for text in (p.name, p.why)}
        found |= {text for wrong in question.wrong for text in (wrong.name, wrong.diagnosis)}
        found |= {question.spec, question.title}
    return frozenset(text for text in found if text)


@cache
def case_names() -> frozenset[str]:
    """The names of hidden cases."""
    from graded import ps01

    names = {case.name for question in ps01.build(ps01.SEED) for case in question.cases if len(case.name) > 12}
    public = " ".join([*told(), *shown()])
    return frozenset(name for name in names if name not in public)


@cache
def visible_numbers() -> frozenset[float]:
    """The inputs of the examples that everybody sees."""
    cells = [cell for cell in bank.released()["cells"] if str(bank.grade_id(cell)).endswith("-test")]
    text = "".join("".join(cell["source"]) for cell in cells)
    seen = [float(x) for x in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", text)]
    thousand = torch.randn(1000, generator=torch.Generator().manual_seed(1)).tolist()
    return frozenset([*seen, *thousand, *(round(0.001 + 0.001 * i, 6) for i in range(100))])


def plain(name: str, data: bytes) -> str:
    """All the text in a file: as it is, without tags and entities, and without JSON's backslashes."""
    text = data.decode("utf-8", "replace")
    parts = [text, html.unescape(text), html.unescape(re.sub(r"<[^<>]*>", "", text))]
    if name.endswith((".json", ".ipynb")):
        try:
            parts += strings(json.loads(text))
        except ValueError:
            pass
    return "\n".join(parts)


def strings(value) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def of_secrets(entry: Entry, returned: dict[str, bytes], student: bool = True) -> list[str]:
    """Is there a secret in what comes back? Hidden lines and inputs are none to a teacher (student=False)."""
    found = []
    for name, data in returned.items():
        text, raw = plain(name, data), html.unescape(data.decode("utf-8", "replace"))
        for kind, canary in CANARY.items():
            if kind == "neighbour" and entry.name == "neighbour":
                continue
            forms = forms_of(canary)
            found += [f"leak: {canary} in {name}"] if any(form in text for form in forms) else []
        found += [f"leak: /{pattern}/ matches in {name}" for pattern in entry.absent if re.search(pattern, raw)]
        if student:
            found += [f"leak: {line!r} in {name}" for line in hidden_in(text)]
            found += [f"leak: hidden numbers {numbers!r} in {name}" for numbers in exfiltrated(text)]
    return found


def forms_of(secret: str) -> list[str]:
    """A secret as it is, backwards, in hexadecimal, and in base64 wherever it begins."""
    coded = [base64.b64encode(b"x" * shift + secret.encode())[4:-4].decode() for shift in range(3)]
    return [secret, secret[::-1], secret.encode().hex(), *coded]


def hidden_in(text: str) -> list[str]:
    """Hidden lines in a text, and names of hidden cases."""
    lines = " ".join(text.split())
    return [line for line in sorted(hidden_lines() | case_names()) if line in lines]


def exfiltrated(text: str) -> list[str]:
    """Inputs that a student's code has sent out, other than the visible ones."""
    found = []
    for numbers in NUMBERS.findall(text):
        values = [float(x) for x in numbers.split() if re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", x)]
        if any(all(abs(value - known) > 6e-5 for known in visible_numbers()) for value in values):
            found.append(numbers.strip()[:60])
    return found


# ---- pages


class Active(html.parser.HTMLParser):
    """Collects the places of a page where a student's XSS would run or load something."""

    def __init__(self):
        super().__init__()
        self.found, self.inside, self.letters = [], None, 0

    def handle_starttag(self, tag, attributes):
        self.letters += tag in LETTERS
        self.inside = tag if tag in ("script", "style") else self.inside
        if tag in ("script", "object", "embed", "base") and any("XSS" in (value or "") for _, value in attributes):
            self.found.append(f"<{tag}>")
        for name, value in attributes:
            value = value or ""
            scheme = re.sub(r"[\s\x00-\x20]", "", value).lower()
            runs = name.startswith("on") and "XSS" in value or name == "srcdoc" and "XSS" in value
            runs |= scheme.startswith(("javascript:", "vbscript:", "data:text/html")) or "javascript:xss" in scheme
            if runs or "x.invalid" in value and name in ("href", "src", "style", "content", "data", "action"):
                self.found.append(f"<{tag} {name}={value[:40]!r}>")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        self.inside = None if tag == self.inside else self.inside
        self.letters -= tag in LETTERS and self.letters > 0

    def handle_data(self, data):
        if self.inside and ("XSS(" in data or "x.invalid" in data):
            self.found.append(f"<{self.inside}>{data[:40]}")
        if "\\href{javascript:" in data and not self.letters:
            self.found.append("a formula with a link to a script")


def of_pages(pages: dict[str, bytes]) -> list[str]:
    """Would a browser run something of a student's on these pages?"""
    found = []
    for name, data in pages.items():
        parser = Active()
        parser.feed(data.decode("utf-8", "replace"))
        parser.close()
        found += [f"active: {place} in {name}" for place in parser.found[:3]]
    return found


# ---- the world outside


def snapshot(folder: Path) -> dict[str, str]:
    """What lies in a folder: kind, target or content of everything, links not followed."""
    found = {}
    for here, folders, files in os.walk(os.fsencode(folder)):
        if here.count(b"/") > DEEP:
            folders.clear()
        for name in folders + files:
            path = os.path.join(here, name)
            state = os.lstat(path)
            said = f"{state.st_mode:o} {state.st_size if not os.path.isdir(path) else ''}"
            if os.path.islink(path):
                said += repr(os.readlink(path))
            elif os.path.isfile(path) and state.st_size < 1 << 27:
                with open(path, "rb") as file:
                    said += hashlib.sha256(file.read()).hexdigest()
            found[os.fsdecode(path)] = said
    return found


def of_changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What was changed, made or removed?"""
    changed = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
    return [f"wrote: {path!r}" for path in changed]


def of_marks(folders: list[Path], deep: list[Path]) -> list[str]:
    """Files that students have left: in these folders, and anywhere below the deep ones."""
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    for folder in deep:
        for here, inside, files in os.walk(folder):
            inside[:] = [name for name in inside if name not in (".git", ".venv", "tests", "submitted", "node_modules")]
            found += [Path(here) / name for name in inside + files]
    return [f"wrote: {path}" for path in found if path.name.startswith(("WROTE-", "NOTE")) and path.name.isascii()]


def of_processes() -> list[str]:
    """Processes of students that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().startswith("hostile-daemon"):
                found.append(f"wrote: process {path.parent.name} is still running")
        except OSError:
            pass
    return found
