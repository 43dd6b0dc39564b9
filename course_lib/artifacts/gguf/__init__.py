"""GGUF, byte by byte: a container of keys, values and tensors that llama.cpp maps into memory."""

from course_lib.artifacts.gguf.reader import GGUFError, GGUFFile, parse, read
from course_lib.artifacts.gguf.tensors import TensorInfo
from course_lib.artifacts.gguf.values import Value
from course_lib.artifacts.gguf.writer import Part, write

__all__ = ["GGUFError", "GGUFFile", "Part", "TensorInfo", "Value", "parse", "read", "write"]
