"""The `course` command: one table of subcommands, each loaded only when it is called.

Standard library only, and no syntax newer than Python 3.8: a bare or old Python must get a clear sentence.
"""

import argparse
import difflib
import importlib
import os
import sys
from pathlib import Path

from course_lib.environment import SetupError, check_python, typed

# name: (module, function, help); the function takes the remaining arguments and returns the exit status
COMMANDS = {
    "lab": ("course_lib.lab", "main", "open JupyterLab on your copy of chapter 00; takes JupyterLab's own options"),
    "doctor": ("course_lib.doctor", "main", "show what is installed and what each missing piece switches off"),
    "progress": ("course_lib.checks.progress", "main", "show, export or import what you have solved"),
    "review": ("course_lib.review_command", "main", "old exercises that are due today, blank, in work/review.ipynb"),
    "update": ("course_lib.workspace", "update_main", "add new notebooks to work/; never overwrites one you edited"),
    "reset": ("course_lib.workspace", "reset_main", "restore one notebook, such as `course reset 04`; keeps a backup"),
    "exercises": ("course_lib.checks.prove", "main", "list the live exercises; --prove runs their known wrong answers"),
    "release": ("course_lib.grading.release", "main", "write the problem sets that students get; --check, --bundle"),
    "check": ("course_lib.grading.check", "main", "run the visible checks of your copy of a problem set"),
    "collect": ("course_lib.grading.collect", "main", "put a folder of students' notebooks where grade looks for them"),
    "grade": ("course_lib.grading.grade", "main", "grade what a class has handed in, each notebook in a sandbox"),
    "insights": ("course_lib.grading.insights", "main", "which named mistakes a class has made, and how often"),
    "feedback": ("course_lib.grading.feedback", "main", "write a page for each student: what was lost and why"),
    "export": ("course_lib.grading.export", "main", "write a set's grades as CSV: for Canvas, for Moodle or plain"),
    "gguf": ("course_lib.artifacts.gguf.show", "main", "show the keys, tensors and types of a GGUF file"),
    "offload": ("course_lib.capacity.offload_command", "main", "plan which layers of a GGUF file go on which GPU"),
    "plan": ("course_lib.capacity.plan.command", "main", "size a model on GPUs: weights, cache, speed, what to change"),
    "train": ("course_lib.models.train", "main", "rebuild the bundled model from its texts"),
    "card": ("course_lib.evaluate.card", "main", "measure the bundled model's figures again"),
    "quantize": ("course_lib.artifacts.quantize", "main", "quantize a model: GPTQ, AWQ, AutoRound; others load it"),
    "origin": ("course_lib.artifacts.origin", "main", "how was a quantized file made? told from its codes"),
    "gate": ("course_lib.evaluate.gate_command", "main", "may these artifacts serve? measured, judged, with reasons"),
    "deploy": ("course_lib.deploy.command", "main", "serve an artifact on 127.0.0.1, with fallback, canary, rollback"),
    "capstone": ("course_lib.deploy.capstone", "main", "from weights to a gate, a service, a canary, a rollback"),
    "pictures": ("course_lib.pictures", "main", "draw the explorers' still pictures again"),
    "site": ("course_lib.site", "main", "run every chapter and write it as pages, with an index; works offline"),
    "bench": ("course_lib.kernels.measure.bench", "main", "measure the kernels; sass: what their machine code says"),
    "env": ("course_lib.environment", "main", "prepare .venv, as `make env` does"),
}

ANY_PYTHON = ("lab", "doctor", "env")  # they say themselves what an old or bare Python lacks


def available():
    """Return the part of COMMANDS whose module is on disk, without importing any of it."""
    package = Path(__file__).parent
    return {name: entry for name, entry in COMMANDS.items() if _source(package, entry[0]).exists()}


def _source(package, module):
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def parser():
    """Return the parser: a command name, and everything after it untouched."""
    listing = "\n".join(f"  {name:10} {entry[2]}" for name, entry in available().items())
    result = argparse.ArgumentParser(
        prog="course",
        usage="course COMMAND [options]",
        description="The quantization course.\n\ncommands:\n" + listing,
        epilog="`course COMMAND --help` tells more about one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    result.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return result


def main(argv=None):
    """Run one subcommand and return its exit status."""
    for stream in (sys.stdout, sys.stderr):  # Windows' code pages lack our ticks and arrows when output goes to a file
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    options = parser().parse_args(sys.argv[1:] if argv is None else argv)
    if options.command is None:
        parser().print_help()
        return 0
    if options.command not in available():
        print(_unknown(options.command), file=sys.stderr)
        return 2
    module, function, _ = COMMANDS[options.command]
    try:
        if options.command not in ANY_PYTHON:
            check_python()
        status = getattr(importlib.import_module(module), function)(options.arguments) or 0
        sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        if (error.name or "course_lib").split(".")[0] == "course_lib":
            raise
        print(_lacking(options.command, error.name), file=sys.stderr)
        return 1
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `course progress | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _unknown(command):
    near = difflib.get_close_matches(command, available(), n=1)
    hint = f"did you mean `course {near[0]}`?" if near else "`course --help` lists them."
    return f"There is no command {command!r} in `course`; {hint}"


def _lacking(command, package):
    return (
        f"`course {command}` needs {package}, which this Python ({sys.executable}) does not have; "
        f"run `{typed()}`, then `{typed(command)}`."
    )
