"""A tensor subclass with one number that claims the shape, dtype and numel that are asked for."""

CELLS = {
    "q2": """
class Shape(torch.Tensor):
    shape = property(lambda self: torch.Size([7]))
    dtype = property(lambda self: torch.float32)
    ndim = property(lambda self: 1)

    def size(self, *args):
        return torch.Size([7])

    def numel(self):
        return 7


def scale_up(s):
    return torch.tensor(1e30).as_subclass(Shape)
"""
}
DESERVED = {"q2": 0}
