"""`course gate ARTIFACT… --against MODEL --policy FILE`: measure artifacts, hold them against a policy, say why.

An artifact is a checkpoint directory, a GGUF file, "bundled", or a folder that holds some of these. The exit status is
0 if all are approved, 1 if one is refused, 2 if the question itself is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from course_lib.files import write_atomic

POLICIES = Path(__file__).parent / "policies"
ITEMS, SEED = 200, 13


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(prog="course gate", description="May these artifacts serve?")
    result.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="directory, GGUF file, or a folder of them")
    result.add_argument("--against", default="bundled", metavar="MODEL", help="what they were made from")
    result.add_argument("--policy", default="returns-bot", metavar="FILE", help="TOML; default: the bot's own")
    result.add_argument("--items", type=int, default=ITEMS, help=f"task messages to answer; default {ITEMS}")
    result.add_argument("--seed", type=int, default=SEED, help="which messages")
    result.add_argument("--runs", type=int, default=2, help="processes that serve each artifact, for the spread")
    result.add_argument("--json", metavar="FILE", help="write the verdicts as JSON")
    result.add_argument("--html", metavar="FILE", help="write the verdicts as a page")
    return result


def found(names: list[str]) -> list[str]:
    """The artifacts that some names mean: a folder that is none itself stands for those in it."""
    result = []
    for name in names:
        path = Path(name)
        if path.is_dir() and not (path / "config.json").is_file():
            inside = sorted(p for p in path.iterdir() if p.suffix == ".gguf" or (p / "config.json").is_file())
            if not inside:
                raise ValueError(f"ARTIFACT: {name} holds neither config.json nor an artifact")
            result += map(str, inside)
        elif path.exists() or name == "bundled":
            result.append(name)
        else:
            raise FileNotFoundError(f"ARTIFACT: there is no {name}")
    return result


def policy_of(name: str):
    """The Gate of a file, or of a policy that comes with the course."""
    from course_lib.evaluate.gate import read_policy

    shipped = POLICIES / f"{name}.toml"
    path = shipped if shipped.is_file() and not Path(name).exists() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in POLICIES.glob("*.toml")))
        raise FileNotFoundError(f"--policy: there is no file {name}; the course's own are {known}")
    return read_policy(path)


def longest_of(gate) -> int:
    """Tokens of context to try: as many as a policy asks for, and LONGEST where it asks for fewer."""
    from course_lib.evaluate.serving import LONGEST

    return max(LONGEST, *(int(limit) + 1 for key, limit in gate.serving.items() if key.startswith("context_")), 0)


def run(options) -> list:
    """Measure and judge every artifact; say what came out."""
    names, gate = found(options.artifacts), policy_of(options.policy)
    if options.items < 1 or options.runs < 1:
        raise ValueError(f"--items and --runs must be at least 1, got {options.items} and {options.runs}")
    from course_lib import models
    from course_lib.evaluate.examine import Base
    from course_lib.evaluate.gate import judge
    from course_lib.progress import bar

    began, verdicts = time.perf_counter(), []
    model, tokenizer = models.load(options.against)
    steps = iter(bar(range(len(names) + 1), "gate", total=len(names) + 1))
    next(steps)
    items = models.task.generate(options.items, options.seed)
    base = Base(model, tokenizer, models.texts.heldout("prose"), items, progress=False)
    for name in names:
        next(steps)
        verdicts.append(judge(base.examine(name, options.runs, longest=longest_of(gate)), gate))
    next(steps, None)
    for verdict in verdicts:
        print("\n    ".join([f"{verdict.name}: {'approved' if verdict.approved else 'refused'}", *verdict.reasons]))
    approved = sum(verdict.approved for verdict in verdicts)
    print(f"{approved} of {len(verdicts)} approved, in {time.perf_counter() - began:.0f} s")
    _write(options, verdicts, gate)
    return verdicts


def _write(options, verdicts, gate) -> None:
    from course_lib.evaluate.page import page

    if options.json:
        data = {"against": options.against, "policy": options.policy, "items": options.items, "seed": options.seed,
                "verdicts": [verdict.data() for verdict in verdicts]}  # fmt: skip
        write_atomic(options.json, json.dumps(data, indent=2) + "\n")
    if options.html:
        write_atomic(options.html, page(verdicts, gate))


def main(arguments) -> int:
    """`course gate`."""
    import warnings

    options = parser().parse_args(arguments)
    warnings.filterwarnings("ignore")
    try:
        verdicts = run(options)
    except (ValueError, OSError) as error:
        print(f"course gate: {error}", file=sys.stderr)
        return 2
    return 0 if all(verdict.approved for verdict in verdicts) else 1
