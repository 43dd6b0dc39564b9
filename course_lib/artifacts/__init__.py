"""Files that other programs read: GPTQ, AWQ, compressed-tensors, MLX and GGUF, written and read back."""

from course_lib.artifacts.layouts import LAYOUTS
from course_lib.artifacts.read import load
from course_lib.artifacts.write import save

__all__ = ["LAYOUTS", "load", "save"]
