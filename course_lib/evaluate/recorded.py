"""Ten candidates for the returns bot as `benchmarks/gate_candidates.py` measured them: figures, and reply by reply."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from course_lib.evaluate.gate import Report
from course_lib.evaluate.paired import Paired, paired

PATH = Path(__file__).parent / "data" / "returns-bot.json"


@dataclass(frozen=True)
class Recorded:
    """The base's replies, right or wrong, and a Report for each candidate; `about` says when, where and how."""

    base: tuple[bool, ...]
    reports: tuple[Report, ...]
    about: dict

    def pair(self, report: Report, items=None) -> Paired:
        """Base and candidate on these items (numbers of items; default: all)."""
        other = [mark == "1" for mark in report.correct]
        items = range(len(self.base)) if items is None else items
        return paired([self.base[i] for i in items], [other[i] for i in items])


@functools.cache
def returns_bot() -> Recorded:
    """The recording that comes with the course."""
    data = json.loads(PATH.read_text(encoding="utf-8"))
    reports = tuple(Report(**{k: v for k, v in entry.items() if k != "how"}) for entry in data["reports"])
    about = {key: data[key] for key in ("date", "command", "machine", "versions")}
    return Recorded(tuple(mark == "1" for mark in data["base"]), reports, about)
