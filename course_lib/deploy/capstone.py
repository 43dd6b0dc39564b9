"""`course capstone`: weights → two methods → artifacts → gate → service → canary → rollback, all real, on loopback.

The bundled model is quantized by GPTQ (a checkpoint for transformers), as Q4_K_M (a GGUF file for llama.cpp, as chapter
13's candidate), and once too far, as Q2_K. The gate judges all three. What it refuses is forced into a canary all the
same; that has to be seen and taken back. So has a candidate that dies, and a promotion that somebody regrets.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from course_lib.deploy.canary import CanaryPolicy
from course_lib.deploy.server import NotServing
from course_lib.deploy.service import Service
from course_lib.evaluate.gate import Gate, Report, Verdict, judge, read_policy

POLICY = Path(__file__).parents[1] / "evaluate" / "policies" / "returns-bot.toml"
CUSTOMERS = 4  # write at the same time


def make_artifacts(model, tokenizer, folder: str | Path, say=print) -> dict[str, Path]:
    """Four artifacts by name: 16 bits, Q4_K_M and Q2_K as GGUF, GPTQ at 4 bits as a checkpoint."""
    import torch

    from course_lib import artifacts, calibrate
    from course_lib.artifacts.gguf import llama
    from course_lib.evaluate.examine import file_bytes
    from course_lib.scheme import Scheme

    folder = Path(folder)
    batches = calibrate.calibration_batches(tokenizer, "task", 16, 256)
    made = {"f16": folder / "bot-f16.gguf", "q4_k_m": folder / "bot-q4_k_m.gguf", "gptq": folder / "bot-gptq-4bit",
            "q2_k": folder / "bot-q2_k.gguf"}  # fmt: skip
    llama.export(model, tokenizer, made["f16"], "F16")
    llama.export(model, tokenizer, made["q4_k_m"], "Q4_K_M")
    llama.export(model, tokenizer, made["q2_k"], "Q2_K")
    scheme = Scheme.int(4, False, 64, scale_dtype=torch.float16)
    four = calibrate.quantize_model(model, scheme, "gptq", batches, progress=False)
    artifacts.save(four, made["gptq"], "gptq", tokenizer)
    for name, path in made.items():
        say(f"made {path.name}: {file_bytes(path) / 1e6:.2f} MB ({name})")
    return made


def talk(service: Service, examples: Sequence, customers: int = CUSTOMERS) -> list[tuple[int, dict]]:
    """Put every example's request to the service, several customers at once; the answers, in order."""
    with concurrent.futures.ThreadPoolExecutor(customers) as pool:
        sent = [pool.submit(service.ask, e.prompt, f"customer {k}") for k, e in enumerate(examples)]
        answers = [one.result() for one in sent]
    service.settle()
    return answers


def stamped(name: str) -> Verdict:
    """An approval that nobody measured, as it is signed on a Friday."""
    return judge(Report(name, {"accuracy": 1.0}, "signed without looking"), Gate(task={"accuracy_min": 0.0}))


def counted(service: Service) -> str:
    """One sentence about every request so far."""
    c, lost = service.traffic.counts, service.traffic.inside
    return (f"{c['received']} requests in, {c['answered']} answered ({c['rescued']} of them by the next in line), "
            f"{c['refused']} refused, {c['failed']} told that nobody could answer, {lost} lost")  # fmt: skip


def ship(
    made: dict[str, Path], verdicts: dict[str, Verdict], examples: Sequence, policy: CanaryPolicy, say=print
) -> dict:
    """Deploy, and live through five things: a refusal, a forced one, a death, a promotion, a change of mind."""
    with Service(made["f16"], fallback="bundled", say=say) as service:
        service.start_canary(made["q2_k"], verdicts["q2_k"], policy)
        say("-- somebody signs the refused one all the same")
        service.start_canary(made["q2_k"], stamped("bot-q2_k.gguf"), policy)
        talk(service, examples)
        say("-- an approved one whose process dies")
        if service.start_canary(made["q4_k_m"], verdicts["q4_k_m"], policy):
            talk(service, examples[:8])
            service.server("candidate").kill()
            talk(service, examples[8:])
        say("-- the same again, and it lives")
        if service.start_canary(made["q4_k_m"], verdicts["q4_k_m"], policy):
            talk(service, examples)
        if service.state == "promoted":
            service.rollback("somebody changed his mind")
            talk(service, examples[:4])
        say(counted(service))
        return service.record()


def run(options) -> int:
    """The whole way; the exit status is 0 if the service did what it had to."""
    from course_lib import models
    from course_lib.evaluate.examine import Base
    from course_lib.files import write_atomic

    folder = Path(options.out or tempfile.mkdtemp(prefix="capstone-"))
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"--out must be a new or empty folder, got {folder}, which holds files")
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = models.load(options.model)
    made = make_artifacts(model, tokenizer, folder)
    gate, items = read_policy(options.policy), models.task.generate(options.items, 14)
    base = Base(model, tokenizer, models.texts.heldout("prose"), items, 12_000, progress=False)
    verdicts = {name: judge(base.examine(path, runs=1), gate) for name, path in made.items() if name != "f16"}
    for name, verdict in verdicts.items():
        print(verdict)
        write_atomic(folder / f"verdict-{name}.json", verdict.json())
    record = ship(
        made, verdicts, models.task.generate(options.requests, 15), CanaryPolicy(share=0.5, pairs=options.pairs)
    )
    write_atomic(folder / "deployment.json", json.dumps(record, indent=2) + "\n")
    print(f"artifacts, verdicts and the deployment's record are in {folder}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(prog="course capstone", description="From weights to a rollback, on loopback.")
    result.add_argument("--model", default="bundled", help='"bundled", or a Llama-like checkpoint that does its task')
    result.add_argument("--out", help="new folder for artifacts, verdicts and the record; default: a temporary one")
    result.add_argument("--policy", default=POLICY, metavar="FILE", help="the gate's TOML; default: the bot's own")
    result.add_argument("--items", type=int, default=240, help="task messages that the gate asks; default 240")
    result.add_argument("--requests", type=int, default=90, help="requests sent during a canary; default 90")
    result.add_argument("--pairs", type=int, default=30, help="pairs that decide a canary; default 30")
    return result


def main(arguments=()) -> int:
    """`course capstone`."""
    import warnings

    options = parser().parse_args(arguments)
    warnings.filterwarnings("ignore")
    try:
        return run(options)
    except (ValueError, OSError, NotServing) as error:
        print(f"course capstone: {error}", file=sys.stderr)
        return 1
