"""Quantization-aware training: the forward pass rounds, and the gradient goes through as if it had not.

    q = clip(round(w / s) + z, 0, n),   ŵ = s (q - z)
    ∂L/∂w = ∂L/∂ŵ   where the clip lets w pass, else 0        straight-through: Bengio et al. 2013
    ∂L/∂s = Σ ∂L/∂ŵ · (q - z - w/s, or q - z where clipped)   the step is learned, too: Esser et al., "LSQ", 2020

What is learned is the 16-bit model's own predictions, so that no labels are needed: Liu et al., "LLM-QAT", 2023.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from course_lib.calibrate.calibration import batches_for
from course_lib.calibrate.targets import check_fit
from course_lib.formats.integer import Integer
from course_lib.progress import bar
from course_lib.qtensor import QTensor, quantize, split_blocks, spread
from course_lib.scheme import Scheme


def straight_through(x: Tensor, low: float, high: float) -> Tensor:
    """clip(round(x), low, high) whose gradient is 1 where the rounded x lies in low … high, and 0 elsewhere.

    >>> x = torch.tensor([0.4, 1.6, 9.0], requires_grad=True)
    >>> y = straight_through(x, 0, 3)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 2.0, 3.0], [1.0, 1.0, 0.0])
    """
    return (x + (x.round() - x).detach()).clamp(low, high)


class FakeQuant(nn.Module):
    """A weight w (out, in) as it looks after a round trip, learnable together with the steps of its blocks.

    The grid begins where `observer` puts it, or as that of `start`, a QTensor of the same scheme. The steps are learned
    as exp(log s), so that none can turn negative; zero points stay. `qtensor()` is what will be stored: the same
    weights, the steps in the scheme's own dtype.
    """

    def __init__(self, w: Tensor, scheme: Scheme, observer="mse", start: QTensor | None = None) -> None:
        super().__init__()
        q = quantize(w, scheme, observer) if start is None else start
        self.scheme, self.start = scheme, q
        self.w = nn.Parameter(w.detach().float().clone())
        self.log_step = nn.Parameter(q.step.clamp_min(1e-8).log())

    def forward(self) -> Tensor:
        step = spread(self.log_step.exp())
        split = split_blocks(self.w, self.scheme.block)  # (out/br, br, in/bc, bc)
        top = 2 ** (self.scheme.bits - 1) - 1
        if self.start.zero_point is None:
            return (step * straight_through(split / step, -top, top)).reshape(self.w.shape)
        zero = spread(self.start.zero_point.float())
        return (step * (straight_through(split / step + zero, 0, 2 * top + 1) - zero)).reshape(self.w.shape)

    @torch.no_grad()
    def qtensor(self) -> QTensor:
        """The codes, steps and zero points that stand for the weights now."""
        scale, zero = self.log_step.exp().to(self.scheme.scale_dtype), self.start.zero_point
        split = split_blocks(self.w, self.scheme.block)
        codes = self.scheme.codec.encode(split, spread(scale.float()), spread(zero)).reshape(self.w.shape)
        return QTensor(codes, scale, zero, self.scheme, tuple(self.w.shape))


def by_qat(model, linears, scheme, calibration, progress, fake=FakeQuant, start=None, **options) -> dict[str, QTensor]:
    """`quantize_model(model, scheme, "qat", batches, steps=100)`: train the weights under their own rounding.

    model is a copy already; embeddings, norms and biases stay as they are. options are those of `train`; fake is the
    class of rounded weights, such as one with gradients of your own; start (name -> QTensor) are the grids to begin
    with, such as the `.qtensors` of a model that was quantized before: a search for them is half of a short training.
    """
    if not isinstance(scheme.codec, Integer) or scheme.scale_scheme is not None or scheme.tensor_scale:
        raise ValueError(f'"qat" needs an integer scheme with plain scales, got {scheme.name}')
    check_fit(scheme, linears)
    for name in linears if start is not None else ():
        if name not in start or start[name].scheme != scheme or start[name].g_idx is not None:
            given = start[name] if name in start else "none"
            raise ValueError(f"start must hold a QTensor of {scheme.name} without g_idx for {name}, got {given}")
    batches = batches_for(model, calibration)
    grids = {name: {} if start is None else {"start": start[name]} for name in linears}
    fakes = {name: fake(linear.weight, scheme, **grids[name]) for name, linear in linears.items()}
    with torch.enable_grad():
        train(model, fakes, batches, progress=progress, **options)
    return {name: fake.qtensor() for name, fake in fakes.items()}


def train(model, fakes, batches: list[Tensor], steps: int = 100, rate: float = 1e-3, progress=None, log=None):
    """Let the fakes learn the model's own predictions on `batches`, in turn: AdamW, a rate that falls to 0.

    rate   of the weights and, as a relative change, of the steps
    log    a list that gets the loss of every step: KL(model || rounded), nats a token
    ValueError unless steps is at least 1 and rate is positive.
    """
    if steps < 1 or not rate > 0:
        raise ValueError(f"steps must be at least 1 and rate positive, got {steps} and {rate}")
    parameters = [p for fake in fakes.values() for p in fake.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    model.requires_grad_(False)
    for step, tokens in bar(list(enumerate(itertools.islice(itertools.cycle(batches), steps))), "training", progress):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 10) * (1 - step / steps)
        loss = gap(model, fakes, tokens)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if log is not None:
            log.append(loss.item())


def gap(model, fakes: dict[str, FakeQuant], tokens: Tensor) -> Tensor:
    """KL(model || model with the fakes' weights) on tokens (rows, length): nats a token, to be differentiated."""
    with torch.no_grad():
        p = model(tokens, use_cache=False).logits.float().log_softmax(-1)
    swapped = {f"{name}.weight": fake() for name, fake in fakes.items()}
    out = torch.func.functional_call(model, swapped, (tokens,), {"use_cache": False})
    q = out.logits.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean()


def rows_of(batches: Iterable[Tensor], rows: int) -> list[Tensor]:
    """Batches of tokens cut anew, `rows` windows each: many small steps teach more than a few large ones."""
    return list(torch.cat(list(batches)).split(rows))
