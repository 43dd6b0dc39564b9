"""quantize_model: a copy of a model whose linear layers carry QTensors, made by any method from any scheme."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from course_lib.calibrate.experts import unfused
from course_lib.calibrate.hqq import hqq
from course_lib.calibrate.linear import QuantLinear
from course_lib.calibrate.qat import by_qat
from course_lib.calibrate.rtn import rtn
from course_lib.calibrate.sequential import by_autoround, by_awq, by_gptq
from course_lib.calibrate.solve import check_scheme, named, own, said
from course_lib.calibrate.targets import DEFAULT_SKIP, check_activations, linears_of, skips
from course_lib.progress import each
from course_lib.qtensor import QTensor
from course_lib.scheme import Scheme

# A method sees the whole model, which is already a copy that it may rescale, and returns one QTensor a linear.
# It is called with (model, linears, scheme, calibration, progress) and its own options.
Method = Callable[..., dict[str, QTensor]]


def _rtn(model, linears, scheme, calibration, progress) -> dict[str, QTensor]:
    return {name: named(name, rtn, linear.weight, scheme) for name, linear in each(linears, "rounding", progress)}


def _hqq(model, linears, scheme, calibration, progress, **options) -> dict[str, QTensor]:
    return {name: named(name, hqq, linear.weight, scheme, **options)
            for name, linear in each(linears, "searching", progress)}  # fmt: skip


METHODS: dict[str, Method] = {
    "rtn": _rtn,
    "hqq": _hqq,
    "gptq": by_gptq,
    "awq": by_awq,
    "autoround": by_autoround,
    "qat": by_qat,
}


def quantize_model(
    model: nn.Module,
    scheme: Scheme,
    method: str | Callable[[Tensor, Scheme], QTensor] = "rtn",
    calibration=None,
    skip: Iterable[str] = DEFAULT_SKIP,
    activations: Scheme | None = None,
    progress: bool | None = None,
    **options,
) -> nn.Module:
    """A copy of `model` whose linears are QuantLinear modules; it works with `generate`, and `model` stays untouched.

    method       "rtn", "hqq", "gptq", "awq", "autoround", "qat", or your own function (w (out, in), scheme) -> QTensor
    calibration  text as in `collect`: "prose", "code", "task", a file, texts or token tensors; not for "rtn" and "hqq"
    skip         linears that stay as they are: the end of a dotted name ("lm_head", "mlp.down_proj") or a regular
                 expression for all of it (r"model\\.layers\\.0\\..*"); embeddings and norms are never quantized, and a
                 head tied to the embedding, if not skipped, gets a weight of its own
    activations  Scheme of every quantized linear's inputs (see QuantLinear), or None
    options      of the method: for "gptq" those of `gptq` (act_order=True …) or solve=your (w, H, scheme) -> QTensor,
                 and for experts all_experts=True, unheard="nearest" (see `sequential.gptq_block`); for "awq" those of
                 `awq` (alpha_grid, clip, duo), for "autoround" those of `autoround.learn` (iters, rate) and
                 quantized_input, for "qat" those of `qat.train` (steps, rate), for "hqq" those of `hqq`

    The copy has `.qtensors` (name -> QTensor) and `.quantized_fraction` (share of the parameters). A quantized copy
    may be quantized again: linears skipped the first time get the second scheme, which is how mixes are made.
    Fused experts are taken apart and quantized one by one ("experts.3.up_proj"), each with a Hessian of its own tokens.
    ValueError names a linear that does not fit the scheme or never ran, a skip entry without a match, and fused 3-D
    experts of a kind that cannot be taken apart.
    """
    check_scheme(scheme)
    solve = _method(method)
    model = unfused(model, skips(skip))
    linears = linears_of(model, skip)
    check_activations(activations, linears)
    with torch.no_grad():
        result = copy.deepcopy(model)
        linears = {name: result.get_submodule(name) for name in linears}
        qtensors = solve(result, linears, scheme, calibration, progress, **options)
        for name, q in qtensors.items():
            linear = linears[name]
            _replace(result, name, QuantLinear(q, linear.bias, activations, linear.weight.dtype))
        _untie(result, linears)
    result.qtensors = quantized(result)
    result.quantized_fraction = quantized_fraction(result)
    return result


def map_weights(
    model: nn.Module, function: Callable[[Tensor], Tensor], skip: Iterable[str] = DEFAULT_SKIP
) -> nn.Module:
    """A copy of `model` in which the weight w (out, in) of every linear is `function(w)`: rounding without a format.

    ValueError if what comes back is no finite tensor of the shape of w.
    """
    names = linears_of(model, skip)
    with torch.no_grad():
        result = copy.deepcopy(model)
        for name in names:
            linear = result.get_submodule(name)
            new = function(linear.weight.detach().clone())
            if not isinstance(new, Tensor) or new.shape != linear.weight.shape or not torch.isfinite(new).all():
                shape = tuple(linear.weight.shape)
                raise ValueError(f"function must return a finite tensor of shape {shape} for {name}, got {said(new)}")
            linear.weight = nn.Parameter(new.detach().clone().to(linear.weight.dtype), requires_grad=False)
        _untie(result, names)
    return result


class QTensors(Mapping):
    """Name -> QTensor of every QuantLinear in a model, read off its layer when asked for: no second copy is held."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}

    def __getitem__(self, name: str) -> QTensor:
        return self._layers[name].qtensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def quantized(model: nn.Module) -> QTensors:
    """Name -> QTensor of every QuantLinear in `model`."""
    return QTensors(model)


def quantized_fraction(model: nn.Module) -> float:
    """Share of the parameters that are stored as codes; a tied weight counts once."""
    coded = sum(part.out_features * part.in_features for part in model.modules() if isinstance(part, QuantLinear))
    return coded / (coded + sum(p.numel() for p in model.parameters()))


def model_bytes(model: nn.Module) -> int:
    """Bytes of the model as it would be stored: QTensors with their metadata, all else at 16 bits, ties once.

    For a model that is not quantized this is the size of its 16-bit checkpoint (a file adds a header of some kB).
    """
    return 2 * sum(p.numel() for p in model.parameters()) + sum(q.nbytes for q in quantized(model).values())


def _method(method) -> Method:
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    if callable(method):
        return lambda model, linears, scheme, calibration, progress: {
            name: own(name, method, linear.weight, scheme) for name, linear in each(linears, "your quantizer", progress)
        }
    known = ", ".join(repr(name) for name in METHODS)
    raise ValueError(f"method must be {known} or a function (w, scheme) -> QTensor, got {method!r}")


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _untie(model: nn.Module, names: Iterable[str]) -> None:
    """A head that now has a weight of its own must not be tied to the embedding again when the model is saved."""
    config = getattr(model, "config", None)
    if getattr(config, "tie_word_embeddings", False) and "lm_head" in names:
        config.tie_word_embeddings = False
