"""`course bench`: what the kernels' machine code says, and what a GPU measures."""

import argparse
import importlib

WHAT = {
    "sass": ("course_lib.kernels.compiled.aot", "compile for GPUs that are not here and read the machine code"),
    "kernels": ("course_lib.kernels.measure.contest", "check and time every kernel on this GPU, beside its peers"),
    "decode": ("course_lib.kernels.measure.bench_decode", "time decode steps of Llama-3-8B's shape, and the roofline"),
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="course bench", description="Measure the kernels.")
    parser.add_argument("what", choices=WHAT, help="; ".join(f"{name}: {text}" for name, (_, text) in WHAT.items()))
    args, rest = parser.parse_known_args(argv)
    return importlib.import_module(WHAT[args.what][0]).main(rest)
