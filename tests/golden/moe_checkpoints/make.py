"""Ask llm-compressor how it writes a mixture: every tensor with dtype and shape, and what config.json says of them.

    .course-peers/bin/python tests/golden/moe_checkpoints/make.py

Two random models, each linear but head and router rounded to INT4 in groups of 32. `make peers` makes the environment.
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

SIZES = dict(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=300,
    num_experts_per_tok=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
QWEN = dict(num_experts=6, moe_intermediate_size=64, intermediate_size=96, head_dim=32)
MODELS = {
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig, QWEN),
    "mixtral": (MixtralForCausalLM, MixtralConfig, dict(num_local_experts=6, intermediate_size=64)),
}
WEIGHTS = dict(num_bits=4, type="int", symmetric=True, strategy="group", group_size=32)


def asked(family: str, folder: Path) -> dict:
    """What llm-compressor says and writes of a model of this family."""
    make, config, sizes = MODELS[family]
    torch.manual_seed(0)
    make(config(**SIZES, **sizes)).half().save_pretrained(folder / "before")
    words = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder / "before")
    group = {"group_0": {"targets": ["Linear"], "weights": WEIGHTS}}
    recipe = QuantizationModifier(config_groups=group, ignore=["lm_head", r"re:.*\.gate$"])
    oneshot(model=str(folder / "before"), recipe=recipe, output_dir=str(folder / "after"))
    return {"sizes": SIZES | sizes} | told(folder / "after")


def told(folder: Path) -> dict:
    """What lies in a directory that llm-compressor left."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    return {
        "tensors": {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()},
        "config": {key: said[key] for key in ("quant_method", "format", "quantization_status", "ignore")},
        "weights": {key: said["config_groups"]["group_0"]["weights"][key] for key in (*WEIGHTS, "dynamic")},
        "targets": said["config_groups"]["group_0"]["targets"],
    }


def main() -> None:
    found = {"made by": {name: version(name) for name in ("llmcompressor", "compressed-tensors", "transformers")}}
    for family in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            found[family] = asked(family, Path(folder))
    Path(__file__).with_name("llm_compressor.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
