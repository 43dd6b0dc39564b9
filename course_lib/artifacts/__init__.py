"""Checkpoints that other programs read: GPTQ (v1 and v2), AWQ and compressed-tensors, written and read back exactly."""

from course_lib.artifacts.layouts import LAYOUTS
from course_lib.artifacts.read import load
from course_lib.artifacts.write import save

__all__ = ["LAYOUTS", "load", "save"]
