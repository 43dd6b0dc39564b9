"""The roofline: a step takes as long as the slower of moving its bytes and doing its arithmetic.

    time = max(bytes / bandwidth, flops / peak) + overhead        (Williams, Waterman, Patterson 2009)

Decoding one token reads every weight once and does two operations with each, so at batch 1 a 16-bit model does one
operation a byte where a GPU could do hundreds: bytes set the time, and fewer bits a weight mean fewer bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.capacity.bytes import weight_bytes
from course_lib.capacity.devices import Device, device


@dataclass(frozen=True)
class Step:
    """One step on one device: seconds for the bytes, for the arithmetic, for everything else."""

    memory_s: float
    compute_s: float
    overhead_s: float

    @property
    def seconds(self) -> float:
        return max(self.memory_s, self.compute_s) + self.overhead_s

    @property
    def bound(self) -> str:
        """What sets the time: "memory", "compute", or "overhead" when it outweighs both."""
        if self.overhead_s > max(self.memory_s, self.compute_s):
            return "overhead"
        return "memory" if self.memory_s >= self.compute_s else "compute"


def roofline(on: str | Device, bytes_moved: float, flops: float = 0.0, overhead_s: float = 0.0) -> Step:
    """Time of a step that moves `bytes_moved` bytes and does `flops` operations on a device: the roofline.

    >>> card = Device("card", "1 TB/s", memory_gib=16, bandwidth_gb_s=1000, fp16_tflops=100)
    >>> fp16, int4 = (roofline(card, gb * 1e9, overhead_s=0.003).seconds for gb in (14.0, 3.5))
    >>> f"{14.0 / 3.5:.1f}x the traffic, {fp16 / int4:.2f}x the speed"
    '4.0x the traffic, 2.62x the speed'
    """
    on = device(on)
    for name, value in (("bytes_moved", bytes_moved), ("flops", flops), ("overhead_s", overhead_s)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a number from 0 up, got {value!r}")
    return Step(bytes_moved / on.bytes_per_s, flops / on.flops_per_s, overhead_s)


def ridge_point(on: str | Device) -> float:
    """Operations a byte at which the two roofs meet: peak / bandwidth. Below it memory sets the time.

    >>> round(ridge_point("h100-sxm"))
    295
    """
    on = device(on)
    return on.flops_per_s / on.bytes_per_s


def decode_step(
    on: str | Device, params: float, bits: float, batch: int = 1, kv_bytes: float = 0.0, overhead_s: float = 0.0
) -> Step:
    """One decode step: `batch` sequences each get one token, the weights are read once for all of them.

        bytes = params * bits / 8 + batch * kv_bytes        flops = 2 * params * batch

    `bits` are stored bits a weight, `kv_bytes` the cache of one sequence (attention's own arithmetic is left out),
    and the peak is the FP16 one: a 4-bit weight is expanded to 16 bits before it is multiplied.
    """
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch must be a whole number of sequences from 1 up, got {batch!r}")
    return roofline(on, weight_bytes(params, bits) + batch * kv_bytes, 2.0 * params * batch, overhead_s)


def decode_tokens_per_s(
    on: str | Device, params: float, bits: float, batch: int = 1, kv_bytes: float = 0.0, overhead_s: float = 0.0
) -> float:
    """The most tokens a second, over all sequences of the batch: batch / time of a decode step. A ceiling, no forecast.

    >>> round(decode_tokens_per_s("rtx-4060", 7e9, 4), 1)        # 272 GB/s through 3.5 GB
    77.7
    """
    return batch / decode_step(on, params, bits, batch, kv_bytes, overhead_s).seconds


def break_even_batch(on: str | Device, bits: float) -> float:
    """The batch from which arithmetic, not weight traffic, sets the time of a decode step: ridge point * bits / 16.

    Above it fewer bits a weight no longer make the step faster; at 4 bits it comes four times as early as at 16.

    >>> round(break_even_batch("h100-sxm", 16)), round(break_even_batch("h100-sxm", 4))
    (295, 74)
    """
    weight_bytes(1, bits)  # the same sentence for bad bits
    return ridge_point(on) * bits / 16


def speedup(
    on: str | Device, params: float, bits: float, against_bits: float = 16, batch: int = 1, kv_bytes: float = 0.0,
    overhead_s: float = 0.0,
) -> float:  # fmt: skip
    """How many times faster a decode step is at `bits` than at `against_bits`, all else equal.

    >>> round(speedup("h100-sxm", 70e9, 4), 2), round(speedup("h100-sxm", 70e9, 4, batch=512), 2)
    (4.0, 1.0)
    """
    slow, fast = (decode_step(on, params, b, batch, kv_bytes, overhead_s).seconds for b in (against_bits, bits))
    return slow / fast
