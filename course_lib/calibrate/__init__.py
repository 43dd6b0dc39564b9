"""Which rounding hurts the output least: methods that turn a model's linears into QTensors."""

from course_lib.calibrate.awq import awq
from course_lib.calibrate.calibration import calibration_batches
from course_lib.calibrate.gptq import gptq
from course_lib.calibrate.hqq import hqq
from course_lib.calibrate.linear import QuantLinear, quantize_activations, ran
from course_lib.calibrate.lowrank import low_rank
from course_lib.calibrate.pipeline import (
    METHODS,
    map_weights,
    model_bytes,
    quantize_model,
    quantized,
    quantized_fraction,
)
from course_lib.calibrate.rtn import rtn
from course_lib.calibrate.smoothquant import smoothquant
from course_lib.calibrate.stats import Stats, collect, hessian

__all__ = [
    "METHODS",
    "QuantLinear",
    "Stats",
    "awq",
    "calibration_batches",
    "collect",
    "gptq",
    "hessian",
    "hqq",
    "low_rank",
    "map_weights",
    "model_bytes",
    "quantize_activations",
    "quantize_model",
    "quantized",
    "quantized_fraction",
    "ran",
    "rtn",
    "smoothquant",
]
