"""How long `course gate` takes for three artifacts of the bundled model: two GGUF files and a GPTQ checkpoint.

    python benchmarks/gate_speed.py [--write]

The command runs as it does in a terminal, in a process of its own; the artifacts are made before the clock starts.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gate_candidates import CANDIDATES, made  # noqa: E402
from benchmarks.record import record  # noqa: E402

NAMES = ("Q4_K_M", "Q3_K_M", "GPTQ 3 bits, prose")
LIMIT_S = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/gate_speed.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [made(Path(folder), name, CANDIDATES[name]) for name in NAMES]
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "course_lib", "gate", *paths], capture_output=True, text=True)
        seconds = time.perf_counter() - began
    print(done.stdout + done.stderr)
    print(f"{seconds:.1f} s for {len(NAMES)} artifacts; at most {LIMIT_S} s is asked")
    if options.write:
        record("gate_speed", {"seconds": seconds, "artifacts": NAMES, "printed": done.stdout.splitlines()})
    return int(seconds > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
