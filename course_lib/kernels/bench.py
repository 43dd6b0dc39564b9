"""`course bench`: what the kernels' machine code says, and what a GPU measures."""

import argparse
import importlib

WHAT = {
    "sass": ("course_lib.kernels.aot", "compile for GPUs that are not here and read the machine code"),
    "kernels": ("course_lib.kernels.contest", "check and time every kernel on the GPU that is here, beside its peers"),
    "decode": (
        "course_lib.kernels.bench_decode",
        "time whole decode steps of a Llama-3-8B's shape, beside the roofline",
    ),
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="course bench", description="Measure the kernels.")
    parser.add_argument("what", choices=WHAT, help="; ".join(f"{name}: {text}" for name, (_, text) in WHAT.items()))
    args, rest = parser.parse_known_args(argv)
    return importlib.import_module(WHAT[args.what][0]).main(rest)
