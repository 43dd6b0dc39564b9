"""The numbers of a question that differ from class to class: drawn from the class's name, kept in its gradebook.

`graded/psNN/cohort.toml` of a private folder declares them, and `{{bits}}` stands for one anywhere in the notebook:

    [bits]
    choices = [3, 5, 6]
    default = 4

    [group]
    low = 4
    high = 12
    default = 8
"""

import hashlib
import re
import tomllib
from typing import NamedTuple

FILE = "cohort.toml"
PLACE = re.compile(r"\{\{(\w+)\}\}")


class Drawn(NamedTuple):
    """A cohort's name, empty where there is none, and its values."""

    cohort: str
    values: dict

    def __str__(self):
        return ", ".join(f"{name} = {value}" for name, value in self.values.items())


def read(text: str, shown: str) -> dict[str, dict]:
    """{parameter: its table}. Errors: ValueError with one sentence."""
    try:
        parameters = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{shown} is not TOML: {error}.") from None
    for name, entry in parameters.items():
        problem = _problem(entry)
        if problem or not re.fullmatch(r"\w+", name):
            raise ValueError(f"{shown}: [{name}] {problem or 'must be named with letters, digits and _'}.")
    return parameters


def _problem(entry) -> str:
    if not isinstance(entry, dict) or not _plain(entry.get("default")):
        return "needs a default, a number or a text"
    if set(entry) == {"default", "choices"}:
        choices = entry["choices"]
        good = isinstance(choices, list) and choices and all(map(_plain, choices))
        return "" if good else "needs choices that are a list of numbers or texts"
    if set(entry) == {"default", "low", "high"}:
        low, high = entry["low"], entry["high"]
        good = all(type(bound) is int for bound in (low, high)) and low <= high
        return "" if good else "needs two whole numbers, low ≤ high"
    return "must have default, and either choices or low and high"


def _plain(value) -> bool:
    return isinstance(value, int | float | str)


def draw(parameters: dict[str, dict], short: str, cohort: str) -> Drawn:
    """A cohort's values: the same name draws the same ones, on any machine; no name, the defaults.

    >>> bits = {"bits": {"choices": [3, 5, 6], "default": 4}}
    >>> draw(bits, "ps01", ""), draw(bits, "ps01", "autumn 2026")
    (Drawn(cohort='', values={'bits': 4}), Drawn(cohort='autumn 2026', values={'bits': 6}))
    """
    keys = {name: f"{short}\n{name}\n{cohort}" for name in parameters}
    return Drawn(cohort, {name: _value(entry, keys[name], cohort) for name, entry in parameters.items()})


def _value(entry: dict, key: str, cohort: str):
    if not cohort:
        return entry["default"]
    number = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
    if "choices" in entry:
        return entry["choices"][number % len(entry["choices"])]
    return entry["low"] + number % (entry["high"] - entry["low"] + 1)


def fill(notebook: dict, values: dict, shown: str) -> dict:
    """The notebook with a value for each {{name}}. Errors: ValueError for a name without one.

    >>> fill({"cells": [{"source": "Use {{bits}} bits."}]}, {"bits": 3}, "x")["cells"][0]["source"]
    'Use 3 bits.'
    """

    def value(found) -> str:
        if found[1] not in values:
            raise ValueError(f"{shown} asks for {found[0]}, which its {FILE} does not declare.")
        return str(values[found[1]])

    cells = [raw | {"source": PLACE.sub(value, "".join(raw["source"]))} for raw in notebook["cells"]]
    return notebook | {"cells": cells}
