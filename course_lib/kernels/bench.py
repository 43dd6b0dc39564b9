"""`course bench`: what the kernels' machine code says."""

import argparse

from course_lib.kernels import aot


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="course bench", description="Measure the kernels.")
    parser.add_argument(
        "what", choices=["sass"], help="sass: compile for GPUs that are not here and read the machine code"
    )
    args, rest = parser.parse_known_args(argv)
    return aot.main(rest)
