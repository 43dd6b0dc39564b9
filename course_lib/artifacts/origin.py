"""`course origin FILE MODEL`: how was this quantized file made? Its codes are held against the weights before."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torch import Tensor

from course_lib import artifacts, models
from course_lib.artifacts.fingerprints import fingerprints, same_blocks, same_groups
from course_lib.artifacts.gguf.load import load as load_gguf
from course_lib.artifacts.maker import Maker, ggml_maker, maker, mlx_maker, verdict
from course_lib.calibrate.calibration import LENGTH, calibration_batches
from course_lib.calibrate.experts import take_apart
from course_lib.calibrate.stats import collect
from course_lib.formats import affine, ggml
from course_lib.formats.ggml.weight import Blocks
from course_lib.qtensor import QTensor

_SAMPLES = 32  # windows of text: an order of columns needs fewer than a quantizer


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    result = argparse.ArgumentParser(
        prog="course origin",
        description="How was a quantized file made? Its codes are held against the weights of the model before.",
    )
    result.add_argument("file", help="a GPTQ, AWQ, compressed-tensors or MLX checkpoint, or a GGUF file")
    result.add_argument("model", help='the model before: "bundled", a checkpoint directory or a hub id')
    result.add_argument(
        "--calibration", metavar="TEXT", help="prose, code, task or a file: its inputs tell the order of columns"
    )
    result.add_argument("--layers", action="store_true", help="a line for each linear, with the reason")
    return result


def origins(path, model: str = "bundled", calibration=None, progress: bool | None = None) -> dict[str, Maker]:
    """Name -> maker of every quantized linear of the artifact at `path`, made of `model` (name or path).

    calibration  text as in `collect`, for H: any of the kind that the maker may have used. With it GPTQ's act-order
                 is told without g_idx, and what was fitted to the inputs from what was not.

    ValueError for a file without quantized linears, and for linears that the model does not have in these shapes.
    """
    base, tokenizer = models.load(model)
    take_apart(base)
    path = Path(path)
    made, _ = load_gguf(path, blocks=True) if path.suffix == ".gguf" else artifacts.load(path)
    weights = _weights(base, getattr(made, "qtensors", {}))
    stats = {} if calibration is None else collect(base, _batches(base, tokenizer, calibration), progress=progress)
    return {name: origin_of(w, made.qtensors[name], stats[name].H if stats else None) for name, w in weights.items()}


def _batches(base, tokenizer, calibration):
    length = min(LENGTH, getattr(base.config, "max_position_embeddings", LENGTH))
    return calibration_batches(tokenizer, calibration, _SAMPLES, length)


def _weights(base, qtensors) -> dict[str, Tensor]:
    """The weights before, in the order of the file's linears."""
    if not qtensors:
        raise ValueError("FILE holds no quantized linears, so that there is nothing to tell")
    before = {name.removesuffix(".weight"): p.detach().float() for name, p in base.state_dict().items()}
    for name, q in qtensors.items():
        if name not in before or tuple(before[name].shape) != tuple(q.shape):
            raise ValueError(f"MODEL has no {name} of shape {tuple(q.shape)}: it is not what FILE was made of")
    return {name: before[name] for name in qtensors}


def origin_of(w: Tensor, q, H: Tensor | None = None) -> Maker:
    """The maker of one linear, q a QTensor or a GGUF tensor's Blocks, from w (out, in) before and H as `hessian`."""
    if isinstance(q, Blocks):
        return ggml_maker(same_blocks(w, q), ggml.block_type(q.kind).uses_imatrix)
    found = mlx_maker(same_groups(w, q)) if isinstance(q.scheme.codec, affine.Affine) else None
    return found or maker(fingerprints(w, _with_zero_points(q), H))


def _with_zero_points(q: QTensor) -> QTensor:
    """An affine q as the integers that it was stored from, where it was."""
    try:
        return affine.to_integers(q) if isinstance(q.scheme.codec, affine.Affine) else q
    except ValueError:
        return q


def main(argv=None) -> int:
    """Run the command; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        found = origins(args.file, args.model, args.calibration)
    except (ValueError, OSError) as error:
        print(f"course origin: {error}", file=sys.stderr)
        return 1
    if args.layers:
        for name, one in found.items():
            print(f"{name}: {one.name}; {one.why}")
    print(f"{args.file}: {verdict(found.values())}")
    return 0
