"""`course deploy INCUMBENT`: serve an artifact on 127.0.0.1, with a fallback and, if the gate lets it, a canary.

OpenAI's clients and llama.cpp's find what they expect: POST /v1/completions, GET /health, GET /metrics. Ctrl-C answers
what is inside, writes the record and stops every runtime.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from course_lib.deploy.canary import CanaryPolicy
from course_lib.deploy.server import NotServing
from course_lib.deploy.service import Service
from course_lib.evaluate.gate import Report, Verdict


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    usual = CanaryPolicy()
    result = argparse.ArgumentParser(prog="course deploy", description="Serve an artifact, with a way back.")
    result.add_argument("incumbent", help="GGUF file (llama.cpp) or checkpoint directory (transformers)")
    result.add_argument("--fallback", help="artifact that answers when the incumbent cannot")
    result.add_argument("--candidate", help="artifact that gets a share of the users, if its verdict says so")
    result.add_argument(
        "--verdicts", metavar="FILE", help="what `course gate --json FILE` wrote; needed for a candidate"
    )
    result.add_argument("--share", type=float, default=usual.share, help=f"of the users; default {usual.share}")
    result.add_argument("--pairs", type=int, default=usual.pairs, help=f"pairs that decide; default {usual.pairs}")
    result.add_argument("--margin", type=float, default=usual.margin, help=f"of good replies; default {usual.margin}")
    result.add_argument("--any-reply", action="store_true", help="a reply counts as good if it is not empty")
    result.add_argument("--port", type=int, default=8080, help="0 takes any free one; default 8080")
    result.add_argument("--record", metavar="FILE", help="write the deployment's record there at the end")
    return result


def verdict_of(artifact: str, path: str | None) -> Verdict:
    """The gate's word about an artifact, from the file that `course gate --json` wrote."""
    if path is None:
        raise ValueError("--candidate needs --verdicts: run `course gate CANDIDATE --json FILE` first")
    name, found = Path(artifact).name, json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        told = {one["name"]: one for one in found["verdicts"]}
        if name not in told:
            raise ValueError(f"--verdicts: {path} says nothing about {name}; it has {', '.join(told)}")
        one = told[name]
        return Verdict(name, one["opened"], tuple(one["reasons"]), Report(name, one["report"]["figures"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"--verdicts: {path} is not what `course gate --json` writes: {error}") from None


def run(options, ended: threading.Event) -> int:
    """Serve until `ended` is set."""
    policy = CanaryPolicy(share=options.share, pairs=options.pairs, margin=options.margin)
    verdict = None if options.candidate is None else verdict_of(options.candidate, options.verdicts)
    more = {"read": lambda text: text.strip() or None} if options.any_reply else {}
    with Service(options.incumbent, options.fallback, options.port, say=_say, **more) as service:
        if verdict is not None:
            service.start_canary(options.candidate, verdict, policy)
        ended.wait()
        service.say("stopping: what is inside is still answered")
        if options.record:
            service.save(options.record)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments=()) -> int:
    """`course deploy`."""
    options, ended = parser().parse_args(arguments), threading.Event()
    before = [(s, signal.signal(s, lambda *_: ended.set())) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        return run(options, ended)
    except (ValueError, OSError, NotServing) as error:
        print(f"course deploy: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before:
            signal.signal(number, handler)
