"""llama.cpp itself as oracle, through the C functions that the xllamacpp wheel exports: logits of token ids."""

from course_lib.artifacts.gguf.runtime import _QUIET, LlamaCpp, library

__all__ = ["LIB", "_QUIET", "Llama"]
LIB, Llama = library(), LlamaCpp
