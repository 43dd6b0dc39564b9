"""Measure the bundled model's figures and hold them against its card: `course card`, `course card --write`."""

import argparse
import json
import platform
import time
from dataclasses import dataclass

from course_lib.files import write_atomic
from course_lib.models.load import BUNDLED, bundled_bytes, load

FIGURES = "figures.json"
MESSAGES, SEED = 500, "card"
LADDER = (  # name, arguments of Scheme.int; None is the 16-bit model
    ("16 bits", None),
    ("int8 per-channel", {"bits": 8}),
    ("int6 per-channel", {"bits": 6}),
    ("int5 per-channel", {"bits": 5}),
    ("int4 per-channel", {"bits": 4}),
    ("int4 g64", {"bits": 4, "group": 64}),
    ("int3 per-channel", {"bits": 3}),
    ("int3 g64", {"bits": 3, "group": 64}),
    ("int2 g16 asymmetric", {"bits": 2, "group": 16, "symmetric": False}),
    ("int2 g64 asymmetric", {"bits": 2, "group": 64, "symmetric": False}),
    ("int2 per-channel", {"bits": 2}),
)


@dataclass(frozen=True)
class Rung:
    """One line of the ladder: bytes as stored, bits per byte on held-out text, exact replies, right tokens."""

    name: str
    megabytes: float
    prose: float
    code: float
    exact: float
    tokens: float
    json: float


def measure(messages=MESSAGES, names=None):
    """Yield a `Rung` for every entry of the ladder (or those in `names`), measured on the bundled model."""
    import torch

    from course_lib import calibrate, evaluate
    from course_lib.models import task, texts
    from course_lib.scheme import Scheme

    model, tokenizer = load("bundled")
    examples = task.generate(messages, SEED)
    for name, arguments in LADDER:
        if names and name not in names:
            continue
        other = (
            calibrate.quantize_model(model, Scheme.int(scale_dtype=torch.float16, **arguments)) if arguments else model
        )
        prose, code = (evaluate.bits_per_byte(other, tokenizer, texts.heldout(d), None) for d in ("prose", "code"))
        reply = evaluate.task_accuracy(other, tokenizer, examples)
        size = calibrate.model_bytes(other) / 1e6
        yield Rung(
            name,
            round(size, 3),
            *(round(x, 4) for x in (prose, code, reply.exact, reply.token_accuracy, reply.json_valid)),
        )


def table(rungs):
    """Format rungs as a Markdown table.

    >>> print(table([Rung("int8", 2.9, 1.5, 0.84, 0.97, 0.999, 1.0)]).splitlines()[2])
    | int8 | 2.90 | 1.500 | 0.840 | 97.0 % | 99.90 % | 100.0 % |
    """
    head = "| weights | MB | prose bits/byte | code bits/byte | exact replies | right tokens | valid JSON |"
    lines = [head, "|---" * 7 + "|"]
    for r in rungs:
        shares = " | ".join((f"{100 * r.exact:.1f} %", f"{100 * r.tokens:.2f} %", f"{100 * r.json:.1f} %"))
        lines.append(f"| {r.name} | {r.megabytes:.2f} | {r.prose:.3f} | {r.code:.3f} | {shares} |")
    return "\n".join(lines)


def recorded():
    """Return the rungs that the card states, by name."""
    entries = json.loads((BUNDLED / FIGURES).read_text(encoding="utf-8"))["ladder"]
    return {entry["name"]: Rung(**entry) for entry in entries}


def differences(new, old):
    """Return one sentence for each figure that moved by more than rounding on another CPU explains.

    Bits per byte may move by 0.002; a reply flips when two logits nearly tie, so shares may move by 1 point.
    """
    limits = {"megabytes": 1e-3, "prose": 2e-3, "code": 2e-3, "exact": 0.01, "tokens": 0.002, "json": 0.01}
    return [
        f"{new.name}: {field} is {getattr(new, field)}, the card says {getattr(old, field)}"
        for field, limit in limits.items()
        if abs(getattr(new, field) - getattr(old, field)) > limit + 1e-9
    ]


def write(rungs):
    """Write figures.json and put the table into the model card, between its markers; rungs not measured stay."""
    import torch

    known = (recorded() if (BUNDLED / FIGURES).exists() else {}) | {r.name: r for r in rungs}
    rungs = [known[name] for name, _ in LADDER if name in known]

    figures = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "date": time.strftime("%Y-%m-%d"),
        "command": "course card --write",
        "messages": MESSAGES,
        "file_bytes": bundled_bytes(),
        "ladder": [vars(r) for r in rungs],
    }
    write_atomic(BUNDLED / FIGURES, json.dumps(figures, indent=1) + "\n")
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    head, rest = card.split("<!-- ladder -->\n")[0], card.split("<!-- /ladder -->\n")[-1]
    write_atomic(BUNDLED / "README.md", f"{head}<!-- ladder -->\n{table(rungs)}\n<!-- /ladder -->\n{rest}")


def main(argv=None):
    parser = argparse.ArgumentParser(prog="course card", description="Measure the bundled model's figures again.")
    parser.add_argument("--write", action="store_true", help="record the new figures in the model card")
    parser.add_argument("--only", nargs="*", help="names of ladder entries")
    args = parser.parse_args(argv)
    rungs = []
    for rung in measure(names=args.only):
        rungs.append(rung)
        print(table([rung]).splitlines()[2], flush=True)
    if args.write:
        write(rungs)
        return 0
    old = recorded()
    moved = [sentence for rung in rungs for sentence in differences(rung, old[rung.name])]
    print("\n".join(moved) or "Every figure agrees with the card.")
    return 1 if moved else 0
