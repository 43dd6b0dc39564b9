"""Write gpu.safetensors beside this file: what MLX's kernel for Apple's GPUs makes of weights with many midpoints.

    git clone https://github.com/ml-explore/mlx MLX && git -C MLX checkout 846d176227a0ac13d2667e58d2bb68b322109ab0
    python tests/golden/mlx/gpu.py MLX

No Mac is needed: the text of `affine_quantize` in mlx/backend/metal/kernels/quantized.h, which is not copied here, is
compiled by g++ and run lane by lane, twice, since all lanes must have been asked before simd_min can answer. Cases in
which a byte holds codes of several lanes are left out. MLX's CUDA kernel has the same lines.
"""

import ctypes
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

CASES = [(8, 32), (4, 64), (8, 64), (2, 128), (4, 128)]
SHIM = """
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <type_traits>
#define device
using std::abs; using std::round;
namespace metal { using std::conditional_t; }
struct uint2 { uint32_t x, y; };
template <typename T> struct Limits { static constexpr float max = INFINITY; };
static bool known; static float least, most;
static float min(float a, float b) { return a < b ? a : b; }
static float max(float a, float b) { return a > b ? a : b; }
static float simd_min(float x) { least = known ? least : min(least, x); return known ? least : x; }
static float simd_max(float x) { most = known ? most : max(most, x); return known ? most : x; }
static int simd_shuffle_down(int, int) { abort(); }
%s
template <int g, int b> void run(const float* w, uint8_t* out, float* s, float* z, uint32_t groups) {
  for (uint32_t i = 0; i < groups; ++i)
    for (int pass = (least = INFINITY, most = -INFINITY, 0); pass < 2; ++pass)
      for (uint32_t lane = (known = pass, 0); lane < 32; ++lane)
        affine_quantize<float, g, b>(w, out, s, z, {32 * i + lane, 0}, {32 * groups, 1});
}
extern "C" {
%s
}
"""


def weights() -> torch.Tensor:
    """(12, 256) bfloat16: Gaussian; multiples of a sixteenth, of the end and not; one sign; a single number; zeros."""
    g = torch.Generator().manual_seed(0)
    plain = 0.05 * torch.randn(4, 256, generator=g)
    even = torch.randint(-15, 16, (3, 256), generator=g) / 16
    even[:, ::32] = torch.tensor([[-1.0], [1.0], [0.8125]])
    one_sign = torch.stack([-1.0 - plain[0].abs(), 0.25 + plain[1].abs(), -plain[2].abs(), -even[0].abs() - 0.5])
    return torch.cat([plain, even, one_sign, torch.where(torch.arange(256) % 128 == 3, -0.37, 0.0)[None]]).bfloat16()


def compiled(clone: str, folder: str) -> ctypes.CDLL:
    text = (Path(clone) / "mlx/backend/metal/kernels/quantized.h").read_text(encoding="utf-8")
    helpers = re.findall(r"template <int bits, int wsize = 8>\ninline constexpr.*?\n}", text, re.S)
    kernel = re.search(r"template <typename T[^>]*>\n\[\[kernel\]\] void affine_quantize\(.*?\n}", text, re.S)[0]
    ends = "\n".join(f"void run_{b}_{g}(const float* w, uint8_t* out, float* s, float* z, uint32_t n)"
                     f" {{ run<{g}, {b}>(w, out, s, z, n); }}" for b, g in CASES)  # fmt: skip
    source, library = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
    source.write_text(SHIM % ("\n".join([*helpers, kernel]), ends), encoding="utf-8")
    subprocess.run(["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC", source, "-o", library],
                   check=True)  # fmt: skip
    return ctypes.CDLL(str(library))


def main(clone: str) -> None:
    found, w = {"w": weights()}, weights().float().numpy()
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(clone, folder)
        for bits, group in CASES:
            codes = np.zeros(w.size * bits // 8, np.uint8)
            scales, biases = np.zeros((2, len(w), w.shape[1] // group), np.float32)
            pointers = (ctypes.c_void_p(a.ctypes.data) for a in (w, codes, scales, biases))
            getattr(library, f"run_{bits}_{group}")(*pointers, ctypes.c_uint32(w.size // group))
            parts = {"weight": torch.from_numpy(codes).view(len(w), -1).view(torch.int32)}
            parts |= {"scales": torch.from_numpy(scales).bfloat16(), "biases": torch.from_numpy(biases).bfloat16()}
            found |= {f"{bits}.{group}.{name}": t.contiguous() for name, t in parts.items()}
    save_file(found, Path(__file__).with_name("gpu.safetensors"))


if __name__ == "__main__":
    main(sys.argv[1])
