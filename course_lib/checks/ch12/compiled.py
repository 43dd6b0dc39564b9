"""What the learner's GEMV costs on a GPU that is not here: compiled in a process of its own, instructions counted.

python -m course_lib.checks.ch12.compiled FILE [ARCH]          TRITON_INTERPRET=0 in the environment
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

WORDS, ROWS = 16, 32  # a group of 128 is one block; BN
SIGNATURE = {"x": "*fp16", "words": "*i32", "scale": "*fp16", "y": "*fp32", "n": "i32", "k": "i32"}


def count(source: str, arch: str = "sm_90"):
    """(Code, None), or (None, one sentence) where the text cannot be compiled for `arch`."""
    from course_lib.kernels.compiled.aot import Code

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gemv.py")
        file.write_text(f"import triton\nimport triton.language as tl\n\n\n{source}", encoding="utf-8")
        words = [sys.executable, "-m", "course_lib.checks.ch12.compiled", str(file), arch]
        try:
            done = subprocess.run(words, env=os.environ | {"TRITON_INTERPRET": "0"}, capture_output=True, text=True,
                                  timeout=120)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as err:
            return None, f"not compiled: {err}"
    if done.returncode:
        return None, f"not compiled: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][:200]}"
    return Code(**json.loads(done.stdout.strip().splitlines()[-1])), None


def main(file: str, arch: str = "sm_90") -> None:
    """Compile gemv of a file and print its Code as JSON."""
    import importlib.util

    from course_lib.kernels.compiled.aot import Build, compile_kernel

    spec = importlib.util.spec_from_file_location("learner", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    constants = {"W": WORDS, "GB": 1, "BN": ROWS}
    build = Build("gemv", "", SIGNATURE, constants, weights=8 * WORDS * ROWS)
    print(json.dumps(asdict(compile_kernel(module.gemv, build, arch))))


if __name__ == "__main__":
    main(*sys.argv[1:])
