"""What every kernel's machine code says, compiled for GPUs that need not be here: registers, spills, instructions.

    python benchmarks/kernels_sass.py [--arch sm_90 …] [--kernel NAME …]

Writes benchmarks/results/kernels-sass.json, and the loops that chapter 12 shows, instruction by instruction, to
kernels-loops.json. These are counts read from a listing, not times.
"""

import argparse
from dataclasses import asdict

from record import record

from course_lib.kernels.compiled import loops
from course_lib.kernels.compiled.aot import ARCHES, table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=ARCHES, choices=ARCHES)
    parser.add_argument("--kernel", nargs="+", default=(), help="names to begin with")
    args = parser.parse_args()
    codes = table(args.arch, args.kernel)
    print("\n".join(code.row for code in codes))
    record("kernels-sass", {"codes": [asdict(code) for code in codes]}, measured="counts of instructions, no times")
    record("kernels-loops", loops.table(), measured=f"machine code for {loops.ARCH}, no times")


if __name__ == "__main__":
    main()
