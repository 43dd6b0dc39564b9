"""How near codes come to Shannon's bound on N(0, 1), and what a trellis makes of the bundled model at 2 and 3 bits.

    python benchmarks/trellis.py [--messages 48] [--only gaussian|model] [--again]

The Gaussian part measures the mean squared error of a weight of N(0, 1): points are fitted on some numbers and judged
on others. The model part takes text, windows and messages of benchmarks/qat.py, whose rows for GPTQ and QAT stand
beside it. All bytes of a row are stored and decoded again: codes, signs and scales. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import copy
import functools
import time

import torch
from qat import GPTQ_WINDOWS, Judge, windows


def gaussian() -> dict:
    """{code: {"bits": …, "mse": …, "stderr": …}}: trellises of several L, points in 1, 2 and 8 dimensions."""
    from course_lib.formats import points

    draw = torch.Generator().manual_seed(0)
    fit, judge = torch.randn(400_000, generator=draw), torch.randn(400_000, generator=draw)
    rows = {}
    for bits in (1, 2, 3, 4):
        even = points.uniform(fit, 2**bits)
        best = points.lloyd(fit[:, None], even, 200)
        rows[f"uniform, {bits} bits"] = figures(judge[:, None], even[points.nearest(judge[:, None], even)], bits)
        rows[f"Lloyd-Max, {bits} bits"] = figures(judge[:, None], best[points.nearest(judge[:, None], best)], bits)
        for L, sequences in ((8, 256), (12, 96), (16, 24)):
            x = torch.randn(sequences, 256, generator=draw)
            rows[f"trellis 1mad L={L}, {bits} bits"] = figures(x, through(x, "1mad", L, bits), bits)
            print(bits, L, rows[f"trellis 1mad L={L}, {bits} bits"], flush=True)
    for code in ("3inst", "mcg", "mul1"):
        x = torch.randn(24, 256, generator=draw)
        rows[f"trellis {code} L=16, 2 bits"] = figures(x, through(x, code, 16, 2), 2)
    plane = points.lloyd(fit.view(-1, 2)[:20_000], fit.view(-1, 2)[:16], 200)
    rows["plane, 16 points, 2 bits"] = figures(judge.view(-1, 2), plane[points.nearest(judge.view(-1, 2), plane)], 2)
    found = points.e8(2**16, 0.25)
    x, tried = judge[:32_000].view(-1, 8), fit[:4_000].view(-1, 8)
    size = min((0.9, 0.95, 1.0, 1.05), key=lambda s: points.distortion(tried, found * s))
    rows["E8, 65,536 points, 2 bits"] = figures(x, size * found[points.nearest(x, size * found)], 2)
    return rows


def through(x: torch.Tensor, code: str, L: int, bits: int) -> torch.Tensor:
    """x (n, 256) of N(0, 1) through a trellis whose levels are scaled as the model's are, by way of its bytes."""
    from course_lib.calibrate.trellis import GAIN
    from course_lib.formats import trellis

    table = trellis.levels(code, L)
    scale = 1 / (GAIN * table.square().mean().sqrt())
    states = trellis.encode(x / scale, table, bits)
    return scale * table[trellis.unpack(trellis.pack(states, bits, L), bits, L)]


def figures(x: torch.Tensor, decoded: torch.Tensor, bits: int) -> dict:
    """Mean squared error and its standard error over rows."""
    error = (x - decoded).square().mean(1)
    return {
        "bits": bits,
        "mse": round(error.mean().item(), 5),
        "stderr": round((error.std() / len(x) ** 0.5).item(), 5),
    }


def model_rows(messages: int, rows: dict, keep) -> None:
    """Fill rows, {way: figures of the judge, with the bytes}; keep() after every one. Rows that are there stay."""
    from course_lib import Scheme, calibrate, models
    from course_lib.calibrate.qat import rows_of
    from course_lib.calibrate.trellis import trellis_model

    model, tokenizer = models.load("bundled")
    judge, text = Judge(model, tokenizer, messages), rows_of([windows(tokenizer)[:GPTQ_WINDOWS]], 32)

    def gptq(bits, group):
        scheme = Scheme.int(bits, symmetric=False, group=group, scale_dtype=torch.float16)
        return calibrate.quantize_model(model, scheme, "gptq", text, progress=False)

    @functools.cache
    def tcq(bits, L=10, wide=()):
        width = (lambda name: 3 if name.endswith(wide) else bits) if wide else bits
        return trellis_model(model, text, width, L=L, progress=False)

    ways = {
        "trellis, 2 bits, L=10": lambda: tcq(2),
        "trellis, 3 bits, L=10": lambda: tcq(3),
        "trellis, 3 bits, L=10, embeddings int8": lambda: small_embeddings(tcq(3)),
        "trellis, 2 bits, k, v, o in 3, L=10": lambda: tcq(2, wide=("k_proj", "v_proj", "o_proj")),
        "gptq, int3 channel, embeddings int8": lambda: small_embeddings(gptq(3, None)),
        "trellis, 2 bits, L=12": lambda: tcq(2, 12),
        "ggml IQ2_XXS, imatrix": lambda: ggmls(model, text, "IQ2_XXS"),
        "ggml IQ2_XS, imatrix": lambda: ggmls(model, text, "IQ2_XS"),
    }
    for name in (name for name in ways if name not in rows):
        began = time.process_time()
        made = ways[name]()
        rows[name] = {"cpu_s": round(time.process_time() - began, 1)} | judge(made)
        rows[name]["bytes"] -= getattr(made, "saved_bytes", 0)
        print(name, rows[name], flush=True)
        keep()


def ggmls(model, text, kind: str):
    """A copy whose linears hold blocks of this type, written by ggml's own code with an importance matrix."""
    from course_lib import calibrate
    from course_lib.formats.ggml import native
    from course_lib.formats.ggml.weight import Blocks

    result, stats = copy.deepcopy(model), calibrate.collect(model, text, hessian=False, progress=False)
    for name, found in stats.items():
        w = model.get_submodule(name).weight.detach().float()
        blocks = torch.as_tensor(native.quantize(w, kind, found.mean_square))
        result.set_submodule(name, calibrate.QuantLinear(Blocks(blocks, kind)))
    return result


def small_embeddings(model):
    """A copy whose embedding, and the head tied to it, is rounded to int8 with one float16 scale a row."""
    from course_lib import Scheme, quantize

    result = copy.deepcopy(model)
    weight = result.model.embed_tokens.weight
    q = quantize(weight.detach().float(), Scheme.int(8, scale_dtype=torch.float16))
    weight.data.copy_(q.dequantize())
    result.saved_bytes = 2 * weight.numel() - q.nbytes
    return result


def main() -> None:
    """Measure everything and write the results."""
    from record import record

    from course_lib.kernels.measure import recorded

    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=48)
    parser.add_argument("--only", choices=("gaussian", "model"))
    parser.add_argument("--again", action="store_true", help="measure rows anew that are recorded")
    options = parser.parse_args()
    torch.set_num_threads(1)
    old = {} if options.again else (recorded.results("trellis") or {"results": {}})["results"]
    done = {part: dict(old.get(part, {})) for part in ("gaussian", "model")}

    def keep():
        record("trellis", done, windows=GPTQ_WINDOWS, tile="16 x 16, tail-biting", code="1mad")

    if options.only != "model":
        done["gaussian"] = gaussian()
        keep()
    if options.only != "gaussian":
        model_rows(options.messages, done["model"], keep)


if __name__ == "__main__":
    main()
