"""Quantize one layer with GPTQModel and llm-compressor and write their codes and errors beside this file.

    PEERS/bin/python tests/golden/gptq/make.py

PEERS is a virtual environment with gptqmodel 7.6.0 and llmcompressor 0.14.0.1; the course itself needs neither.
"""

import json
from importlib.metadata import version
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
SIZE, GROUP, PERCDAMP = 512, 128, 0.01
SETTINGS = {  # name: symmetric, act_order, static_groups, mse
    "symmetric": (True, False, False, False),
    "asymmetric": (False, False, False, False),
    "act-order": (True, True, False, False),
    "static": (True, False, True, False),
    "act-order static": (True, True, True, False),
    "asymmetric act-order static": (False, True, True, False),
    "mse": (True, False, False, True),
    "asymmetric mse": (False, False, False, True),
}


def layer(size=SIZE, tokens=4096, seed=0):
    """w (size, size), x to calibrate on, x held out: correlated channels, one in 64 ten times as large."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=g) * torch.logspace(0, -1.5, size)[:, None] / size**0.5
    x = torch.randn(2 * tokens, size, generator=g) @ mix + 0.05 * torch.randn(2 * tokens, size, generator=g)
    x[:, torch.randperm(size, generator=g)[: size // 64]] *= 10
    w = torch.randn(size, size, generator=g) * 0.02
    return w, x[:tokens].contiguous(), x[tokens:].contiguous()


def error(x, w, w_hat):
    """Relative squared error of the outputs on inputs x."""
    x, w, w_hat = x.double(), w.double(), w_hat.double()
    return ((x @ (w_hat - w).T).square().sum() / (x @ w.T).square().sum()).item()


def gptqmodel(w, x, bits, symmetric, act_order, static_groups, mse):
    """w_hat, scale and zero point of GPTQModel."""
    from gptqmodel.quantization import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight.data = w.clone()
    config = QuantizeConfig(
        bits=bits, group_size=GROUP, sym=symmetric, desc_act=act_order, damp_percent=PERCDAMP,
        static_groups=static_groups, mse=2.4 if mse else 0.0, act_group_aware=False,
    )  # fmt: skip
    task = GPTQ(linear, config)
    task.quantizer.configure(perchannel=True)
    task.add_batch(x[None], None)
    w_hat, scale, zero, *_ = task.quantize()
    return w_hat, scale, zero


def llmcompressor(w, x, bits, symmetric, act_order, static_groups, mse):
    """w_hat, scale and zero point of llm-compressor, whose grids are always found beforehand, on all of w."""
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.utils import calculate_qparams
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    args = QuantizationArgs(
        num_bits=bits, symmetric=symmetric, strategy="group", group_size=GROUP, actorder="static" if act_order else None
    )
    groups = w.reshape(len(w), -1, GROUP)
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    H = 2 / len(x) * x.T @ x
    w_hat, _, fell_back = quantize_weight(
        w[None].clone(), H[None], scale[None], zero[None], None, args, percdamp=PERCDAMP
    )
    assert not fell_back.any()
    return w_hat[0], scale, zero


def main():
    from safetensors.torch import save_file

    w, x, held_out = layer()
    peers = {"gptqmodel": gptqmodel, "llmcompressor": llmcompressor}
    errors, tensors = {}, {}
    for name, peer in peers.items():
        for setting, options in SETTINGS.items():
            if name == "llmcompressor" and (not options[2] or options[3]):
                continue
            for bits in (4, 3):
                key = f"{name} | {setting} | {bits}"
                w_hat, scale, zero = peer(w, x, bits, *options)
                errors[key] = error(held_out, w, w_hat)
                tensors[key] = w_hat[:4].half().contiguous()
                print(f"{key:50} {errors[key]:.6f}")
    versions = {name: version(name) for name in (*peers, "compressed-tensors", "torch")}
    about = {
        "versions": versions,
        "size": SIZE,
        "group": GROUP,
        "percdamp": PERCDAMP,
        "first_weights": w[0, :8].tolist(),
    }
    (FOLDER / "errors.json").write_text(json.dumps(about | {"errors": errors}, indent=1) + "\n")
    save_file(tensors, FOLDER / "rows.safetensors")


if __name__ == "__main__":
    main()
