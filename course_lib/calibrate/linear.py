"""QuantLinear: a linear layer whose weight is a QTensor, and whose inputs may be quantized too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.kernels import dispatch
from course_lib.qtensor import QTensor, dequantize, quantize
from course_lib.scheme import Scheme


class QuantLinear(nn.Module):
    """y = Q_a(x) @ dequantize(q).T + bias: what a low-bit linear computes, at the speed of an ordinary one.

    qtensor      the weight (out, in); `.qtensor.nbytes` is what it costs when stored
    bias         (out,) or None, kept at 16 bits in every byte count
    activations  None, or the Scheme of the inputs: x (tokens, in) is quantized on the fly, a row being a token.
                 block (1, -1) is one scale a token, (1, g) one per g channels of a token, (-1, -1) one scale for all
                 tokens of the call, so that a reply may then depend on what else is in the batch.
    dtype        of the weight that is multiplied with; float32 by default

    On a GPU a kernel multiplies by the codes where `kernels.dispatch` knows one; `.ran` says which did last, or why
    none. Anywhere else the decoded weight is multiplied in torch: the same numbers but for rounding.

    The dequantized weight stays in the buffer `weight`: this class shows what a scheme does to the *answers* and to
    the time; it saves no memory while it runs. `save_pretrained` therefore writes full-size weights; packed files are
    what `course_lib.artifacts` writes.

    >>> layer = QuantLinear(quantize(torch.tensor([[0.15, -1.22, 2.40, -0.45]]), Scheme.int(4)))
    >>> print(f"{layer(torch.ones(1, 4)).item():.3f}")                 # 0 - 1.371 + 2.4 - 0.343
    0.686
    """

    weight: Tensor

    def __init__(
        self,
        qtensor: QTensor,
        bias: Tensor | None = None,
        activations: Scheme | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.qtensor = qtensor
        self.activations = activations
        self.out_features, self.in_features = qtensor.shape
        self.register_buffer("weight", dequantize(qtensor).to(dtype))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.ran = "nothing yet"
        self._routes: dict[tuple, dispatch.Route] = {}

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        route = self._route(x)
        self.ran = str(route)
        if route.run is not None:
            y = route.run(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)
            return y if self.bias is None else y + self.bias
        if self.activations is not None:
            x = quantize_activations(x, self.activations)
        return F.linear(x, self.weight, self.bias)

    def _route(self, x: Tensor) -> dispatch.Route:
        """The way for this x; what was packed once is kept, for one dtype and device."""
        if why := dispatch.unavailable(x):
            return dispatch.Route(why=why)
        key = (x.dtype, x.device)
        if key not in self._routes:
            self._routes = {key: dispatch.route(self.qtensor, self.activations, x)}
        route, tokens = self._routes[key], x.numel() // self.in_features
        if not tokens or (route.most and tokens > route.most):
            return dispatch.Route(why=f"{route.kernel} takes {route.most or 'some'} token(s) at a time, x has {tokens}")
        return route

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_routes": {}}  # packed again where it is needed

    def extra_repr(self) -> str:
        inputs = f", activations={self.activations.name}" if self.activations is not None else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, qtensor={self.qtensor}{inputs}"


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
    try:
        return dequantize(quantize(tokens, scheme)).to(x.dtype).reshape(x.shape)
    except ValueError as error:
        raise ValueError(
            f"activations of shape {tuple(x.shape)} cannot be quantized as {scheme.name}: {error}"
        ) from error
