"""Memory, bandwidth, arithmetic and number formats of some machines, each with the page that the figures come from.

Three habits of data sheets to know before one divides anything:
a card sold as "8 GB" has 8 GiB of memory chips, so memory is in GiB here; bandwidth is in GB/s of 10^9 bytes;
and the large TFLOPS figure is usually the one "with sparsity", twice the dense figure, so the dense one stands here.
"""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.capacity.bytes import GB, GIB


@dataclass(frozen=True)
class Device:
    """A machine as two numbers that matter for decoding (bandwidth, peak) and one that matters for fitting (memory).

    name            how code calls it
    title           how people call it
    memory_gib      memory as sold, in GiB (before driver and ECC take their part)
    bandwidth_gb_s  peak memory bandwidth, 10^9 bytes a second
    fp16_tflops     peak dense FP16 matrix rate with FP32 accumulation, 10^12 operations a second
    source          where the figures stand; "derived" marks what the vendor does not print
    native          what its matrix units multiply, FP32 aside: fp16, bf16, int8, int4, fp8, fp8-fnuz, fp6, fp4 (_UNITS)
    """

    name: str
    title: str
    memory_gib: float
    bandwidth_gb_s: float
    fp16_tflops: float
    source: str = ""
    native: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("memory_gib", "bandwidth_gb_s", "fp16_tflops"):
            value = getattr(self, field)
            if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise ValueError(f"{field} must be a positive number, got {value!r}")

    @property
    def memory_bytes(self) -> float:
        return self.memory_gib * GIB

    @property
    def bytes_per_s(self) -> float:
        return self.bandwidth_gb_s * GB

    @property
    def flops_per_s(self) -> float:
        return self.fp16_tflops * 1e12


_UNITS = {  # generation: (what its matrix units multiply, where that stands)
    "x86": (("int8",), "Intel 64 and IA-32 Architectures Software Developer's Manual, AVX-VNNI"),
    "apple": (("fp16", "bf16"), "Metal Shading Language Specification, simdgroup matrices of half and bfloat"),
    "turing": (("fp16", "int8", "int4"), "NVIDIA Turing GPU Architecture white paper"),
    "ampere": (("fp16", "bf16", "int8", "int4"), "NVIDIA A100 Tensor Core GPU Architecture white paper"),
    "ada": (("fp16", "bf16", "int8", "int4", "fp8"), "NVIDIA Ada GPU Architecture white paper"),
    "hopper": (("fp16", "bf16", "int8", "fp8"), "NVIDIA H100 Tensor Core GPU Architecture white paper"),
    "blackwell": (("fp16", "bf16", "int8", "fp8", "fp6", "fp4"), "NVIDIA Blackwell and RTX Blackwell white papers"),
    "cdna3": (("fp16", "bf16", "int8", "fp8-fnuz"), "AMD Instinct MI300 instruction set architecture (CDNA3)"),
    "cdna4": (("fp16", "bf16", "int8", "fp8", "fp6", "fp4"), "AMD CDNA 4 architecture white paper"),
}

_TABLE = (
    Device("ddr5-laptop", "Laptop, two channels DDR5-5600", 16, 89.6, 1.0,
           "derived: JEDEC DDR5 (JESD79-5): 5600 MT/s x 8 bytes x 2 channels; "
           "arithmetic: 8 cores x 4 GHz x 32 FP32 operations (two 256-bit FMA)", _UNITS["x86"][0]),
    Device("m4-max", "Apple M4 Max, 40-core GPU", 128, 546, 16.2,
           "Apple newsroom, 'Apple introduces M4 Pro and M4 Max' (memory, bandwidth); "
           "derived: 40 cores x 128 lanes x 2 x 1.58 GHz (Apple prints no FP16 rate)", _UNITS["apple"][0]),
    Device("t4", "NVIDIA T4", 16, 320, 65,
           "NVIDIA T4 Tensor Core GPU product brief (bandwidth as the brief has it; the data sheet rounds to 300)",
           _UNITS["turing"][0]),
    Device("rtx-3090", "NVIDIA GeForce RTX 3090", 24, 936, 71.2,
           "NVIDIA Ampere GA102 GPU Architecture white paper (FP16 tensor with FP32 accumulate, dense)",
           _UNITS["ampere"][0]),
    Device("rtx-4060", "NVIDIA GeForce RTX 4060", 8, 272, 30.2,
           "NVIDIA GeForce RTX 4060 specifications: 128-bit GDDR6 at 17 Gbit/s; "
           "derived: 2 x 15.1 FP32 TFLOPS, the ratio of the Ada GPU architecture white paper", _UNITS["ada"][0]),
    Device("rtx-4090", "NVIDIA GeForce RTX 4090", 24, 1008, 165.2,
           "NVIDIA Ada GPU Architecture white paper (FP16 tensor with FP32 accumulate, dense)", _UNITS["ada"][0]),
    Device("rtx-5090", "NVIDIA GeForce RTX 5090", 32, 1792, 209.5,
           "NVIDIA RTX Blackwell GPU Architecture white paper (FP16 tensor with FP32 accumulate, dense)",
           _UNITS["blackwell"][0]),
    Device("l4", "NVIDIA L4", 24, 300, 121,
           "NVIDIA L4 Tensor Core GPU data sheet (242 TFLOPS with sparsity, halved)", _UNITS["ada"][0]),
    Device("l40s", "NVIDIA L40S", 48, 864, 362,
           "NVIDIA L40S data sheet (it prints 362.05 TFLOPS dense, 733 with sparsity)",
           _UNITS["ada"][0]),
    Device("rtx-pro-6000", "NVIDIA RTX PRO 6000 Blackwell", 96, 1792, 503.8,
           "NVIDIA RTX Blackwell PRO GPU Architecture white paper (FP16 tensor with FP32 accumulate, dense)",
           _UNITS["blackwell"][0]),
    Device("a100-80gb", "NVIDIA A100 80GB SXM", 80, 2039, 312,
           "NVIDIA A100 Tensor Core GPU data sheet, column A100 80GB SXM", _UNITS["ampere"][0]),
    Device("h100-sxm", "NVIDIA H100 SXM", 80, 3350, 989.5,
           "NVIDIA H100 Tensor Core GPU data sheet, column H100 SXM (1,979 TFLOPS with sparsity, halved)",
           _UNITS["hopper"][0]),
    Device("h200", "NVIDIA H200 SXM", 141, 4800, 989.5,
           "NVIDIA H200 Tensor Core GPU data sheet, column H200 SXM (1,979 TFLOPS with sparsity, halved)",
           _UNITS["hopper"][0]),
    Device("b200", "NVIDIA HGX B200, one GPU", 180, 7700, 2250,
           "NVIDIA Blackwell data sheet, column HGX B200 (4.5 PFLOPS with sparsity, halved; 180 GB at 7.7 TB/s)",
           _UNITS["blackwell"][0]),
    Device("mi300x", "AMD Instinct MI300X", 192, 5300, 1307.4,
           "AMD Instinct MI300X accelerator data sheet (FP16 matrix, dense)", _UNITS["cdna3"][0]),
    Device("mi355x", "AMD Instinct MI355X", 288, 8000, 2516.6,
           "AMD Instinct MI355X GPU data sheet (memory, bandwidth; it rounds FP16 matrix to 2.5 PFLOPS); "
           "derived: 1024 matrix cores x 512 x 2 x 2.4 GHz", _UNITS["cdna4"][0]),
)  # fmt: skip

DEVICES: dict[str, Device] = {entry.name: entry for entry in _TABLE}


def device(name: str | Device) -> Device:
    """The table's entry of that name; a Device passes through, so that functions take either.

    A part of a name is enough where only one entry has it: "H100", "RTX 4090".

    >>> device("rtx-4060").bandwidth_gb_s, device("H100").name
    (272, 'h100-sxm')
    """
    if isinstance(name, Device):
        return name
    wanted = _bare(str(name))
    found = [d for d in _TABLE if wanted in (_bare(d.name), _bare(d.title))]
    found = found or [d for d in _TABLE if wanted and (wanted in _bare(d.name) or wanted in _bare(d.title))]
    if len(found) != 1:
        near = f"{' or '.join(d.name for d in found)}?" if found else f"one of {', '.join(DEVICES)}"
        raise ValueError(f"device must be a Device or {near}, got {name!r}".replace(" or one", " or one"))
    return found[0]


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
