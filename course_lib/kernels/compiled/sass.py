"""What machine code says: registers, spills, the matrix instruction, and what a loop spends on a weight."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from course_lib.kernels.compiled.builds import Build

MATRIX = ("HGMMA", "QGMMA", "IGMMA", "HMMA", "IMMA", "QMMA", "UTCHMMA", "UTCQMMA", "UTCIMMA")  # SASS; AMD has v_mfma


@dataclass(frozen=True)
class Code:
    """What the machine code of a Build says."""

    name: str
    arch: str
    registers: int
    spilled: int  # loads and stores of local memory
    matrix: str  # the matrix instruction, or ""
    instructions: int  # in the loop, or in all where there is none
    per_weight: float | None

    @property
    def row(self) -> str:
        each = f"{self.per_weight:6.2f}" if self.per_weight else "     –"
        return (f"{self.name:24} {self.arch:7} {self.registers:4} registers {self.spilled:3} spilled "
                f"{self.matrix or '–':8} {self.instructions:5} instructions {each} a weight")  # fmt: skip


def read_sass(build: Build, arch: str, cubin: bytes) -> Code:
    usage, listing = (cuobjdump(option, cubin) for option in ("--dump-resource-usage", "-sass"))
    if lost(listing):
        raise RuntimeError(f"{build.name} for {arch}: ptxas lost what a packed addition adds (triton issue 11581)")
    return count(build, arch, int(re.search(r"REG:(\d+)", usage)[1]), sass_operations(listing))


def lost(listing: str) -> bool:
    """Whether two halfwords are added to 0: ptxas 12.8 and 12.9 lose what is added, where `add.s16x2` is repeated.

    >>> lost("VIADD.16x2 R12, R12, 0x0 ;"), lost("VIADD.16x2 R25, R4, 0xfff8fff8 ;")
    (True, False)
    """
    return re.search(r"VIADD\.16x2 \w+, \w+, 0x0 ;", listing) is not None


def cuobjdump(option: str, cubin: bytes) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        return subprocess.run([tool, option, path], capture_output=True, text=True, check=True).stdout


def sass_operations(listing: str) -> list[tuple[int, str, int | None]]:
    """(address, opcode, branch target) of each instruction."""
    found = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)([^;]*);", listing, re.MULTILINE)
    return [(int(at, 16), op, branch_target(op, rest)) for at, op, rest in found]


def loop(listing: str) -> list[str]:
    """The instructions of the biggest loop, in the order of the listing, as it writes them."""
    first, last = biggest_loop(sass_operations(listing))
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+([^;]*?)\s*;", listing, re.MULTILINE)
    return [" ".join(text.split()) for at, text in lines if first <= int(at, 16) <= last]


def biggest_loop(operations) -> tuple[int, int]:
    """First and last address of what lies between a branch backwards and its target; of everything where there is none.

    >>> biggest_loop([(0, "LDC", None), (16, "FFMA", None), (32, "BRA", 16)])
    (16, 32)
    """
    loops = [(to, at) for at, _, to in operations if to is not None and to < at]
    return max(loops, key=lambda ends: ends[1] - ends[0], default=(0, operations[-1][0]))


def branch_target(op: str, rest: str) -> int | None:
    match = re.search(r"0x([0-9a-f]+)", rest) if op.startswith("BRA") else None
    return int(match[1], 16) if match else None


def count(build: Build, arch: str, registers: int, operations) -> Code:
    """Weigh the biggest loop."""
    first, last = biggest_loop(operations)
    body = [op for at, op, _ in operations if first <= at <= last]
    turns = any(to is not None and to < at for at, _, to in operations)
    kinds = Counter(op.split(".")[0] for _, op, _ in operations)
    matrix = next((m for m in MATRIX if kinds[m]), "")
    spilled = kinds["STL"] + kinds["LDL"]
    each = len(body) * 32 * build.warps / build.weights if build.weights and turns else None
    return Code(build.name, arch, registers, spilled, matrix, len(body), each and round(each, 2))


def read_amd(build: Build, arch: str, text: str) -> Code:
    number = {k: int(v) for k, v in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", text)}
    matrix = re.search(r"v_mfma_\w+", text)
    lines = [line for line in text.splitlines() if re.match(r"\s+[vsdbg]\w+_\w+", line)]
    return Code(build.name, arch, number["vgpr_count"], number["vgpr_spill_count"], matrix[0][:6] if matrix else "",
                len(lines), None)  # fmt: skip
