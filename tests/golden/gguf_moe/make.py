"""Write types.json beside this file: which type llama.cpp's own quantizer gives each tensor of two mixtures.

    cmake -B BUILD -DBUILD_SHARED_LIBS=ON LLAMA_CPP && cmake --build BUILD --target llama
    PYTHONPATH=. python tests/golden/gguf_moe/make.py BUILD/bin/libllama.so

LLAMA_CPP is its source, here commit 0c1e57098bba43ac29e6e3b677cdceebdd22334f of 2026-10-01. The files that it is asked
about have the released models' layers, heads and experts; each matrix has two rows, since only names and columns count.
A dry run quantizes nothing and says the types in its log.
"""

import ctypes
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from course_lib.artifacts.gguf import Part, mixes, write

FOLDER = Path(__file__).parent
COLUMNS, TIED = 256, False
MODELS = {  # architecture, layers, heads, key/value heads, experts, experts of a token
    "mixtral-8x7b": ("llama", 32, 32, 8, 8, 2),
    "qwen3-30b-a3b": ("qwen3moe", 48, 32, 4, 128, 8),
    "four experts": ("llama", 16, 4, 2, 4, 1),
}
NORMS = ("attn_norm", "ffn_norm")
ROLES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
SAID = re.compile(r"\] +(\S+) +- \[.*?type = +(\S+), size = .*? MiB(?: -> +[\d.]+ MiB \((\S+)\))?")


def keys(name, layers, heads, kv_heads, experts, used):
    """The keys that llama.cpp reads before it looks at tensors."""
    sizes = {"context_length": 64, "embedding_length": COLUMNS, "block_count": layers, "feed_forward_length": COLUMNS,
             "attention.head_count": heads, "attention.head_count_kv": kv_heads, "expert_count": experts,
             "expert_used_count": used, "attention.layer_norm_rms_epsilon": 1e-5}  # fmt: skip
    return {"general.architecture": name} | {f"{name}.{key}": value for key, value in sizes.items()}


def shapes(layers, experts):
    """Tensor name -> shape, as in a mixture's file."""
    found = {"token_embd.weight": (2, COLUMNS), "output.weight": (2, COLUMNS), "output_norm.weight": (COLUMNS,)}
    for k in range(layers):
        found |= {f"blk.{k}.{role}.weight": (COLUMNS,) for role in NORMS}
        found |= {f"blk.{k}.{role}.weight": (experts, 2, COLUMNS) if "exps" in role else (2, COLUMNS) for role in ROLES}
    return found


class Params(ctypes.Structure):
    """llama_model_quantize_params of that commit, and room behind it."""

    _fields_ = [("numbers", ctypes.c_int32 * 4), ("flags", ctypes.c_bool * 6), ("imatrix", ctypes.c_void_p),
                ("rest", ctypes.c_void_p * 8)]  # fmt: skip


class Imatrix(ctypes.Structure):
    """llama_model_imatrix_data."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def library(path):
    """libllama.so, and the list into which its log goes."""
    lib, lines = ctypes.CDLL(path), []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    lib.listener = kind(lambda level, text, data: lines.append(text.decode(errors="replace")))
    lib.llama_log_set(lib.listener, None)
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    lib.llama_backend_init()
    return lib, lines


def types(lib, lines, path, mix, imatrix):
    """Tensor name -> type under a mix."""
    params, number = lib.llama_model_quantize_default_params(), mixes.BASE[mix][1]
    params.numbers[0], params.numbers[1], params.flags[5] = 1, number, True
    one = (Imatrix * 2)((b"x", (ctypes.c_float * 1)(1.0), 1), (None, None, 0))
    params.imatrix = ctypes.addressof(one) if imatrix else None
    lines.clear()
    if lib.llama_model_quantize(str(path).encode(), b"", ctypes.byref(params)):
        raise RuntimeError("".join(lines))
    return {name: (new or old).upper() for name, old, new in SAID.findall("".join(lines))}


def short(found, layers):
    """Role -> its types by layer, a run of equal ones as "4 Q6_K"; all of one type: the type."""
    said = {name.removesuffix(".weight"): found[name] for name in ("token_embd.weight", "output.weight")}
    for role in ROLES:
        runs = []
        for kind in (found[f"blk.{k}.{role}.weight"] for k in range(layers)):
            runs = [*runs[:-1], (runs[-1][0] + 1, kind)] if runs and runs[-1][1] == kind else [*runs, (1, kind)]
        said[role] = runs[0][1] if len(runs) == 1 else ", ".join(f"{n} {kind}" for n, kind in runs)
    return said


def main():
    """Ask about every mix, without an importance matrix and with one."""
    lib, lines = library(sys.argv[1])
    golden = {}
    for model, (name, layers, heads, kv_heads, experts, used) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            parts = [Part(n, s, 0, lambda s=s: np.zeros(s, np.float32)) for n, s in shapes(layers, experts).items()]
            path = write(Path(folder) / "x.gguf", keys(name, layers, heads, kv_heads, experts, used), parts)
            for mix in mixes.BASE:
                for imatrix in (False, True):
                    found = short(types(lib, lines, path, mix, imatrix), layers)
                    golden.setdefault(model, {})[f"{mix}, imatrix" if imatrix else mix] = found
    for found in golden.values():  # an importance matrix seldom matters
        for mix in [mix for mix in found if ", imatrix" in mix and found[mix] == found[mix.split(",")[0]]]:
            del found[mix]
    lines = {model: ",\n".join(f"  {json.dumps(mix)}: {json.dumps(kinds)}" for mix, kinds in found.items())
             for model, found in golden.items()}  # fmt: skip
    text = ",\n".join(f" {json.dumps(model)}: {{\n{inside}\n }}" for model, inside in lines.items())
    (FOLDER / "types.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
