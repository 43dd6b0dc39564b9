"""Triton kernels for low-bit weights, each beside a torch reference of the same signature.

Importing this package decides where kernels run: compiled on a GPU or, where there is none, in Triton's interpreter,
mended (`interpreter`). Import it before you write `@triton.jit`.
"""

import os
from importlib.util import find_spec

import torch

ON_GPU = torch.cuda.is_available()
HAS_TRITON = find_spec("triton") is not None  # there is none for macOS and Windows

if HAS_TRITON and not ON_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read whenever a function is decorated
    from course_lib.kernels import interpreter

    interpreter.mend()
