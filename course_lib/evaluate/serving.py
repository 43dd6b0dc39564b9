"""How an artifact serves: speed, waiting, memory, context and cold start, measured in the runtime that would serve it.

GGUF files run in llama.cpp, checkpoints in transformers, each run in a process of its own (`serving_worker`). One
request at a time, one thread on a CPU. A figure is the median of the runs, with the least and the most beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.progress import bar

WORKER = Path(__file__).with_name("serving_worker.py")
LOG_BYTES = 4096
LONGEST = 4096  # tokens of context that are tried, unless a policy asks for more: a model may claim a million
RUNTIMES = {".gguf": "llama.cpp"}


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4g} ({self.low:.4g} … {self.high:.4g})"


@dataclass(frozen=True)
class Serving:
    """What was measured, by the names of gate.FIGURES; nothing but the log where the runtime crashed."""

    runtime: str
    runs: int
    spreads: dict[str, Spread] = field(default_factory=dict)
    log: str = ""

    @property
    def figures(self) -> dict[str, float]:
        return {name: spread.median for name, spread in self.spreads.items()}

    def __str__(self) -> str:
        if not self.spreads:
            return f"{self.runtime} crashed: {self.log.splitlines()[-1]}"
        return f"{self.runtime}, {self.runs} runs: " + ", ".join(f"{k} {v}" for k, v in self.spreads.items())


class Crashed(RuntimeError):
    """A runtime that ended badly or not in time; the message is the end of what it wrote."""


def runtime_of(artifact: str | Path) -> str:
    """Which program serves an artifact of this kind."""
    return RUNTIMES.get(Path(artifact).suffix, "transformers")


def serve(
    artifact: str | Path,
    prompts: Sequence[str],
    tokens: int = 32,
    runs: int = 3,
    longest: int = LONGEST,
    timeout_s: float = 120,
    progress: bool | None = None,
) -> Serving:
    """Start the artifact's runtime `runs` times; each time it answers every prompt with exactly `tokens` tokens.

    tokens_per_s   1 / mean time between tokens, one request at a time
    ttft_ms        median time from a prompt to its first token
    p50_ms, p95_ms percentiles of the time between tokens
    memory_gib     most resident memory of the whole process, runtime included, GiB
    cold_start_s   from starting the process to its first token
    context        tokens that it really read in one piece, of a model of a longer context the first `longest`

    A crash is a result, not an error: `.spreads` is empty and `.log` holds the last words.
    """
    if not prompts or tokens < 2 or runs < 1:
        raise ValueError(f"serve needs a prompt, 2 tokens and a run at least, got {len(prompts)}, {tokens}, {runs}")
    if longest <= tokens:
        raise ValueError(f"longest must be more than the {tokens} tokens of a reply, got {longest}")
    task, found, log = {"artifact": str(artifact), "prompts": list(prompts), "tokens": tokens}, [], ""
    task["longest"] = longest
    for _ in bar(range(runs), f"serving {Path(artifact).name}", progress):  # to its end, so that the bar is wiped
        try:
            found += [] if log else [_one_run(task, timeout_s)]
        except Crashed as error:
            log = str(error)
    if log:
        return Serving(runtime_of(artifact), len(found), log=log)
    spreads = {name: Spread(statistics.median(values), min(values), max(values))
               for name in found[0] for values in [[run[name] for run in found]]}  # fmt: skip
    return Serving(runtime_of(artifact), runs, spreads)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least `share` of the values do not exceed.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.95)
    (2, 4)
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _one_run(task: dict, timeout_s: float) -> dict[str, float]:
    """One process: its own figures, and how long it took to its first token, seen from outside."""
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        clock = threading.Timer(timeout_s, process.kill)
        clock.start()
        try:
            process.stdin.write(json.dumps(task).encode())
            process.stdin.close()
            first = process.stdout.readline()
            cold, line = time.perf_counter() - began, process.stdout.readline()
            code = process.wait()
        except BrokenPipeError:
            first, line, code = b"", b"", process.wait()
        finally:
            late = not clock.is_alive()
            clock.cancel()
            process.kill()
            process.wait()
        if first.strip() != b"first" or code or not line:
            raise Crashed(_last_words(log, f"it took longer than {timeout_s:g} s" if late else _ending(code)))
    return _figures(json.loads(line)) | {"cold_start_s": cold}


def _figures(found: dict) -> dict[str, float]:
    """A worker's own measurements under the names of gate.FIGURES."""
    between = found["between_s"]
    return {
        "tokens_per_s": len(between) / sum(between),
        "ttft_ms": 1e3 * statistics.median(found["ttft_s"]),
        "p50_ms": 1e3 * percentile(between, 0.5),
        "p95_ms": 1e3 * percentile(between, 0.95),
        "memory_gib": found["peak_bytes"] / 2**30,
        "context": found["context"],
    }


def _ending(code: int) -> str:
    return f"it ended by signal {-code}" if code < 0 else f"it ended with status {code}"


def _last_words(log, how: str) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
    return f"{how}\n{log.read().decode(errors='replace').strip()}".strip()
