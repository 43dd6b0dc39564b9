"""Triton kernels for low-bit weights, each beside a torch reference of the same signature.

Importing this package decides where kernels run: compiled on a GPU or, where there is none, in Triton's interpreter.
`course_lib.kernels.interpreter` mends it; import that before you write `@triton.jit`.
"""

import os

import torch

ON_GPU = torch.cuda.is_available()

if not ON_GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read whenever a function is decorated; `aot` sets 0 and compiles
