"""Let llm-compressor's AWQModifier rescale and round one Llama block, and write scales and errors beside this file.

    PEERS/bin/python tests/golden/awq/make.py

PEERS is the environment of `make peers` (llmcompressor 0.14.0.1); the course itself does not need it.

Its grid of exponents is i / (n - 1), from 0 up to 1; AutoAWQ's and ours is i / n, without 1. With n_grid = 21 (22 under
duo scaling, whose first candidate is s = 1) it tries what alpha_grid = 20 tries, and these two more. It does not clip.
"""

import copy
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
GROUP, GRID, SIZE = 64, 20, 256
SETTINGS = [(duo, symmetric, bits) for duo in (False, True) for symmetric in (True, False) for bits in (4, 3)]


def name(duo, symmetric, bits):
    return f"{'duo' if duo else 'x only'} | {'symmetric' if symmetric else 'asymmetric'} | {bits}"


def model(seed=0):
    """A Llama of one block, 256 wide: tokens share 32 hidden directions, and six channels behind each norm are loud."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=SIZE, intermediate_size=2 * SIZE, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    made, g = LlamaForCausalLM(config).eval(), torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=g) * 0.06
    embedding = torch.randn(512, 32, generator=g) @ torch.randn(32, SIZE, generator=g) / 32**0.5
    made.model.embed_tokens.weight.data = embedding + 0.2 * torch.randn(512, SIZE, generator=g)
    block = made.model.layers[0]
    for norm in (block.input_layernorm, block.post_attention_layernorm):
        gain = torch.exp(0.4 * torch.randn(SIZE, generator=g))
        gain[torch.randperm(SIZE, generator=g)[:6]] *= 15
        norm.weight.data = gain
    for linear in (block.self_attn.q_proj, block.self_attn.k_proj):
        linear.weight.data *= 0.2  # attention that is neither flat nor all on one token
    return made.requires_grad_(False)


def tokens(rows=8, length=256, seed=1):
    """Calibration and held-out tokens, (rows, length) each."""
    ids = torch.randint(0, 512, (2 * rows, length), generator=torch.Generator().manual_seed(seed))
    return ids[:rows], ids[rows:]


def outputs(made, rounded, ids):
    """What norm and attention, and norm and MLP, of `rounded` give for the hidden states that `made` has there."""
    seen, block, other = {}, made.model.layers[0], rounded.model.layers[0]

    def attention(module, args, kwargs):
        hidden = other.input_layernorm(block_input[0])
        seen["attention"] = other.self_attn(
            hidden_states=hidden, **{k: v for k, v in kwargs.items() if k != "hidden_states"}
        )[0]

    block_input = []
    hooks = [
        block.register_forward_pre_hook(lambda _, args: block_input.append(args[0])),
        block.self_attn.register_forward_pre_hook(attention, with_kwargs=True),
        block.post_attention_layernorm.register_forward_pre_hook(
            lambda _, args: seen.update(mlp=other.mlp(other.post_attention_layernorm(args[0])))
        ),
    ]
    with torch.no_grad():
        made(ids)
    for hook in hooks:
        hook.remove()
    return seen


def errors(made, rounded, ids):
    """Relative squared error of attention and of MLP on these tokens, both on right inputs."""
    right, got = outputs(made, copy.deepcopy(made), ids), outputs(made, rounded, ids)
    return {
        key: ((got[key] - y).double().square().sum() / y.double().square().sum()).item() for key, y in right.items()
    }


def gains(made, rounded):
    """s of the two norms (old gain over new gain)."""
    old, new = made.model.layers[0], rounded.model.layers[0]
    norms = ("input_layernorm", "post_attention_layernorm")
    return {n: getattr(old, n).weight.data / getattr(new, n).weight.data for n in norms}


def llmcompressor(duo, symmetric, bits):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoTokenizer

    IntermediatesCache.pin_memory = lambda *_: None  # 0.14.0.1 pins also where there is no accelerator, and fails
    made, calibration = model(), tokens()[0]
    args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group", group_size=GROUP, type="int",
                            observer="memoryless_minmax")  # fmt: skip
    recipe = [
        AWQModifier(duo_scaling=duo, n_grid=GRID + 1 + duo),
        QuantizationModifier(
            config_groups={"all": QuantizationScheme(targets=["Linear"], weights=args)}, ignore=["lm_head"]
        ),
    ]
    data = Dataset.from_dict(
        {"input_ids": calibration.tolist(), "attention_mask": torch.ones_like(calibration).tolist()}
    )
    tokenizer = AutoTokenizer.from_pretrained(
        FOLDER.parents[2] / "course_lib" / "models" / "bundled"
    )  # one is asked for
    with tempfile.TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        return oneshot(model=folder, processor=tokenizer, dataset=data, recipe=recipe,
                       num_calibration_samples=len(calibration), max_seq_length=calibration.shape[1],
                       shuffle_calibration_samples=False)  # fmt: skip


def main():
    from safetensors.torch import save_file

    found, tensors, made, held_out = {}, {}, model(), tokens()[1]
    for setting in SETTINGS:
        rounded = llmcompressor(*setting)
        found[name(*setting)] = errors(made, rounded, held_out)
        tensors |= {f"{name(*setting)} | {n}": s.contiguous() for n, s in gains(made, rounded).items()}
        print(name(*setting), found[name(*setting)], flush=True)
    versions = {peer: version(peer) for peer in ("llmcompressor", "compressed-tensors", "transformers", "torch")}
    about = {"versions": versions, "group": GROUP, "first_weights": made.model.embed_tokens.weight[0, :8].tolist()}
    (FOLDER / "errors.json").write_text(json.dumps(about | {"errors": found}, indent=1) + "\n")
    save_file(tensors, FOLDER / "scales.safetensors")


if __name__ == "__main__":
    main()
