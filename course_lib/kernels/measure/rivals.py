"""Other people's kernels on the same products: `python -m course_lib.kernels.measure.rivals NAME FILE [--quick]`.

One process for each, since some tune for minutes and some may fail; a row is written as soon as it is measured. They
run at the largest shape, the tokens of the goals first, so that a time limit cuts what matters least.

============  ================================================================  ==========
tinygemm      torch.ops.aten._weight_int4pack_mm, groups of 128, bf16            w4a16-g128
gemlite       Triton, A16W4, groups of 128; tuned with its own "fast" setting    w4a16-g128
humming       CUDA compiled on the spot, of Marlin's kind; groups of 128         w4a16-g128
bitsandbytes  NF4 in blocks of 64                                                w4a16-g128
torchao       quantize_ with Int4WeightOnlyConfig under torch.compile            w4a16-g128
scaled_mm     torch._scaled_mm, a scale a row, x quantized by torch.compile      fp8-row
int_mm        torch._int_mm, x quantized by torch.compile                        int8-w8a8
============  ================================================================  ==========
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from course_lib.kernels.measure.contest import QUICK, SHAPES, TOKENS

Layer = Callable[[Tensor], Tensor]
GROUP = 128


def tinygemm(n: int, k: int) -> Layer:
    codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, device="cuda")
    packed = torch._convert_weight_to_int4pack(codes, 8)
    scales = torch.rand(k // GROUP, n, 2, dtype=torch.bfloat16, device="cuda")
    return lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, scales)


def gemlite(n: int, k: int) -> Layer:
    import gemlite
    from gemlite.helper import A16Wn

    gemlite.set_autotune("fast")
    codes = torch.randint(0, 16, (n, k), dtype=torch.uint8, device="cuda")
    scales = torch.rand(n, k // GROUP, dtype=torch.bfloat16, device="cuda")
    return A16Wn(device="cuda:0", dtype=torch.bfloat16).from_weights(
        codes, scales, torch.full_like(scales, 8), 4, GROUP
    )


def humming(n: int, k: int) -> Layer:
    from humming.layer import HummingLayer

    layer = HummingLayer(shape_n=n, shape_k=k, weight_config={"dtype": "int4", "group_size": GROUP},
                         torch_dtype=torch.bfloat16).cuda()  # fmt: skip
    layer.load_from_unquantized(torch.randn(n, k, dtype=torch.bfloat16, device="cuda"))
    layer.transform()
    return layer


def bitsandbytes(n: int, k: int) -> Layer:
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(k, n, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    return layer.to(torch.bfloat16).cuda()


def torchao(n: int, k: int) -> Layer:
    from torchao.quantization import Int4WeightOnlyConfig, quantize_

    layer = torch.nn.Linear(k, n, bias=False, dtype=torch.bfloat16, device="cuda")
    quantize_(layer, Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d"))
    return torch.compile(layer, mode="max-autotune-no-cudagraphs")


def scaled_mm(n: int, k: int) -> Layer:
    w = torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn)
    scale = torch.rand(1, n, device="cuda")

    @torch.compile
    def tokens(x):
        s = x.abs().amax(1, keepdim=True).float() / 448
        return (x / s).to(torch.float8_e4m3fn), s

    def call(x):
        codes, s = tokens(x)
        return torch._scaled_mm(codes, w.T, scale_a=s, scale_b=scale, out_dtype=torch.bfloat16)

    return call


def int_mm(n: int, k: int) -> Layer:
    w = torch.randint(-128, 128, (n, k), dtype=torch.int8, device="cuda")
    scale = torch.rand(1, n, device="cuda")

    @torch.compile
    def tokens(x):
        s = x.abs().amax(1, keepdim=True).float() / 127
        return torch.round(x / s).to(torch.int8), s

    @torch.compile
    def epilogue(y, s):
        return (y * s * scale).to(torch.bfloat16)

    def call(x):
        codes, s = tokens(x)
        return epilogue(torch._int_mm(codes, w.T), s)

    return call


RIVALS = {f.__name__: (f, "w4a16-g128") for f in (tinygemm, gemlite, humming, bitsandbytes, torchao)}
RIVALS |= {"scaled_mm": (scaled_mm, "fp8-row"), "int_mm": (int_mm, "int8-w8a8")}


def main(argv=None) -> int:
    from course_lib.kernels.measure import clock

    parser = argparse.ArgumentParser(description="Time one peer.")
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    make, against = RIVALS[args.name]
    n, k = SHAPES[-1]
    layers = [make(n, k) for _ in range(max(1, -(-int(clock.ROTATE) // (n * k // 2))))]
    for m in QUICK if args.quick else (*QUICK, *sorted(set(TOKENS) - set(QUICK))):
        if args.name == "int_mm" and m <= 16:  # which it refuses
            continue
        x = torch.randn(m, k, dtype=torch.bfloat16, device="cuda")
        us = clock.microseconds([lambda layer=layer, x=x: layer(x) for layer in layers])
        row = {"peer": args.name, "against": against, "m": m, "n": n, "k": k, "us": round(us, 2)}
        with args.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
