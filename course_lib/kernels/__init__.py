"""Triton kernels for low-bit weights, each beside a torch reference of the same signature.

    what a kernel reads   packing, and marlin's beside it; digits and tokens of x; weights: which form for which kernel
    products              dequantize, gemv, gemm, w4a16; w8a8, w8a8_tiles, and accumulate: what sums lose; fp4; ggml
    levels computed       trellis
    of what size          parts of a row, for too few tiles; pieces of x, for too many tokens
    attention             kv_pages, kv_codes, kv
    a decode step         glue, fused; lanes and lane_kernel, for few bits; decoder
    may a kernel run?     dispatch
    interpreter/          the same kernels on a CPU, held to the memory that they were given; trace: what they touch
    compiled/             their machine code, for GPUs that are not here
    measure/              their times on the GPU that is here, beside other people's, and what was recorded

Importing this package decides where kernels run: compiled on a GPU or, where there is none, in Triton's interpreter.
`course_lib.kernels.interpreter` mends it; import that before you write `@triton.jit`.
"""

import os

import torch

ON_GPU = torch.cuda.is_available()

if not ON_GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read whenever a function is decorated; `aot` sets 0 and compiles
