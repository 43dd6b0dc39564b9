"""Bytes, bandwidth and what fits where: sizing a model before anybody buys or downloads anything."""

from course_lib.capacity.bytes import (
    GB,
    GIB,
    bits_per_weight,
    gb,
    gib,
    metadata_bytes,
    mixed_bytes,
    usable,
    weight_bytes,
)
from course_lib.capacity.devices import DEVICES, Device, device
from course_lib.capacity.roofline import (
    Step,
    break_even_batch,
    decode_step,
    decode_tokens_per_s,
    ridge_point,
    roofline,
    speedup,
)
from course_lib.capacity.shapes import parameter_shapes, parameters

__all__ = [
    "DEVICES",
    "GB",
    "GIB",
    "Device",
    "Step",
    "bits_per_weight",
    "break_even_batch",
    "decode_step",
    "decode_tokens_per_s",
    "device",
    "gb",
    "gib",
    "metadata_bytes",
    "mixed_bytes",
    "parameter_shapes",
    "parameters",
    "ridge_point",
    "roofline",
    "speedup",
    "usable",
    "weight_bytes",
]
