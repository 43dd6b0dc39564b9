"""Memory, bandwidth and arithmetic of a dozen machines, each with the page that the figures come from.

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
    """

    name: str
    title: str
    memory_gib: float
    bandwidth_gb_s: float
    fp16_tflops: float
    source: str = ""

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


_TABLE = (
    Device("ddr5-laptop", "Laptop, two channels DDR5-5600", 16, 89.6, 1.0,
           "derived: JEDEC DDR5 (JESD79-5): 5600 MT/s x 8 bytes x 2 channels; "
           "arithmetic: 8 cores x 4 GHz x 32 FP32 operations (two 256-bit FMA)"),
    Device("m4-max", "Apple M4 Max, 40-core GPU", 128, 546, 16.2,
           "Apple newsroom, 'Apple introduces M4 Pro and M4 Max' (memory, bandwidth); "
           "derived: 40 cores x 128 lanes x 2 x 1.58 GHz (Apple prints no FP16 rate)"),
    Device("t4", "NVIDIA T4", 16, 320, 65,
           "NVIDIA T4 Tensor Core GPU product brief (bandwidth as the brief has it; the data sheet rounds to 300)"),
    Device("rtx-4060", "NVIDIA GeForce RTX 4060", 8, 272, 30.2,
           "NVIDIA GeForce RTX 4060 specifications: 128-bit GDDR6 at 17 Gbit/s; "
           "derived: 2 x 15.1 FP32 TFLOPS, the ratio of the Ada GPU architecture white paper"),
    Device("rtx-4090", "NVIDIA GeForce RTX 4090", 24, 1008, 165.2,
           "NVIDIA Ada GPU Architecture white paper (FP16 tensor with FP32 accumulate, dense)"),
    Device("rtx-5090", "NVIDIA GeForce RTX 5090", 32, 1792, 209.5,
           "NVIDIA RTX Blackwell GPU Architecture white paper (FP16 tensor with FP32 accumulate, dense)"),
    Device("l4", "NVIDIA L4", 24, 300, 121,
           "NVIDIA L4 Tensor Core GPU data sheet (242 TFLOPS with sparsity, halved)"),
    Device("a100-80gb", "NVIDIA A100 80GB SXM", 80, 2039, 312,
           "NVIDIA A100 Tensor Core GPU data sheet, column A100 80GB SXM"),
    Device("h100-sxm", "NVIDIA H100 SXM", 80, 3350, 989.5,
           "NVIDIA H100 Tensor Core GPU data sheet, column H100 SXM (1,979 TFLOPS with sparsity, halved)"),
    Device("h200", "NVIDIA H200 SXM", 141, 4800, 989.5,
           "NVIDIA H200 Tensor Core GPU data sheet, column H200 SXM (1,979 TFLOPS with sparsity, halved)"),
    Device("b200", "NVIDIA HGX B200, one GPU", 180, 7700, 2250,
           "NVIDIA Blackwell data sheet, column HGX B200 (4.5 PFLOPS with sparsity, halved; 180 GB at 7.7 TB/s)"),
    Device("mi300x", "AMD Instinct MI300X", 192, 5300, 1307.4,
           "AMD Instinct MI300X accelerator data sheet (FP16 matrix, dense)"),
)  # fmt: skip

DEVICES: dict[str, Device] = {entry.name: entry for entry in _TABLE}


def device(name: str | Device) -> Device:
    """The table's entry of that name; a Device passes through, so that functions take either.

    >>> device("rtx-4060").bandwidth_gb_s
    272
    """
    if isinstance(name, Device):
        return name
    if name not in DEVICES:
        raise ValueError(f"device must be a Device or one of {', '.join(DEVICES)}, got {name!r}")
    return DEVICES[name]
