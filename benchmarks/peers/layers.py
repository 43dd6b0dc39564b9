"""One linear, many quantizers: held-out output error and time of ours, GPTQModel, llm-compressor and HQQ.

Every quantizer gets the same w, the same calibration tokens and percdamp 0.01, in blocks of 128 columns. The error is
|x_held (w_hat - w)^T|^2 / |x_held w^T|^2 on tokens that no quantizer has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib import Scheme
from course_lib.calibrate import gptq, hessian, rtn

# name -> symmetric, act_order, static_groups, mse. llm-compressor finds its scales before it starts: static groups.
CASES = {
    "symmetric": (True, False, False, False),
    "asymmetric": (False, False, False, False),
    "act-order": (True, True, False, False),
    "static groups": (True, False, True, False),
    "act-order, static groups": (True, True, True, False),
    "asymmetric, static groups": (False, False, True, False),
    "MSE": (True, False, False, True),
    "MSE, static groups": (True, False, True, True),
}


def synthetic(out: int, columns: int, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """w (out, in), x and x_held (tokens, in): 64 hidden directions and noise, 1 % of the channels 20 times larger."""
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(out, columns, generator=g) * 0.02
    mix = torch.randn(64, columns, generator=g) / 8
    gain = torch.exp(0.5 * torch.randn(columns, generator=g))
    gain[torch.randperm(columns, generator=g)[: max(1, columns // 100)]] *= 20

    def draw() -> Tensor:
        noise = torch.randn(tokens, columns, generator=g)
        return (torch.randn(tokens, 64, generator=g) @ mix + 0.3 * noise) * gain

    return w, draw(), draw()


def bundled(name: str = "model.layers.2.mlp.down_proj") -> tuple[Tensor, Tensor, Tensor]:
    """A linear of the bundled model with what flows into it: calibration prose, and held-out prose."""
    from course_lib import models

    model, tokenizer = models.load("bundled")
    seen: list[Tensor] = []
    linear = model.get_submodule(name)
    linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    halves = []
    for texts in (models.texts.train("prose", 100), models.texts.heldout("prose", 100)):
        ids = [token for text in texts for token in tokenizer(text)["input_ids"]][: 16 * 256]
        with torch.inference_mode():
            model(torch.tensor(ids)[: len(ids) // 256 * 256].reshape(-1, 256))
        halves.append(seen.pop().clone())
    return linear.weight.detach().clone(), *halves


def ours(w, x, bits, group, symmetric, act_order, static_groups, mse) -> Tensor:
    scheme = Scheme.int(bits, "full" if symmetric else False, group)
    return gptq(w, hessian(x), scheme, 0.01, 128, act_order, static_groups, mse).dequantize()


def gptqmodel(w, x, bits, group, symmetric, act_order, static_groups, mse) -> Tensor:
    from gptqmodel.quantization import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    config = QuantizeConfig(
        bits=bits, group_size=group, sym=symmetric, desc_act=act_order, static_groups=static_groups,
        mse=2.4 if mse else 0.0, damp_percent=0.01, act_group_aware=False, fallback=None, offload_to_disk=False,
    )  # fmt: skip
    task = GPTQ(_linear(w), config)
    task.quantizer.configure(perchannel=True)
    task.add_batch(x[None], x[None] @ w[:0].T)
    return task.quantize(blocksize=128)[0]


def llmcompressor(w, x, bits, group, symmetric, act_order, static_groups, mse) -> Tensor | None:
    if not static_groups:
        return None
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight
    from llmcompressor.modifiers.gptq.helpers import accumulate_hessian, make_empty_hessian
    from llmcompressor.observers import Observer

    name, options = ("memoryless_mse", _MSE) if mse else ("memoryless_minmax", {})
    args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group", group_size=group, observer=name,
                            observer_kwargs=options, actorder="weight" if act_order else None)  # fmt: skip
    linear = _linear(w)
    observer = Observer.load_from_registry(name, base_name="weight", args=args, module=linear)
    grid = observer(linear.weight.data).get_qparams()
    H, count = accumulate_hessian(x, linear, make_empty_hessian(linear), torch.zeros(()))
    H /= len(x)  # it counts sequences; the scale of H cancels
    found = quantize_weight(w[None].clone(), H[None], grid["scale"][None], grid["zero_point"][None], None, args)
    return found[0][0]


def hqq(w, x, bits, group, symmetric, act_order, static_groups, mse) -> Tensor | None:
    if symmetric or static_groups:
        return None
    from hqq.core.quantize import Quantizer

    q, meta = Quantizer.quantize(w, nbits=bits, group_size=group, axis=1, device="cpu", compute_dtype=torch.float32)
    return Quantizer.dequantize(q, meta)


_MSE = {"norm": 2.4, "grid": 100, "maxshrink": 0.8, "patience": 100}
QUANTIZERS: dict[str, Callable[..., Tensor | None]] = {
    "ours": ours,
    "GPTQModel": gptqmodel,
    "llm-compressor": llmcompressor,
    "HQQ": hqq,
}


def _linear(w: Tensor) -> nn.Linear:
    linear = nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight = nn.Parameter(w.clone(), requires_grad=False)
    return linear


def error(w: Tensor, w_hat: Tensor, held: Tensor) -> float:
    """Relative squared error of the outputs."""
    return ((held @ (w_hat.float() - w).T).square().sum() / (held @ w.T).square().sum()).item()


def errors(w: Tensor, x: Tensor, held: Tensor, bits: int, group: int) -> dict[str, dict[str, float]]:
    """Case -> quantizer -> held-out error; the first two rows are round to nearest."""
    table = {
        f"RTN {kind}": {"ours": error(w, rtn(w, Scheme.int(bits, symmetric, group)).dequantize(), held)}
        for kind, symmetric in (("symmetric", "full"), ("asymmetric", False))
    }
    for case, settings in CASES.items():
        found = {name: quantizer(w, x, bits, group, *settings) for name, quantizer in QUANTIZERS.items()}
        table[case] = {name: error(w, w_hat, held) for name, w_hat in found.items() if w_hat is not None}
    return table


def times(size: int = 2048, tokens: int = 4096, repeat: int = 2) -> dict[str, dict[str, list[float]]]:
    """Quantizer -> wall and CPU seconds of each repetition, at 4 bits in groups of 128, Hessian included.

    The quantizers take turns, so that what else the machine does falls on all of them, after a small layer to warm up.
    """
    small, large = synthetic(256, 256, 512), synthetic(size, size, tokens)
    cases = {"ours": CASES["symmetric"], "GPTQModel": CASES["symmetric"], "HQQ": CASES["asymmetric"]}
    cases |= {"llm-compressor": CASES["static groups"]}
    found = {name: {"wall_s": [], "cpu_s": []} for name in cases}
    for round_ in range(repeat + 1):
        for name, settings in cases.items():
            w, x, _ = large if round_ else small
            wall, cpu = time.perf_counter(), time.process_time()
            QUANTIZERS[name](w, x, 4, 128, *settings)
            if round_:
                found[name]["wall_s"].append(round(time.perf_counter() - wall, 2))
                found[name]["cpu_s"].append(round(time.process_time() - cpu, 2))
    return found
