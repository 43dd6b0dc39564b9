"""Let AutoRound round given weights with given V and ranges, and learn a Llama block; write what it gave beside this.

    AUTOROUND/bin/python tests/golden/autoround/make.py

AUTOROUND is an environment with auto-round 0.16.1, torch 2.13.0 and transformers 5.24.0; the course needs none.

The tool leaves the last token of every window out of its loss and out of its attention, so that what it learns from
n tokens is what a program without that rule learns from the first n - 1.
"""

import copy
import json
import logging
from importlib.metadata import version
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
GROUP, SIZE, ITERS, SEEDS = 16, 32, 20, (0, 1, 2)
KINDS = {"asymmetric": "int_asym", "signed": "int_sym", "full": "int_sym_gptq"}  # ours -> AutoRound's name
DTYPES = {"float32": (torch.float32, "fp32"), "float16": (torch.float16, "fp16")}
RUNS = [("asymmetric", 3), ("signed", 4), ("full", 2)]


def given():
    """w, V, low and high: an all-positive group, one with an outlier, one of zeros; a wide and a narrow range."""
    g = torch.Generator().manual_seed(5)
    w, V = torch.randn(6, 48, generator=g), torch.rand(6, 48, generator=g) - 0.5
    w[0, :16], w[1, 3], w[2, 16:32] = w[0, :16].abs(), 9.0, 0.0
    low, high = (0.3 + 0.7 * torch.rand(6, 3, generator=g) for _ in range(2))
    low[3], high[3], low[4, 0] = 1.0, 1.0, 0.0
    return {"w": w, "V": V, "low": low, "high": high}


def model(seed=0):
    """A Llama of one block, 32 wide, random but for the seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=300, hidden_size=SIZE, intermediate_size=2 * SIZE, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    made, g = LlamaForCausalLM(config).eval(), torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        scale = 0.5 if "embed" in name else 0.15
        parameter.data = torch.randn(parameter.shape, generator=g) * scale + ("norm" in name)
    return made.requires_grad_(False)


def tokens(seed):
    """Calibration and held-out tokens, (8, 33) and (16, 32)."""
    g = torch.Generator().manual_seed(100 + seed)
    return torch.randint(1, 300, (8, 33), generator=g), torch.randint(1, 300, (16, 32), generator=g)


def error(made, rounded, ids):
    """Relative squared error of the block's outputs."""
    seen = []
    for one in (made, rounded):
        handle = one.model.layers[0].register_forward_hook(lambda _, a, out: seen.append(out.double()))
        with torch.no_grad():
            one(ids)
        handle.remove()
    return ((seen[1] - seen[0]).square().sum() / seen[0].square().sum()).item()


def fixed() -> dict[str, torch.Tensor]:
    """What AutoRound's functions make of `given`, for each grid, number of bits and dtype of the scales."""
    from auto_round.data_type import QUANT_FUNC_WITH_DTYPE

    parts, out = given(), {}
    w, V = parts["w"], parts["V"].reshape(-1, GROUP)
    for kind, name in KINDS.items():
        for bits in (2, 3, 4, 8):
            for dtype, (torch_dtype, _) in DTYPES.items():
                w_hat, scale, zero = QUANT_FUNC_WITH_DTYPE[name](
                    w, bits, GROUP, V, parts["low"].flatten(), parts["high"].flatten(), torch_dtype,
                    q_scale_thresh=1e-8 if dtype == "float32" else 1e-5,
                )  # fmt: skip
                key = f"{kind} | {bits} | {dtype}"
                out |= {f"{key} | w_hat": w_hat.clone(), f"{key} | scale": scale.reshape(6, 3).clone()}
                if kind == "asymmetric":
                    out[f"{key} | zero"] = zero.reshape(6, 3).clone()
    return out


def learned(kind: str, bits: int, dtype: str, seed: int):
    """A Llama's block as AutoRound leaves it, and its held-out error."""
    from auto_round import AutoRound

    made, (calibration, held) = model(seed), tokens(seed)
    tool = AutoRound(
        copy.deepcopy(made), tokenizer=object(), bits=bits, group_size=GROUP, sym=kind != "asymmetric", iters=ITERS,
        data_type=KINDS[kind] if kind == "full" else "int", scale_dtype=DTYPES[dtype][1], nsamples=8, batch_size=8,
        seqlen=33, dataset=list(calibration.split(1)), amp=False, device_map="cpu", enable_torch_compile=False,
    )  # fmt: skip
    rounded = tool.quantize()[0]
    return rounded, error(made, rounded, held)


def main():
    from safetensors.torch import save_file

    logging.disable(logging.CRITICAL)
    tensors, errors = fixed(), {}
    for kind, bits in RUNS:
        rounded, _ = learned(kind, bits, "float32", 0)
        block = dict(rounded.model.layers[0].named_modules())
        names = [name for name, part in block.items() if isinstance(part, torch.nn.Linear)]
        tensors |= {f"{kind} | {bits} | {name}": block[name].weight.data.clone() for name in names}
        for dtype in DTYPES:
            errors[f"{kind} | {bits} | {dtype}"] = [learned(kind, bits, dtype, seed)[1] for seed in SEEDS]
    save_file(tensors, FOLDER / "weights.safetensors")
    about = {"versions": {p: version(p) for p in ("auto-round", "torch", "transformers")}, "iters": ITERS}
    about["first_weights"] = model().model.embed_tokens.weight[0, :8].tolist()
    (FOLDER / "errors.json").write_text(json.dumps(about | {"errors": errors}, indent=1) + "\n")


if __name__ == "__main__":
    main()
