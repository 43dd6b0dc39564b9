"""The shop's new till wants other words in a reply; the adapter in LORA taught them to the bot, beside its NF4 weights.

The adapter's files are PEFT's; `python benchmarks/adapter.py --write` made them.
"""

from dataclasses import replace
from pathlib import Path

from course_lib.models import task

LORA = Path(__file__).parent / "lora"


def examples(n: int, seed=0) -> list[task.Example]:
    """Requests as `task.generate` draws them, with answers in the new till's words.

    >>> examples(1, 3)[0].answer != task.generate(1, 3)[0].answer
    True
    """
    return [replace(example, action=_new_words(example.action)) for example in task.generate(n, seed)]


def _new_words(action: dict) -> dict:
    """`amount` for `eur`, "pay back" for "refund", "credit" for "voucher"."""
    lines = [
        {
            ("amount" if key == "eur" else key): ("pay back" if value == "refund" else value)
            for key, value in line.items()
        }
        for line in action["lines"]
    ]
    return action | {"lines": lines, "pay": "credit" if action["pay"] == "voucher" else action["pay"]}
