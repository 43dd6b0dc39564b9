"""Kernels compiled ahead of time for GPUs that are not here, and what their machine code says.

    python -m course_lib.kernels.compiled.aot [--arch sm_90 …] [--kernel NAME …] [--json FILE]

Triton needs no GPU to compile: it makes PTX, its own ptxas makes a cubin, cuobjdump lists the instructions. From them
come the registers of a thread, what spilled out of them, the matrix instruction, and what a loop spends
on a weight. It runs in a process of its own, since a process either interprets kernels or compiles them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from course_lib.kernels.compiled.builds import ARCHES, BUILDS, Build
from course_lib.kernels.compiled.sass import Code, read_amd, read_sass


def compile_build(build: Build, arch: str) -> Code:
    """Compile for one architecture; RuntimeError with ptxas's last line where it cannot be."""
    import importlib

    module, name = build.function.rsplit(".", 1)
    return compile_kernel(getattr(importlib.import_module(f"course_lib.kernels.{module}"), name), build, arch)


def compile_kernel(kernel, build: Build, arch: str) -> Code:
    """Compile a kernel with the types and constants of a Build, wherever it was written."""
    assembly = assemble(kernel, build, arch)
    amd = arch.startswith("gfx")
    return read_amd(build, arch, assembly["amdgcn"]) if amd else read_sass(build, arch, assembly["cubin"])


def assemble(kernel, build: Build, arch: str) -> dict:
    """What Triton makes of a kernel on its way to a GPU: ptx and cubin, or amdgcn."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    divisible = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(names) if aligned(a, build.signature.get(a, ""))}
    source = ASTSource(
        kernel,
        signature={a: build.signature.get(a, "constexpr") for a in names},
        constexprs={(names.index(a),): value for a, value in build.constants.items()},
        attrs=divisible,
    )
    target = GPUTarget("hip", arch, 64) if arch.startswith("gfx") else GPUTarget("cuda", int(arch[3:]), 32)
    options = {"num_warps": build.warps} | ({"maxnreg": build.most} if build.most else {})
    return triton.compile(source, target=target, options=options).asm


def aligned(name: str, kind: str) -> bool:
    """What the JIT assumes when tensors start at 16 bytes and n, k, a part of k and k's tiles are multiples of 16."""
    return kind.startswith("*") or name in ("n", "k", "each", "tiles")


def run(arches=ARCHES, kernels=()) -> list[Code]:
    """Compile every build (or those whose name begins with one of `kernels`) for every architecture that can."""
    chosen = [b for b in BUILDS if not kernels or b.name.startswith(tuple(kernels))]
    return [compile_build(build, arch) for arch in arches for build in chosen if arch in build.arches]


def table(arches=ARCHES, kernels=()) -> list[Code]:
    """`run` in a process that compiles, whatever this one does; RuntimeError with its last words where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "codes.json")
        words = [sys.executable, "-m", "course_lib.kernels.compiled.aot", "--json", file, "--arch", *arches]
        words += ["--kernel", *kernels] if kernels else []
        env = os.environ | {"TRITON_INTERPRET": "0"}
        done = subprocess.run([str(w) for w in words], env=env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"compiling failed: {done.stderr.strip().splitlines()[-1]}")
        return [Code(**row) for row in json.loads(file.read_text(encoding="utf-8"))]


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="course bench sass", description="What the kernels' machine code says.")
    parser.add_argument("--arch", nargs="+", default=ARCHES, choices=ARCHES)
    parser.add_argument("--kernel", nargs="+", default=(), help="names to begin with")
    parser.add_argument("--json", type=Path, help="write the table here")
    args = parser.parse_args(argv)
    if os.environ.get("TRITON_INTERPRET") != "0":
        codes = table(args.arch, args.kernel)
    else:
        codes = run(args.arch, args.kernel)
    print("\n".join(code.row for code in codes))
    if args.json:
        from course_lib.files import write_atomic

        write_atomic(args.json, json.dumps([asdict(code) for code in codes], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
