"""Write tests/golden/artifacts/*.safetensors: small linears packed by GPTQModel's and compressed-tensors' own code.

    make peers ARGS=goldens

Each case holds what went in (codes, scale, zero_point, g_idx) and the tensors that the peer's packer made of it. The
suite, which has neither package, holds our packers and readers against these bytes.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "golden" / "artifacts"
OUT, IN, GROUP = 32, 64, 32


def case(bits: int, kind: str) -> dict[str, torch.Tensor]:
    """Codes of every value, odd scales, zero points; kind "sym", "asym" or "reordered" (asym with mixed groups)."""
    g = torch.Generator().manual_seed(bits)
    codes = torch.randint(2**bits, (OUT, IN), generator=g, dtype=torch.uint8)
    scale = (torch.rand(OUT, IN // GROUP, generator=g) + 0.5).mul(0.01).half()
    zero = torch.full_like(scale, 2 ** (bits - 1), dtype=torch.uint8)
    if kind != "sym":
        zero = torch.randint(1, 2**bits, scale.shape, generator=g, dtype=torch.uint8)
    g_idx = (torch.arange(IN) // GROUP).int()
    if kind == "reordered":
        g_idx = g_idx[torch.randperm(IN, generator=g)]
    return {"codes": codes, "scale": scale, "zero_point": zero, "g_idx": g_idx}


def linear(c: dict[str, torch.Tensor]) -> nn.Linear:
    """The float linear whose quantization is this case."""
    per_column = [c[name].float()[:, c["g_idx"].long()] for name in ("scale", "zero_point")]
    module = nn.Linear(IN, OUT, bias=False)
    module.weight.data = per_column[0] * (c["codes"].float() - per_column[1])
    return module


def gptq(c, bits: int, sym: bool, minus_one: bool) -> dict[str, torch.Tensor]:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    packer = TorchLinear(bits, GROUP, sym, False, IN, OUT, bias=False)
    packer.pack(linear(c), c["scale"].float(), c["zero_point"].float(), c["g_idx"])
    if minus_one:
        convert_gptq_v2_to_v1_format_module(packer, QuantizeConfig(bits=bits, group_size=GROUP, sym=sym))
    return {name: getattr(packer, name) for name in ("qweight", "qzeros", "scales", "g_idx")}


def awq(c) -> dict[str, torch.Tensor]:
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

    packer = AwqTorchLinear(bits=4, group_size=GROUP, sym=False, desc_act=False, in_features=IN, out_features=OUT)
    packer.pack(linear(c), c["scale"].float(), c["zero_point"].float())
    return {name: getattr(packer, name) for name in ("qweight", "qzeros", "scales")}


def compressed(c, bits: int, sym: bool) -> dict[str, torch.Tensor]:
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    args = QuantizationArgs(num_bits=bits, symmetric=sym, strategy="group", group_size=GROUP)
    signed = (c["zero_point"].short() - 2 ** (bits - 1)).to(torch.int8)
    state = {"weight": linear(c).weight.data, "weight_scale": c["scale"], "weight_zero_point": signed}
    return PackedQuantizationCompressor.compress(state, QuantizationScheme(targets=["Linear"], weights=args))


def main() -> None:
    files: dict[str, dict] = {"gptq": {}, "awq": {}, "compressed-tensors": {}}

    def keep(file: str, name: str, c: dict, packed: dict) -> None:
        files[file] |= {f"{name}.{key}": value.contiguous().clone() for key, value in (c | packed).items()}

    for bits in (2, 3, 4, 8):
        for kind in ("sym", "asym", "reordered"):
            c = case(bits, kind)
            keep("gptq", f"{bits}.{kind}.gptq_v2", c, gptq(c, bits, kind == "sym", False))
            keep("gptq", f"{bits}.{kind}.gptq", {}, gptq(c, bits, kind == "sym", True))
    c = case(4, "asym")
    keep("awq", "4.asym.awq", c, awq(c))
    for bits in (4, 8):
        for kind in ("sym", "asym"):
            c = case(bits, kind)
            keep("compressed-tensors", f"{bits}.{kind}.compressed-tensors", c, compressed(c, bits, kind == "sym"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = {name: version(name) for name in ("gptqmodel", "compressed-tensors", "torch")}
    for file, tensors in files.items():
        save_file(tensors, FOLDER / f"{file}.safetensors", metadata=about | {"format": "pt"})
        print(f"{file}.safetensors: {(FOLDER / f'{file}.safetensors').stat().st_size} bytes")


if __name__ == "__main__":
    main()
