"""Files that other programs read: GPTQ, AWQ and compressed-tensors checkpoints, and GGUF; written and read back."""

from course_lib.artifacts.layouts import LAYOUTS
from course_lib.artifacts.read import load
from course_lib.artifacts.write import save

__all__ = ["LAYOUTS", "load", "save"]
