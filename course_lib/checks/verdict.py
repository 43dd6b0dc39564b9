"""The words of a judgement: states, failures with their counter-examples, verdicts, grades."""

from dataclasses import dataclass, field
from typing import NamedTuple

PASS, FAIL, NOT_ATTEMPTED = "pass", "fail", "not attempted"


@dataclass
class Failure:
    """Why a property failed: one sentence and, where there is one, the case as a counter-example."""

    message: str
    case: str = ""
    inputs: dict = field(default_factory=dict)
    got: object = None
    expected: object = None
    shows_values: bool = False  # then the message, too, is not for a hidden case
    has_answer: bool = False
    has_expected: bool = False
    only_size: bool = False  # a list or tensor was asked, and came, of another size: what a law makes of it says more


class Failed(Exception):
    """Raised inside a property's test to end it with a `Failure`."""

    def __init__(self, failure: Failure):
        super().__init__(failure.message)
        self.failure = failure


@dataclass
class Verdict:
    """One property's result; `ok` is None when it was not run."""

    name: str
    ok: bool | None
    why: str = ""
    points: float = 0.0
    failure: Failure | None = None


@dataclass
class Judgement:
    """The state, a sentence for "not attempted" or a pass, the verdicts, the likely mistake if known."""

    state: str
    message: str = ""
    verdicts: list = field(default_factory=list)
    diagnosis: object = None  # diagnose.Diagnosis
    printed: str = ""

    @property
    def mistake(self):
        """The `Wrong` that explains every case in which the answer fails, if one is known."""
        return self.diagnosis.wrong if self.diagnosis and self.diagnosis.whole else None

    @property
    def first(self) -> Verdict | None:
        """The first property that failed; one that says more than that the size is another goes before."""
        failed = [v for v in self.verdicts if v.ok is False]
        return next((v for v in failed if not (v.failure and v.failure.only_size)), failed[0] if failed else None)


class Grade(NamedTuple):
    """One line of a grade; `points` is what the property is worth."""

    property: str
    ok: bool
    message: str
    points: float
