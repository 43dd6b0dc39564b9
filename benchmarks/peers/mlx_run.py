"""MLX's files beside ours: grids and bytes, our directories in mlx-lm, mlx-lm's directories here.

    MLX/bin/python benchmarks/peers/mlx_run.py              recorded in benchmarks/results/mlx_peer.json
    MLX/bin/python benchmarks/peers/mlx_run.py floats       some of the parts grids, forth, back, floats; others stay
    MLX/bin/python benchmarks/peers/mlx_run.py goldens      writes tests/golden/mlx/ again

MLX is an environment of its own, with the pins of benchmarks/peers/requirements-mlx.txt and PYTHONPATH=.

All of this ran with MLX's CPU build on Linux, never on a Mac. On a CPU mlx-lm adds up products in the dtype of the
file, 16 bits, so that its logits are far from anyone's; logits are compared with its arithmetic set to float32, which
leaves codes, scales and biases what they are. The yardstick is what float32 does to *our* model, whose logits in
float64 are the reference: theirs may differ from those by at most four times that (they add one product after the
other). Of "awq" they differ by more: mlx-lm makes biases of its zero points, and rounds them.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(1, str(ROOT / "tests"))

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from mlx_lm import convert, load  # noqa: E402
from record import RESULTS, record  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from course_lib import Scheme, artifacts, models  # noqa: E402
from course_lib.artifacts.fingerprints import same_groups  # noqa: E402
from course_lib.artifacts.mlx import FLOATS  # noqa: E402
from course_lib.calibrate import calibration_batches, quantize_model  # noqa: E402
from course_lib.formats import affine  # noqa: E402
from course_lib.formats.packing import pack  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "mlx"
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
DTYPES = {HALF: mx.float16, BRAIN: mx.bfloat16, FULL: mx.float32}
SMALL = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "initializer_range": 0.1}
INT = Scheme.int
OURS = [  # layout, scheme, method
    ("mlx", INT(4, "full", 64, scale_dtype=HALF), "gptq"), ("mlx", INT(4, False, 64, scale_dtype=HALF), "rtn"),
    ("mlx", INT(3, False, 32, scale_dtype=BRAIN), "rtn"), ("mlx", INT(8, True, 128, scale_dtype=HALF), "rtn"),
    ("mlx", INT(4, False, 64, scale_dtype=HALF, zero_dtype=HALF), "hqq"), ("mlx", affine.scheme(4), "gptq"),
    ("mlx", affine.scheme(5, 128, BRAIN), affine.as_mlx), ("awq", INT(4, False, 64, scale_dtype=HALF), "rtn"),
    ("gptq", INT(4, "full", 64, scale_dtype=HALF), "rtn"),
    ("compressed-tensors", INT(4, "full", 32, scale_dtype=HALF), "rtn"),
]  # fmt: skip
THEIRS = {
    "4 bits": {}, "3 bits g32 float16": {"q_bits": 3, "q_group_size": 32, "dtype": "float16"}, "6 bits": {"q_bits": 6},
    "mixed 3 and 6 bits": {"quant_predicate": "mixed_3_6"},
}  # fmt: skip


def inputs(seed: int = 0, columns: int = 128) -> torch.Tensor:
    """Rows that try the rule: zeros, constants, outliers, one sign, tiny, huge, ties, ends of equal size."""
    x = torch.randn(24, columns, generator=torch.Generator().manual_seed(seed))
    x[1], x[2], x[3], x[4, 7], x[5, 9] = 0, 0.37, -0.37, 50, -50
    x[6], x[7] = x[6].abs(), -x[7].abs()
    for row, size in ((8, 1e-8), (9, 1e-7), (10, 1e-6), (11, 1e-5), (12, 1e4)):
        x[row] *= size
    x[13] = torch.linspace(-1, 1, columns)
    x[14], x[15], x[16] = (x[14] * 4).round() / 8, x[15].clamp(-1, 1), 1 + 0.02 * x[16]
    x[17], x[18], x[19] = 6e4, 1, -0.0
    x[17, ::2], x[18, ::3] = -6e4, -1
    x[20], x[21] = 2.0**-24, -(2.0**-24)
    return x.clamp(-6e4, 6e4)


def theirs(w: torch.Tensor, bits: int, group: int):
    """weight, scales and biases that MLX makes of w, in its arrays."""
    return mx.quantize(mx.array(w.float().numpy()).astype(DTYPES[w.dtype]), group, bits)


def tensor(a: mx.array, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.array(a.astype(mx.float32))).to(dtype)


def words(a: mx.array) -> torch.Tensor:
    return torch.from_numpy(np.array(a).view(np.int32))


def grids(seeds: int = 5) -> dict:
    """Dtype and bits -> matrices of which codes, scales, biases and both ways of decoding are MLX's bit for bit."""
    table = {}
    for dtype, bits in itertools.product(DTYPES, affine.BITS):
        equal = []
        for seed, group in itertools.product(range(seeds), affine.GROUPS):
            w = inputs(seed, 256).to(dtype)
            weight, scales, biases = theirs(w, bits, group)
            q = affine.as_mlx(w, affine.scheme(bits, group, dtype))
            wide = mx.dequantize(weight, scales.astype(mx.float32), biases.astype(mx.float32), group, bits)
            equal.append(
                torch.equal(pack(q.codes, bits, axis=1, word=torch.int32), words(weight))
                and torch.equal(q.scale, tensor(scales, dtype))
                and torch.equal(q.zero_point, tensor(biases, dtype))
                and torch.equal(q.dequantize(), tensor(wide, FULL))
                and torch.equal(affine.stepwise(q), tensor(mx.dequantize(weight, scales, biases, group, bits), dtype))
            )
        table[f"{dtype} {bits} bits"] = {"equal": sum(equal), "of": len(equal)}
        print(table[f"{dtype} {bits} bits"], dtype, bits, flush=True)
    return table


def logits(folder: Path, ids: torch.Tensor) -> dict[str, torch.Tensor] | str:
    """mlx-lm's logits of a directory, in float32 and in the file's dtype; or the first line of what it says."""
    try:
        model, _ = load(str(folder))
    except ValueError as error:
        return str(error).splitlines()[0][:90]
    own = tensor(model(mx.array(ids.numpy())), FULL)
    model.set_dtype(mx.float32)
    return {"float32": tensor(model(mx.array(ids.numpy())), FULL), "own": own}


def beside(folder: Path) -> dict:
    """Largest differences of our logits, in float64, from mlx-lm's, and from ours in float32."""
    ids = torch.randint(0, 1024, (2, 64), generator=torch.Generator().manual_seed(0))
    other = logits(folder, ids)
    if isinstance(other, str):
        return {"mlx-lm": other}
    ours = artifacts.load(folder)[0]
    with torch.inference_mode():
        narrow, wide = ours(ids).logits, ours.double()(ids).logits
    far = {"float32_alone": (narrow - wide), "mlx": other["float32"] - wide, "mlx_in_own_dtype": other["own"] - wide}
    far = {name: t.abs().max().item() for name, t in far.items()}
    return {name: float(f"{x:.3g}") for name, x in far.items()} | {"within": far["mlx"] <= 4 * far["float32_alone"]}


def forth(cases=OURS) -> dict:
    """Ours written, read by mlx-lm."""
    model, tokenizer = models.load("bundled")
    calibration = calibration_batches(tokenizer, "prose", samples=2, length=256)
    table = {}
    for layout, scheme, method in cases:
        key = f"{layout} {scheme.name} {getattr(method, '__name__', method)}"
        quantized = quantize_model(model, scheme, method, calibration if method == "gptq" else None, progress=False)
        with tempfile.TemporaryDirectory() as parent:
            table[key] = beside(artifacts.save(quantized, Path(parent) / "out", layout, tokenizer))
        print(key, table[key], flush=True)
    return table


def back(cases=THEIRS) -> dict:
    """Theirs written, read by both; `as_mlx` is the share of groups that our function makes of the same weights."""
    model, _ = models.load("bundled")
    table = {}
    for key, options in cases.items():
        with tempfile.TemporaryDirectory() as parent:
            convert(str(models.BUNDLED), mlx_path=f"{parent}/out", quantize=True, **options)
            qtensors = artifacts.load(f"{parent}/out")[0].qtensors
            table[key] = beside(Path(parent) / "out")
            if key not in FLOATS:
                same = [same_groups(model.get_submodule(name).weight, q) for name, q in qtensors.items()]
                table[key]["as_mlx"] = min(same)
        print(key, table[key], flush=True)
    return table


def floats() -> dict:
    """The modes of small floats: ours written, and theirs."""
    return {"forth": forth([("mlx", scheme, "rtn") for scheme in FLOATS.values()]),
            "back": back({mode: {"q_mode": mode} for mode in FLOATS})}  # fmt: skip


def golden_bytes() -> None:
    """tests/golden/mlx/affine.safetensors: what went in, and what MLX made of it in every dtype and width."""
    w, x = inputs(), torch.randn(3, 128, generator=torch.Generator().manual_seed(1))
    found = {"w": w, "x": x}
    for (i, dtype), (j, bits) in itertools.product(enumerate(DTYPES), enumerate(affine.BITS)):
        group = affine.GROUPS[(i + j) % 3]
        key, (weight, scales, biases) = f"{str(dtype)[6:]}.{bits}.{group}", theirs(w.to(dtype), bits, group)
        wide = [mx.array(x.numpy()), weight, scales.astype(mx.float32), biases.astype(mx.float32)]
        found |= {f"{key}.weight": words(weight), f"{key}.scales": tensor(scales, dtype),
                  f"{key}.biases": tensor(biases, dtype),
                  f"{key}.product": tensor(mx.quantized_matmul(*wide, True, group, bits), FULL)}  # fmt: skip
        if bits in (3, 4):
            found[f"{key}.dequantized"] = tensor(mx.dequantize(weight, scales, biases, group, bits), dtype)
    save_file(found, GOLDEN / "affine.safetensors", metadata={"mlx": version("mlx")})


def golden_floats() -> None:
    """tests/golden/mlx/floats.safetensors: the modes of small floats, codes, scales and what MLX decodes them to."""
    w, found = torch.randn(8, 128, generator=torch.Generator().manual_seed(2)), {}
    w[1], w[2, ::5], w[3] = 0, 0, w[3] * 1e-6
    for mode in FLOATS:
        weight, scales = mx.quantize(mx.array(w.numpy()), mode=mode)
        values = tensor(mx.dequantize(weight, scales, mode=mode, dtype=mx.float32), FULL)
        found |= {f"{mode}.weight": words(weight), f"{mode}.scales": torch.from_numpy(np.array(scales)),
                  f"{mode}.dequantized": values}  # fmt: skip
    save_file(found, GOLDEN / "floats.safetensors", metadata={"mlx": version("mlx")})


def golden_directory() -> None:
    """tests/golden/mlx/converted: a small Llama by mlx_lm.convert, of many widths, and its logits in float32."""
    with tempfile.TemporaryDirectory() as parent:
        tiny.llama(**SMALL).bfloat16().save_pretrained(f"{parent}/model")
        tiny.tokenizer().save_pretrained(f"{parent}/model")
        convert(f"{parent}/model", mlx_path=f"{parent}/out", quantize=True, q_group_size=32, quant_predicate=differing)
        ids = torch.randint(0, 200, (2, 12), generator=torch.Generator().manual_seed(0))
        shutil.rmtree(GOLDEN / "converted", ignore_errors=True)
        (GOLDEN / "converted").mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(f"{parent}/out/{name}", GOLDEN / "converted" / name)
        save_file({"ids": ids, "logits": logits(Path(f"{parent}/out"), ids)["float32"]}, GOLDEN / "logits.safetensors",
                  metadata={"mlx-lm": version("mlx-lm")})  # fmt: skip


def differing(path: str, module) -> bool | dict:
    """Single layers with numbers of their own, one left at 16 bits."""
    if path.endswith("layers.0.self_attn.q_proj"):
        return False
    own = {"v_proj": 6, "down_proj": 3, "layers.1.mlp.up_proj": 5, "o_proj": 8}
    bits = next((bits for end, bits in own.items() if path.endswith(end)), None)
    return True if bits is None else {"bits": bits, "group_size": 32}


PARTS = {"grids": grids, "forth": forth, "back": back, "floats": floats}


def main() -> None:
    if "goldens" in sys.argv[1:]:
        GOLDEN.mkdir(exist_ok=True)
        golden_bytes()
        golden_floats()
        golden_directory()
        return
    path = RESULTS / "mlx_peer.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"results": {}}
    now = {part: PARTS[part]() for part in sys.argv[1:] or PARTS}
    kept = {part: table for part, table in before["results"].items() if part not in now}
    earlier = {key: before[key] for key in ("date", "command") if kept} | {"parts": list(kept)}
    peers = {name: version(name) for name in ("mlx", "mlx-cpu", "mlx-lm")}
    record("mlx_peer", kept | now, peers=peers, earlier=earlier)


if __name__ == "__main__":
    main()
