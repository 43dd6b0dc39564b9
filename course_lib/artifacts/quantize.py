"""`course quantize MODEL OUT`: a checkpoint in, a quantized checkpoint or GGUF file out that other programs load.

A checkpoint directory is read one block at a time, and the same command goes on where an interrupted one stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

from course_lib import artifacts, models
from course_lib.artifacts import LAYOUTS, checkpoint
from course_lib.artifacts.gguf import imatrix, llama, mixes, read
from course_lib.artifacts.stream import stream
from course_lib.calibrate.calibration import LENGTH, SAMPLES, calibration_batches
from course_lib.calibrate.pipeline import quantize_model
from course_lib.calibrate.stats import collect
from course_lib.formats import ggml
from course_lib.scheme import Scheme

METHODS = ("gptq", "awq", "autoround", "rtn")
OPTIONS_OF = {"act_order": "gptq", "all_experts": "gptq", "duo": "awq", "iters": "autoround"}
LEAST = 0.005  # of the calibration's tokens: an expert that hears less is rounded to nearest, as GPTQModel 7.6 does
CHECKPOINT_ONLY = ("method", "bits", "group", "layout", "asymmetric", *OPTIONS_OF)
DEFAULTS = {
    "method": "gptq", "bits": 4, "group": 64, "layout": "gptq", "samples": SAMPLES, "length": LENGTH, "iters": 200,
    "asymmetric": False, "act_order": False, "all_experts": False, "duo": False,
}  # fmt: skip
WHY_NOT = {
    "hqq": ', whose zero points are real numbers: of the layouts "mlx" alone holds them, as biases, and'
    ' `save(quantize_model(model, scheme, "hqq"), out, "mlx")` writes it; chapter 04 puts them into Q4_1 blocks',
    "qat": ', which trains the whole model; `quantize_model(model, scheme, "qat")` does it',
}


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(prog="course quantize", description="Quantize a causal language model.",
                                     epilog="Embedding and head stay at 16 bits, but in a GGUF file. The same command"
                                     " again goes on where an interrupted one stopped.")  # fmt: skip
    result.add_argument("model", help='"bundled", a checkpoint directory or a hub id')
    result.add_argument("out", help="directory to write, which must not hold files yet; a file with --gguf")
    # None where an option is not given: what would be ignored is refused, and DEFAULTS fills in the rest
    result.add_argument("--method", help=f"{', '.join(METHODS)} (default: {DEFAULTS['method']})")
    result.add_argument("--bits", type=int, help=f"default: {DEFAULTS['bits']}")
    result.add_argument(
        "--group", type=int, help=f"weights that share a scale; -1 is a whole row (default: {DEFAULTS['group']})"
    )
    result.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        help=f"for whom files are laid out; mlx is Apple's (default: {DEFAULTS['layout']})",
    )
    result.add_argument("--asymmetric", action="store_true", default=None, help="grids with a zero point of their own")
    result.add_argument("--calibration", metavar="TEXT", help="prose (unless rtn), code, task, text, .jsonl of chats")
    result.add_argument("--samples", type=int, help=f"windows of calibration text (default: {SAMPLES})")
    result.add_argument("--length", type=int, help=f"tokens in a window (default: {LENGTH})")
    result.add_argument("--act-order", action="store_true", default=None, help="gptq: the most active columns first")
    everybody = "gptq, mixtures: each expert is calibrated on all tokens, not on its own"
    result.add_argument("--all-experts", action="store_true", default=None, help=everybody)
    result.add_argument("--duo", action="store_true", default=None, help="awq: scale by weights too")
    result.add_argument("--iters", type=int, help=f"autoround: steps of descent a block (default: {DEFAULTS['iters']})")
    gguf = result.add_argument_group("GGUF, instead of --method, --bits, --group and --layout")
    gguf.add_argument("--gguf", metavar="MIX", help=f"write a GGUF file: {', '.join(mixes.WRITTEN)}")
    wanted = "importance matrix, which Q2_K_S and IQs up to IQ3_XS need; --calibration makes one from text"
    gguf.add_argument("--imatrix", metavar="FILE", help=wanted)
    return result


def settled(args):
    """args with the defaults of what was not given; ValueError for an option that would be ignored."""
    given = [name for name, value in vars(args).items() if value is not None]
    if Path(args.model).is_file():
        raise ValueError(f"MODEL must be a checkpoint directory or a hub id, got the file {args.model!r}: start from"
                         " the weights before quantization")  # fmt: skip
    method = args.method or DEFAULTS["method"]
    if args.gguf:
        args.gguf = args.gguf.upper()
        for name in CHECKPOINT_ONLY:
            if name in given:
                raise ValueError(f"{_flag(name)} cannot be given with --gguf: {args.gguf} says how a matrix is stored,"
                                 " and llama.cpp's own search rounds it")  # fmt: skip
        for name in ("samples", "length"):
            if name in given and args.calibration is None:
                raise ValueError(f"{_flag(name)} needs --calibration, whose text makes the importance matrix")
    elif args.imatrix is not None:
        raise ValueError("--imatrix needs --gguf: only the blocks of a GGUF file are searched with one")
    elif method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}, got {method!r}{WHY_NOT.get(method, '')}")
    for name in ("calibration", "samples", "length"):
        if name in given and method == "rtn" and not args.gguf:
            raise ValueError(f"{_flag(name)} cannot be given with --method rtn, which looks at weights alone")
    for name, owner in OPTIONS_OF.items():
        if name in given and method != owner and not args.gguf:
            raise ValueError(f"{_flag(name)} belongs to --method {owner}, got --method {method}")
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def _flag(name):
    return "--" + name.replace("_", "-")


def scheme_of(args) -> Scheme:
    """The scheme that the options and the layout ask for; ValueError where the layout cannot hold it."""
    layout = LAYOUTS[args.layout]
    if args.bits not in layout.bits:
        raise ValueError(f"--bits must be one of {', '.join(map(str, layout.bits))} for --layout {layout.name},"
                         f" got {args.bits}")  # fmt: skip
    symmetric = False if args.asymmetric or "full" not in layout.symmetric else "full"
    group = None if args.group == -1 else args.group
    scheme = Scheme.int(args.bits, symmetric, group, scale_dtype=layout.scale_dtypes[0])
    layout.check_scheme(scheme)
    return scheme


def quantize(args) -> str:
    """Do what the options say, and sum it up in a line."""
    began, out, scheme = time.perf_counter(), Path(args.out), scheme_of(args)
    if out.suffix.lower() == ".gguf":
        raise ValueError(f"OUT is named like a GGUF file, got {args.out!r}: --gguf Q4_K_M, say, writes one, and all"
                         " other layouts are directories")  # fmt: skip
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"OUT must be a new or empty directory, got {args.out!r}, which holds files")
    source, few = models.BUNDLED if args.model == "bundled" else Path(args.model), {}
    if (source / "config.json").is_file():
        config, tokenizer = checkpoint.check(source)
        chosen, batches = _chosen(args, config), _batches(args, config, tokenizer)
        weights = checkpoint.weights(source, config.tie_word_embeddings)
        out.parent.mkdir(parents=True, exist_ok=True)
        stream(source, out, scheme, args.method, batches, args.layout, tokenizer=tokenizer, few=few, **chosen)
    else:
        model, tokenizer = models.load(args.model)
        chosen, batches = _chosen(args, model.config), _batches(args, model.config, tokenizer)
        weights = sum(p.numel() for p in model.parameters())
        result = quantize_model(model, scheme, args.method, batches, **chosen)
        out.parent.mkdir(parents=True, exist_ok=True)
        artifacts.save(result, out, args.layout, tokenizer)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    return (f"{out}: {args.method} {scheme.name}, layout {args.layout}{_said(few)}, {size / 1e6:.2f} MB,"
            f" {8 * size / weights:.2f} bits a weight, in {time.perf_counter() - began:.0f} s")  # fmt: skip


def _chosen(args, config) -> dict:
    """The options of the method; ValueError for those of a mixture where there is none."""
    if args.method != "gptq":
        return {"awq": {"duo": args.duo}, "autoround": {"iters": args.iters}}.get(args.method, {})
    chosen = {"act_order": args.act_order}
    if checkpoint.is_mixture(config):
        return chosen | {"all_experts": args.all_experts, "unheard": "nearest", "least": LEAST}
    if args.all_experts:
        raise ValueError(f"--all-experts needs a mixture of experts, and {args.model!r} is none")
    return chosen


def _said(few: dict[str, int]) -> str:
    """What is told of experts that heard little."""
    heard = {name.rpartition(".")[0]: tokens for name, tokens in few.items()}
    if not heard:
        return ""
    lone = min(heard, key=heard.get)
    return (f", {len(heard)} experts rounded to nearest that heard less than {LEAST:.1%} of the tokens (the least"
            f" {lone}, {heard[lone]})")  # fmt: skip


def quantize_gguf(args) -> str:
    """Write a GGUF file under one of llama.cpp's mixes, and sum it up in a line."""
    began, out = time.perf_counter(), Path(args.out)
    if args.gguf not in mixes.WRITTEN:
        raise ValueError(f"--gguf must be one of {', '.join(mixes.WRITTEN)}, got {args.gguf!r}")
    if args.imatrix and args.calibration:
        raise ValueError("--imatrix and --calibration cannot both be given: the first is what the second makes")
    if args.gguf in mixes.NEED_IMATRIX and not (args.imatrix or args.calibration):
        raise ValueError(f"--gguf {args.gguf} needs an importance matrix: give --calibration prose, or --imatrix FILE")
    if out.exists():
        raise FileExistsError(f"OUT must be a new file, got {args.out!r}, which is there already")
    if out.suffix != ".gguf":
        raise ValueError(f"OUT must end in .gguf, by which the other commands know such a file, got {args.out!r}")
    entries = imatrix.load(args.imatrix) if args.imatrix else {}
    model, tokenizer = _source(args)
    if args.calibration:
        stats = collect(model, _batches(args, model.config, tokenizer), hessian=False, unheard="empty")
        entries = imatrix.of_stats(stats)
    out.parent.mkdir(parents=True, exist_ok=True)
    llama.export(model, tokenizer, out, args.gguf, imatrix.importance(entries) or None)
    after, written = out.stat().st_size, read(out).tensors.values()
    bits = 8 * after / sum(math.prod(info.shape) for info in written)
    heeded = any(info.type in ggml.TYPES and ggml.block_type(info.type).uses_imatrix for info in written)
    said = " with importance matrix" if heeded else ", whose types take no importance matrix"
    said = said + imatrix.unheard(entries) if entries else ""
    return (f"{out}: {args.gguf}{said}, {after / 1e6:.2f} MB, {bits:.2f} bits a weight,"
            f" in {time.perf_counter() - began:.0f} s{_fell_back(written, args.gguf)}")  # fmt: skip


def _fell_back(written, mix: str) -> str:
    """A sentence about matrices whose rows are not whole blocks of the mix, which take a larger type."""
    block = mixes.size_of(mixes.BASE[mix][0]).elements
    matrices = [info for info in written if len(info.shape) > 1 and info.type != "F32"]
    odd = [info for info in matrices if info.shape[-1] % block]
    if not odd:
        return ""
    rows, types = (sorted({get(info) for info in odd}) for get in (lambda i: i.shape[-1], lambda i: i.type))
    return (f". {len(odd)} of {len(matrices)} matrices are larger than that ({', '.join(types)}): rows of"
            f" {', '.join(map(str, rows))} are not whole blocks of {block}")  # fmt: skip


def _source(args):
    """A folder whose weights are read one at a time, or the whole model where it has to run; and its tokenizer."""
    folder = models.BUNDLED if args.model == "bundled" else Path(args.model)
    tokenizer = checkpoint.check(folder)[1] if (folder / "config.json").is_file() else None
    return models.load(args.model) if tokenizer is None or args.calibration else (folder, tokenizer)


def _batches(args, config, tokenizer):
    length = min(args.length, getattr(config, "max_position_embeddings", args.length))
    return calibration_batches(tokenizer, args.calibration or "prose", args.samples, length)


def main(argv=None) -> int:
    args = parser().parse_args(argv)
    try:
        settled(args)
        print(quantize_gguf(args) if args.gguf else quantize(args))
    except (ValueError, OSError) as error:
        print(f"course quantize: {error}", file=sys.stderr)
        return 1
    return 0
