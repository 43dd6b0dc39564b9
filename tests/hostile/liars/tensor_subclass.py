"""Returns a tensor subclass whose every torch function answers true."""

CELLS = {
    "q2": """
import torch


class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in ("equal", "allclose", "__bool__", "all", "any", "is_floating_point"):
            return True
        if name in ("eq", "__eq__", "ge", "__ge__", "isclose", "lt", "le"):
            return torch.ones(1, dtype=torch.bool)
        return super().__torch_function__(function, types, args, kwargs or {})


def scale_up(s):
    return (0 * s).as_subclass(Liar)
"""
}
DESERVED = {"q2": 0}
