"""May this artifact serve traffic? Thresholds fixed beforehand, figures measured, a verdict with its reasons.

Metrics return numbers; only a gate returns a verdict. Three gates must all open: language (did the model drift), task
(does the work still get done), serving (does it fit and is it quick). A figure that nobody measured keeps a gate shut.
"""

from __future__ import annotations

import html
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course_lib.evaluate.paired import items_needed

_Z2 = 1.6449**2  # a score interval ends at z²/(n + z²) where none of n items flips
FIGURES = {
    "language": {
        "kl": "mean KL divergence, nats a token",
        "kl_p99": "KL divergence that 99 % of the tokens stay below",
        "kl_p999": "KL divergence that 99.9 % of the tokens stay below",
        "top1": "share of tokens with the same likeliest next token",
        "bpb_rise": "rise in bits per byte",
        "perplexity_ratio": "perplexity over that of the base",
    },
    "task": {
        "accuracy": "share of right answers",
        "items": "items that were asked",
        "drop": "drop in accuracy",
        "drop_high": "upper end of the one-sided 95 % interval of the drop in accuracy",
        "flips": "share of answers whose verdict changed",
        "json_valid": "share of replies that are JSON",
        "schema_valid": "share of replies that fit the schema",
    },
    "serving": {
        "memory_gib": "peak memory, GiB",
        "file_gib": "size of the file, GiB",
        "tokens_per_s": "tokens a second",
        "ttft_ms": "time to the first token, ms",
        "p50_ms": "median of the time between tokens, ms",
        "p95_ms": "95th percentile of the time between tokens, ms",
        "cold_start_s": "time from nothing to the first token, s",
        "context": "tokens of context",
    },
}
GATES = tuple(FIGURES)
SIDES = {"max": "at most", "min": "at least"}


@dataclass(frozen=True)
class Gate:
    """Limits of each of the three gates, as `figure_max` or `figure_min`; the figures are those of FIGURES.

    >>> Gate(task={"accuracy_min": 0.9}, serving={"memory_gib_max": 8}).serving
    {'memory_gib_max': 8}
    """

    language: Mapping[str, float] = field(default_factory=dict)
    task: Mapping[str, float] = field(default_factory=dict)
    serving: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        for gate in GATES:
            for key, limit in getattr(self, gate).items():
                split_key(gate, key)
                if isinstance(limit, bool) or not isinstance(limit, int | float) or limit != limit:
                    raise ValueError(f"{gate}.{key} must be a number, got {limit!r}")
        if not any(getattr(self, gate) for gate in GATES):
            raise ValueError("a gate without a single limit would let everything through")


@dataclass(frozen=True)
class Report:
    """What was measured of one artifact: figures by their names in FIGURES, and where they come from."""

    name: str
    figures: Mapping[str, float]
    source: str = ""  # command, runtime, machine
    log: str = ""  # the last words of a runtime that crashed
    problem: str = ""  # why it could not be measured, in a sentence
    correct: str = field(default="", repr=False)  # the task's items, "1" right and "0" wrong, to pair with another's

    def __post_init__(self):
        known = {figure for gate in GATES for figure in FIGURES[gate]}
        if unknown := set(self.figures) - known:
            raise ValueError(f"figures must be among {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class Verdict:
    """Whether each gate opened, and a sentence for every limit that held it shut."""

    name: str
    opened: Mapping[str, bool]
    reasons: tuple[str, ...]
    report: Report

    @property
    def approved(self) -> bool:
        return all(self.opened.values())

    def __str__(self) -> str:
        return f"{self.name}: " + ("approved" if self.approved else "refused. " + " ".join(self.reasons))

    def data(self) -> dict:
        """Plain values, as they go into JSON."""
        return asdict(self) | {"approved": self.approved}

    def json(self) -> str:
        return json.dumps(self.data(), indent=2, default=dict) + "\n"

    def _repr_html_(self) -> str:
        gates = "".join(f"<td>{'✓' if self.opened[gate] else '✗'} {gate}</td>" for gate in GATES)
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        word = "approved" if self.approved else "refused"
        return f"<table><tr><th>{html.escape(self.name)}: {word}</th>{gates}</tr></table><ul>{reasons}</ul>"


def judge(report: Report, gate: Gate) -> Verdict:
    """Hold every limit of the gate against the report.

    >>> gate = Gate(task={"accuracy_min": 0.9}, serving={"memory_gib_max": 8})
    >>> print(judge(Report("3-bit", {"accuracy": 0.85, "memory_gib": 3.2}), gate))
    3-bit: refused. task: share of right answers is 0.85, at least 0.9 was asked.
    """
    shut = {name: _complaints(report, name, getattr(gate, name)) for name in GATES}
    reasons = tuple(sentence for sentences in shut.values() for sentence in sentences)
    if report.problem and reasons:
        reasons = (report.problem, *reasons)
    if report.log and reasons:
        reasons += (f"Its runtime said: {report.log.strip().splitlines()[-1]}",)
    return Verdict(report.name, {name: not shut[name] for name in GATES}, reasons, report)


def _complaints(report: Report, gate: str, limits: Mapping[str, float]) -> list[str]:
    """The sentences about limits that do not hold; what nobody measured shares one."""
    missing = dict.fromkeys(f for key in limits if (f := split_key(gate, key)[0]) not in report.figures)
    together = len(missing) > 1
    found = [f"{gate}: {', '.join(missing)} were not measured."] if together else []
    return found + [sentence for key, limit in limits.items()
                    if not (together and split_key(gate, key)[0] in missing)
                    and (sentence := complaint(report, gate, key, limit))]  # fmt: skip


def complaint(report: Report, gate: str, key: str, limit: float) -> str:
    """The sentence about a limit that does not hold, or ""."""
    figure, side = split_key(gate, key)
    what = FIGURES[gate][figure]
    value = report.figures.get(figure)
    if value is None:
        return f"{gate}: {what} was not measured, {SIDES[side]} {limit:g} was asked."
    holds = value <= limit if side == "max" else value >= limit  # NaN holds nowhere
    if holds:
        return ""
    more = too_few(report.figures, limit) if key == "drop_high_max" else ""
    return f"{gate}: {what} is {value:.4g}, {SIDES[side]} {limit:g} was asked.{more}"


def too_few(figures: Mapping[str, float], margin: float) -> str:
    """How many more items could show that the drop stays below the margin; "" where the drop itself reaches it.

    >>> too_few({"items": 100, "flips": 0.05, "drop": 0.0}, 0.01)
    ' With 5 % flips and no drop it takes 3,092 items to show that: 2,992 more.'
    """
    items, flips, drop = (figures.get(name) for name in ("items", "flips", "drop"))
    if not items or flips is None or drop is None or not 0 < margin < 1 or drop >= margin:
        return ""
    needed = items_needed(margin, flips) if flips else math.ceil(_Z2 * (1 - margin) / margin)
    if needed <= items:
        return f" With {100 * flips:.2g} % flips {items:g} items would show that, had it not dropped by {drop:.2g}."
    return (f" With {100 * flips:.2g} % flips and no drop it takes {needed:,} items to show that: "
            f"{needed - items:,.0f} more.")  # fmt: skip


def split_key(gate: str, key: str) -> tuple[str, str]:
    figure, _, side = key.rpartition("_")
    if side not in SIDES or figure not in FIGURES[gate]:
        known = ", ".join(FIGURES[gate])
        raise ValueError(f"{gate}.{key} is no limit: take one of {known}, with _max or _min behind it")
    return figure, side


def read_policy(path: str | Path) -> Gate:
    """The Gate in a TOML file with the tables [language], [task], [serving]; ValueError naming what is wrong in it."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    if unknown := {key for key, value in tables.items() if key not in GATES or not isinstance(value, dict)}:
        raise ValueError(f"{path} may have the tables {', '.join(GATES)}; it has {', '.join(sorted(unknown))}")
    try:
        return Gate(**tables)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
