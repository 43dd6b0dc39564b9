"""What a finished part of a block gave, so that it need not run again while the rest of the block is quantized."""

from __future__ import annotations

from torch import Tensor, nn

LIMIT_BYTES = 2**30  # of all batches together; beyond, parts run again


class Kept:
    """The outputs of finished parts of a block on one batch. Inside the `with`, such a part gives its output again.

    A part is finished when nothing that it computes can change any more: all its linears are rounded, and so is all
    that runs before them. It is called once a run. An output that somebody wrote into is computed anew; one in which
    that could not be seen is not kept: a list or dict, tensors of `torch.inference_mode`.

    >>> part, kept = nn.Linear(1, 1), Kept()
    >>> kept.finish([part])
    >>> with kept:
    ...     first = part(Tensor([[1.0]]))
    >>> _ = nn.init.zeros_(part.weight)
    >>> with kept:
    ...     part(Tensor([[1.0]])) is first
    True
    """

    def __init__(self) -> None:
        self.parts: list[nn.Module] = []
        self.share = LIMIT_BYTES  # bytes that this batch may take
        self._outputs: dict[nn.Module, tuple] = {}  # part -> (output, its tensors, their versions)
        self._forwards: dict[nn.Module, object] = {}

    def finish(self, parts: list[nn.Module], batches: int = 1) -> None:
        """These parts, too, are finished; the limit is shared by so many batches."""
        self.parts += [part for part in parts if part not in self.parts]
        self.share = LIMIT_BYTES // batches

    def __enter__(self) -> None:
        self._forwards = {part: vars(part).get("forward") for part in self.parts}
        for part in self.parts:
            part.forward = self._again(part, part.forward)

    def __exit__(self, *_) -> None:
        for part, forward in self._forwards.items():
            del part.forward
            if forward is not None:
                part.forward = forward

    def _again(self, part: nn.Module, forward):
        def give(*args, **kwargs):
            output, tensors, versions = self._outputs.get(part, (None, [], None))
            if versions is None or versions != [t._version for t in tensors]:
                output = forward(*args, **kwargs)
                self._keep(part, output)
            return output

        return give

    def _keep(self, part: nn.Module, output) -> None:
        tensors = [t for t in (output if isinstance(output, tuple) else (output,)) if t is not None]
        if not all(isinstance(t, Tensor) and not t.is_inference() for t in tensors):
            return
        held = [t for _, kept, _ in self._outputs.values() for t in kept]
        if sum(t.nbytes for t in (*held, *tensors)) <= self.share:
            self._outputs[part] = output, tensors, [t._version for t in tensors]
