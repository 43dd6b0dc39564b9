"""Make tests/golden/microscaling.safetensors with torchao 0.18: MX in five formats and four scale rules, and NVFP4.

The scale that compressed-tensors 0.19 stores for a whole NVFP4 tensor is recorded beside torchao's.

    python benchmarks/peers/microscaling.py tests/golden/microscaling.safetensors

Run it where both are installed (they are not among the course's own packages).
"""

import sys

import torch
from compressed_tensors.quantization.utils import generate_gparam
from safetensors.torch import save_file
from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale

FORMATS = {
    "mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp6_e3m2": "fp6_e3m2",
    "mxfp6_e2m3": "fp6_e2m3", "mxfp4": torch.float4_e2m1fn_x2,
}  # fmt: skip


def inputs():
    """Rows that try the rules: Gaussian, far apart in size, powers of two, just above and below the largest, zeros."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 256, generator=generator)
    x[1] *= torch.exp(torch.linspace(-60, 60, 256))
    x[2] = torch.exp2(torch.randint(-20, 20, (256,), generator=generator).float())
    x[3] = x[3].round() / 4  # ties
    x[4] = 0
    x[5, ::7] = 0
    for row, top in ((6, 6.0), (7, 6.5), (8, 7.1), (9, 7.9), (10, 448.0), (11, 500.0)):
        x[row] = x[row].clamp(-2, 2)
        x[row, ::32] = top
    return x.contiguous()


def main(path):
    x = inputs()
    found = {"x": x}
    for name, dtype in FORMATS.items():
        for mode in ScaleCalculationMode:
            scale, data = to_mx(x, dtype, 32, mode)
            data = data.view(torch.uint8)
            if name == "mxfp4":  # two codes a byte, the first one low
                data = torch.stack([data & 15, data >> 4], -1).reshape(x.shape)
            found[f"{name}.{mode.name.lower()}.codes"] = data.contiguous()
            found[f"{name}.{mode.name.lower()}.scale"] = scale.view(torch.uint8).contiguous()
    for part, rows in (("a", x[:4]), ("b", x[4:])):
        tensor_scale = per_tensor_amax_to_scale(rows.abs().amax())
        scale, data = nvfp4_quantize(rows.contiguous(), 16, tensor_scale)
        found[f"nvfp4.{part}.codes"] = torch.stack([data & 15, data >> 4], -1).reshape(rows.shape)
        found[f"nvfp4.{part}.scale"] = scale.view(torch.uint8).contiguous()
        found[f"nvfp4.{part}.tensor_scale"] = tensor_scale
        found[f"nvfp4.{part}.global_scale"] = generate_gparam(rows.min()[None], rows.max()[None])
    save_file(found, path)


if __name__ == "__main__":
    main(sys.argv[1])
