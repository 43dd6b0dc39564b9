"""Models as GGUF in both runtimes: random models in which nothing is trivial, their files, the two sets of logits."""

import copy

import numpy as np
import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from course_lib.artifacts.gguf import Part, llama, read, write
from course_lib.formats import ggml
from tests.llama_oracle import Llama

SIZES = dict(vocab_size=300, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.1, bos_token_id=0, eos_token_id=0,
             pad_token_id=0)  # fmt: skip
IDS = torch.randint(300, (200,), generator=torch.Generator().manual_seed(1)).tolist()
CLOSE = 5e-4  # 200 positions in float32: an angle is off by 2^-24 of itself a step, a sum of 512 products by as much
FAR = 100 * CLOSE


def made_of(family, sizes):
    """A random model with this configuration; norms and biases that no default would give."""
    torch.manual_seed(0)
    sizes = copy.deepcopy(sizes)  # a config keeps the dict that it is given, and tests change configs
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(torch.randn_like(p) * 0.3)
            if "bias" in name:
                p.copy_(torch.randn_like(p))
    return model


class Files:
    """Of each kind its model, the logits of that in torch, and its F32 file: made once, when first asked for."""

    def __init__(self, folder, made, as_computed=lambda model: model):
        self.folder, self.made, self.as_computed, self.found = folder, made, as_computed, {}

    def __call__(self, kind):
        if kind not in self.found:
            model = self.made(kind)
            path = llama.export(model, tiny.tokenizer(), self.folder / f"{kind}.gguf", "F32")
            self.found[kind] = model, in_torch(self.as_computed(model), IDS), path
        return self.found[kind]


def in_torch(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def in_llama_cpp(path, ids):
    llama_cpp = Llama(path)
    try:
        return llama_cpp.logits(ids)
    finally:
        llama_cpp.close()


def off(path, want):
    """How far llama.cpp's logits of this file lie from these."""
    return np.abs(in_llama_cpp(path, IDS) - want).max()


def kl(want, got):
    p, q = (torch.log_softmax(torch.from_numpy(logits).double(), -1) for logits in (want, got))
    return float((p.exp() * (p - q)).sum(-1).mean())


def with_8_bit_inputs(model, path):
    """A copy whose linears round their inputs to 8 bits, as llama.cpp does: in blocks of 32, under K-quants of 256."""
    model, types = copy.deepcopy(model), {name: info.type for name, info in read(path).tensors.items()}

    def rounding(block):
        def hook(module, inputs):
            x = inputs[0].unflatten(-1, (-1, block))
            s = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
            return ((torch.round(x / s) * s).flatten(-2),)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            kind = types["token_embd.weight" if name == "lm_head" else llama.gguf_name(f"{name}.weight")]
            module.register_forward_pre_hook(rounding(32 if ggml.block_type(kind).elements < 256 else 256))
    return model


def rewritten(path, target, keys=lambda k: k, tensor=lambda name, data: data):
    file = read(path)
    parts = [Part(i.name, i.shape, i.type_id, lambda n=i.name: tensor(n, file.data(n))) for i in file.tensors.values()]
    return write(target, keys(dict(file.fields)), parts)
