"""ggml's own C code as oracle: quantize_chunk and the dequantizers that the xllamacpp wheel exports."""

import ctypes
import faulthandler
import os
import signal
from pathlib import Path

import numpy as np

IDS = {
    "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14,
    "IQ4_NL": 20, "IQ4_XS": 23, "MXFP4": 39, "NVFP4": 40, "Q1_0": 41, "Q2_0": 42, "TQ1_0": 34, "TQ2_0": 35,
    "IQ3_XXS": 18, "IQ3_S": 21, "IQ2_XXS": 16, "IQ2_XS": 17, "IQ2_S": 22, "IQ1_S": 19, "IQ1_M": 29,
}  # fmt: skip
ROW = {name: f"dequantize_row_{name if name.endswith('_K') else name.lower()}".replace("Q", "q") for name in IDS}


def _library():
    import xllamacpp

    lib = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))))
    lib.ggml_row_size.restype = lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    return lib


LIB = _library()


def quantize(x: np.ndarray, name: str, imatrix=None) -> np.ndarray:
    rows, cols = x.shape
    x = np.ascontiguousarray(x, np.float32)
    out = np.zeros((rows, LIB.ggml_row_size(IDS[name], cols)), np.uint8)
    weights = None if imatrix is None else np.ascontiguousarray(imatrix, np.float32)
    LIB.ggml_quantize_chunk(
        IDS[name], x.ctypes.data, out.ctypes.data, 0, rows, cols, None if weights is None else weights.ctypes.data
    )
    return out


def ends(x: np.ndarray, name: str, imatrix=None) -> bool:
    """Whether quantize_chunk ends its process by one of ggml's own assertions; a fork is asked, which has its lists."""
    read, write = os.pipe()
    if not (child := os.fork()):
        faulthandler.disable()
        os.environ["GGML_NO_BACKTRACE"] = "1"
        os.dup2(write, 2)
        try:
            quantize(x, name, imatrix)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as stderr:
        said = stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGABRT and b"GGML_ASSERT" in said


def dequantize(blocks: np.ndarray, name: str, cols: int) -> np.ndarray:
    blocks = np.ascontiguousarray(blocks)
    out = np.zeros((len(blocks), cols), np.float32)
    function = getattr(LIB, ROW[name])
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    function(blocks.ctypes.data, out.ctypes.data, out.size)
    return out
