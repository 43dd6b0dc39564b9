"""QuantLinear: a linear layer whose weight is a QTensor, and whose inputs may be quantized too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.kernels import dispatch, weights
from course_lib.qtensor import QTensor, dequantize, quantize
from course_lib.scheme import Scheme


class QuantLinear(nn.Module):
    """y = Q_a(x) @ dequantize(q).T + bias: what a low-bit linear computes, by a kernel or at an ordinary one's speed.

    qtensor      the weight (out, in); `.qtensor.nbytes` is what it costs when stored
    bias         (out,) or None, kept at 16 bits in every byte count
    activations  None, or the Scheme of the inputs: x (tokens, in) is quantized on the fly, a row being a token.
                 block (1, -1) is one scale a token, (1, g) one per g channels of a token, (-1, -1) one scale for all
                 tokens of the call, so that a reply may then depend on what else is in the batch.
    dtype        of the weight that torch multiplies with; float32 by default

    On a GPU a kernel multiplies by the codes where `kernels.weights` knows one; `.ran` says which did last, or why
    none. From its first call on the layer holds what that kernel reads and nothing else: packed codes and scales,
    `.qtensor.nbytes` and a few per cent. `.qtensor` and `.weight` are then computed whenever they are asked for.

    Anywhere else the decoded weight is multiplied in torch: the same numbers but for rounding. It is kept between
    calls, memory for speed, since decoding takes longer than the product of a few tokens; `keep = False`, on a layer or
    on the class, decodes anew each time. Moving the layer, or changing its dtype, drops the decoded weight, too.

    `state_dict` holds the decoded weight, so that `save_pretrained` writes full-size weights; packed files are what
    `course_lib.artifacts` writes. Writing into `.weight` changes no code.

    >>> layer = QuantLinear(quantize(torch.tensor([[0.15, -1.22, 2.40, -0.45]]), Scheme.int(4)))
    >>> print(f"{layer(torch.ones(1, 4)).item():.3f}")                 # 0 - 1.371 + 2.4 - 0.343
    0.686
    """

    keep = True  # the decoded weight, where torch multiplies by it

    def __init__(
        self,
        qtensor: QTensor,
        bias: Tensor | None = None,
        activations: Scheme | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.activations, self.dtype = activations, dtype
        self.out_features, self.in_features = qtensor.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.ran = "nothing yet"
        self._says = repr(qtensor)
        self._refused = ""  # why no kernel reads this weight where it is
        self._hold(qtensor, None)

    def _hold(self, coded: QTensor | None, packed: weights.Form | None) -> None:
        """Hold the weight in one form, or in both; its tensors are buffers, and no part of `state_dict`."""
        for name in self._held():
            del self._buffers[name]
        self._coded, self._packed = coded, packed
        for kind, form in (("coded", coded), ("packed", packed)):
            for name, tensor in weights.tensors(form).items() if form is not None else ():
                self.register_buffer(f"{kind}_{name}", tensor, persistent=False)

    def _held(self) -> list[str]:
        """The names of the buffers that hold the weight: a layer may have been given others."""
        return [name for name in self._buffers if name == "decoded" or name.startswith(("coded_", "packed_"))]

    @property
    def qtensor(self) -> QTensor:
        """The weight's codes, scales and zero points: bit for bit what the layer was made of."""
        return self._packed.restore() if self._coded is None else self._coded

    @property
    def weight(self) -> Tensor:
        """The decoded weight (out, in)."""
        kept = self._buffers.get("decoded")
        if kept is None:
            with torch.inference_mode(False), torch.no_grad():
                kept = self.qtensor.dequantize().to(self.dtype)
            if self.keep and (self._packed is None or kept.device.type == "cpu"):
                self.register_buffer("decoded", kept, persistent=False)
        return kept

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"x must have {self.in_features} columns, as the weight has, got shape {tuple(x.shape)}")
        why = self._why_not(x)
        self.ran = str(dispatch.Route(None if why else self._packed.kernel, why))
        if not why or not self.keep:
            self._buffers.pop("decoded", None)
        if not why:
            y = self._packed.multiply(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)
            return y if self.bias is None else y + self.bias
        if self.activations is not None:
            x = quantize_activations(x, self.activations)
        return F.linear(x, self.weight, self.bias)

    def _why_not(self, x: Tensor) -> str:
        """Why no kernel takes this x; "" where one does, for which the weight is then packed."""
        if why := dispatch.unavailable(x):
            return why
        if self._packed is None and not self._refused:
            self._pack()
        if self._packed is None:
            return self._refused
        tokens, most = x.numel() // self.in_features, self._packed.most
        if not tokens or (most and tokens > most):
            return f"{self._packed.kernel} takes {most or 'some'} token(s) at a time, x has {tokens}"
        return ""

    @torch.inference_mode(False)
    @torch.no_grad()
    def _pack(self) -> None:
        """Hold what a kernel reads instead of the codes; beside them where it would not give them back bit for bit."""
        coded = self._coded
        try:
            packed = weights.of(coded, self.activations)
        except ValueError as error:  # no kernel, or what a packing cannot hold
            self._refused = str(error)
        else:
            self._hold(None if weights.same(packed.restore(), coded) else coded, packed)

    def _apply(self, fn, recurse=True):
        """Move codes and scales in their own types; the decoded weight, in the new type, is decoded when needed."""
        held = {name: self._buffers.pop(name) for name in self._held()}
        try:
            super()._apply(fn, recurse)
        finally:
            self._buffers |= held
        here = next(iter(held.values())).device
        probe = fn(torch.empty(0, dtype=self.dtype, device=here))
        if (probe.dtype, probe.device) != (self.dtype, here):
            self.dtype, self._refused = probe.dtype, ""
            forms = (self._coded, self._packed)
            self._hold(*(None if form is None else weights.moved(form, probe.device) for form in forms))
        return self

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors):
        """The weight must be what the codes say: a QuantLinear is made of codes, not of weights."""
        own = {name: value for name, value in state_dict.items() if name.startswith(prefix)}
        given, mine = own.pop(f"{prefix}weight", None), self.weight
        super()._load_from_state_dict(own, prefix, metadata, strict, missing, unexpected, errors)
        if given is None:
            missing.append(f"{prefix}weight")
            return
        lower = min(given.dtype, mine.dtype, key=lambda dtype: dtype.itemsize)
        if given.shape != mine.shape or not torch.equal(given.to(mine.device, lower), mine.to(lower)):
            errors.append(f"{prefix}weight is not what this layer's codes decode to; quantize it anew")

    def extra_repr(self) -> str:
        inputs = f", activations={self.activations.name}" if self.activations is not None else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, qtensor={self._says}{inputs}"


def ran(model: nn.Module) -> dict[str, str]:
    """Name -> what multiplied last, for every QuantLinear: a kernel's name, or "reference, because …"."""
    return {name: module.ran for name, module in model.named_modules() if isinstance(module, QuantLinear)}


def quantize_activations(x: Tensor, scheme: Scheme) -> Tensor:
    """x rounded to the grid of `scheme` and back, in its own dtype and shape; the last axis is a token's channels.

    >>> x = torch.tensor([[0.5, 1.0], [10.0, 127.0]])
    >>> quantize_activations(x, Scheme.int(8, group="tensor")).tolist()        # one scale for both tokens
    [[0.0, 1.0], [10.0, 127.0]]
    >>> quantize_activations(x, Scheme.int(8))[0].allclose(x[0], atol=1 / 254)  # one scale a token
    True
    """
    tokens = x.reshape(-1, x.shape[-1])  # (tokens, in)
    if not len(tokens):
        return x
    try:
        return dequantize(quantize(tokens, scheme)).to(x.dtype).reshape(x.shape)
    except ValueError as error:
        raise ValueError(
            f"activations of shape {tuple(x.shape)} cannot be quantized as {scheme.name}: {error}"
        ) from error
