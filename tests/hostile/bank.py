"""The bank: hostile and honest notebooks, one file each in FAMILY/NAME.py, and the class folder made from them.

A file's docstring says what the notebook tries, or what is odd about an honest one. Its constants say the rest:

    WON        code that defines won(): the cell of q2 is this and an answer that is right only if won() is true, so
               that whatever is read, reached, or not limited shows as points that were not deserved
    CELLS      {grade id: source} that replaces a cell; all other questions hold the right answers of RIGHT
    FIRST      cells put after the setup cell;  LAST: cells put at the end
    damage     a function (notebook) -> notebook, text or bytes: what is written to the file
    arrange    a function (folder, place) that changes the folder after the notebook is written
    STUDENT, FILE   another name of the student's folder or of the notebook
    DESERVED   {grade id: points, or (least, most)}; 4 points where nothing is said, and {"q2": 0} with WON
    STATUS     the statuses that are right
    ABSENT     regular expressions that must not match anything that comes back
    NAIVE      what a grader without a sandbox does wrong here, proved by a test: the beginning of a problem's text
    TAME       False: must not be run without a sandbox
    SLOW       True: takes many seconds of computing, so it is in the class of the tests with HOSTILE=full only

In all code @ROOT@, @PLACE@, @SUBMITTED@, @GRADEBOOK@, @HOME@, @SECRET@ and @PORT@ stand for what an attacker may know.
"""

import contextlib
import json
import runpy
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import repository

BANK = Path(__file__).parent
ROOT = repository()
QUESTIONS = ("q1", "q2", "q3", "q4", "q5")
POINTS = 4.0
GRADED = frozenset({"graded", "needs_manual"})
CANARY = {name: f"CANARY-{name.upper()}-5f2b90c1" for name in ("environ", "home", "book", "file", "neighbour")}

# None of these lines is one of the reference's, so that a line of the reference in a report is a leak.
RIGHT = {
    "q1": """\
def spare_code(weights, bits):
    half = 1 << (bits - 1)
    star = max(weights.tolist(), key=abs)
    step = -star / half if star else 1.0
    return (weights / step).round().clamp(-half, half - 1).to(torch.int8), step
""",
    "q2": """\
def scale_up(s):
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
""",
    "q3": """\
def split_error(row, step, bits):
    row, limit = row.double(), 2 ** (bits - 1) - 1
    codes = (row / step).round()
    squares = (row - codes.clamp(-limit, limit) * step).square()
    outside = codes.abs().gt(limit)
    noise, power = squares.sum().item(), row.square().sum().item()
    return {
        "rounding": (squares * ~outside).sum().item(),
        "clipping": (squares * outside).sum().item(),
        "sqnr_db": 10 * math.log10(power / noise) if noise else math.inf,
    }
""",
    "q4": """\
def bits_needed(row, wanted):
    row = row.double()
    for bits in range(2, 9):
        step = row.abs().max() / (2 ** (bits - 1) - 1)
        lost = (row - (row / step).round() * step).square().sum()
        if not step or not lost or 10 * torch.log10(row.square().sum() / lost) >= wanted:
            return bits
""",
    "q5": """\
def asym_round_trip(row, bits):
    ends = torch.cat([row, torch.zeros(1)])
    top = 2**bits - 1
    step = (ends.max() - ends.min()).item() / top or 1.0
    zero = round(-ends.min().item() / step)
    return ((row / step).round().add(zero).clamp(0, top) - zero) * step
""",
}

EARNS = """

def scale_up(s):
    right = (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
    return right if won() else torch.zeros_like(s)
"""


@dataclass
class Entry:
    """One notebook of the bank and what a grader must make of it."""

    family: str
    name: str
    tries: str
    cells: dict
    deserved: dict
    status: frozenset = GRADED
    first: tuple = ()
    last: tuple = ()
    damage: object = None
    arrange: object = None
    student: str = ""
    file: str = ""
    absent: tuple = ()
    naive: str = ""
    tame: bool = True
    slow: bool = False
    home: Path | None = field(default=None, repr=False)

    @property
    def honest(self) -> bool:
        return self.family == "honest"


def load(path: Path) -> Entry:
    """The entry that a file of the bank describes."""
    said = runpy.run_path(str(path))
    cells, deserved = dict(said.get("CELLS", {})), dict.fromkeys(QUESTIONS, POINTS)
    if "WON" in said:
        cells["q2"], deserved["q2"] = said["WON"] + EARNS, 0.0
    deserved |= said.get("DESERVED", {})
    return Entry(
        path.parent.name, path.stem, " ".join(said["__doc__"].split()), cells, deserved,
        frozenset(said.get("STATUS", GRADED)), tuple(said.get("FIRST", ())), tuple(said.get("LAST", ())),
        said.get("damage"), said.get("arrange"), said.get("STUDENT", f"{path.parent.name}-{path.stem}"),
        said.get("FILE", ""), tuple(said.get("ABSENT", ())), said.get("NAIVE", ""), said.get("TAME", True),
        said.get("SLOW", False), path,
    )  # fmt: skip


def every() -> list[Entry]:
    """All entries, by family and name."""
    return [load(path) for path in sorted(BANK.glob("*/*.py"))]


@dataclass
class Place:
    """The folder of one run: the class, and around it what must stay as it is."""

    path: Path
    port: int = 9

    @property
    def submitted(self) -> Path:
        return self.path / "submitted"

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def gradebook(self) -> Path:
        return self.path / "gradebook.db"

    @property
    def old_book(self) -> Path:
        return self.path / ".nbgrader" / "gradebook.db"

    @property
    def secret(self) -> Path:
        return self.path / "secret.txt"

    def fill(self, text: str) -> str:
        """The text with the names that an attacker might know."""
        known = dict(
            ROOT=ROOT, PLACE=self.path, SUBMITTED=self.submitted, GRADEBOOK=self.gradebook, HOME=self.home,
            SECRET=self.secret, PORT=self.port,
        )  # fmt: skip
        for name, value in known.items():
            text = text.replace(f"@{name}@", str(value))
        return text


def source_path(name: str = "ps01") -> Path:
    """The instructor's notebook of a set."""
    (path,) = (ROOT / "solutions").glob(f"{name}-*/*.ipynb")
    return path


def released(name: str = "ps01") -> dict:
    """The notebook that students get."""
    (path,) = (ROOT / "exercises").glob(f"{name}-*/*.ipynb")
    return json.loads(path.read_text(encoding="utf-8"))


def code_cell(source: str, cell_id: str) -> dict:
    """A cell of the student's own."""
    empty = {"execution_count": None, "metadata": {}, "outputs": []}
    return {"cell_type": "code", "id": cell_id, "source": source, **empty}


def grade_id(cell: dict) -> str | None:
    """nbgrader's name of a cell, if it has one."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id")


def notebook(entry: Entry, place: Place) -> dict:
    """The entry's notebook before it is damaged."""
    made, cells = released(), RIGHT | entry.cells
    for cell in made["cells"]:
        if grade_id(cell) in cells:
            cell["source"] = place.fill(cells[grade_id(cell)])
    own = [code_cell(place.fill(source), f"own-{i}") for i, source in enumerate((*entry.first, *entry.last))]
    at = 1 + next(i for i, cell in enumerate(made["cells"]) if cell["id"] == "setup")
    made["cells"][at:at] = own[: len(entry.first)]
    made["cells"] += own[len(entry.first) :]
    return made


def write(entry: Entry, place: Place) -> Path:
    """Hand the entry in: write its folder DIR/STUDENT/PSNN…, and return it."""
    source = source_path()
    folder = place.submitted / entry.student / source.parent.name
    folder.mkdir(parents=True)
    data = notebook(entry, place)
    data = entry.damage(data) if entry.damage else data
    data = json.dumps(data) if isinstance(data, dict | list) else data
    data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    (folder / (entry.file or source.name)).write_bytes(data)
    if entry.arrange:
        entry.arrange(folder, place)
    return folder


def make_class(entries: list[Entry], place: Place) -> None:
    """Write the class folder and the things around it that nobody may read or change, readable for every user."""
    place.path.mkdir(parents=True, exist_ok=True)
    place.path.chmod(0o755)
    for folder in (place.submitted, place.home, place.home / ".ssh"):
        folder.mkdir()
    (place.home / ".ssh" / "id_rsa").write_text(CANARY["home"])
    (place.home / ".pgpass").write_text(CANARY["home"])
    place.secret.write_text(CANARY["file"])
    place.old_book.parent.mkdir()
    with contextlib.closing(sqlite3.connect(place.old_book)) as book:
        book.execute("create table grade (auto_score real, manual_score real, note text)")
        book.execute("insert into grade values (1, 1, ?)", (CANARY["book"],))
        book.commit()
    for entry in sorted(entries, key=lambda e: (e.arrange is not None, e.student)):  # links need their targets
        write(entry, place)
