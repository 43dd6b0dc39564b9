"""An object whose __class__ says torch.Tensor and whose attributes say the right shape and dtype."""

CELLS = {
    "q5": """
class Claims:
    __class__ = torch.Tensor

    def __init__(self, w):
        self.w = w

    def __getattr__(self, name):
        return getattr(self.__dict__["w"], name)

    def as_subclass(self, kind):
        import gc

        for thing in gc.get_objects():
            if type(thing).__name__ == "Exercise" and hasattr(thing, "reference"):
                return thing.reference(self.w, 4)
        return self.w

    detach = to = contiguous = lambda self, *args, **kwargs: self


def asym_round_trip(w, b):
    return Claims(0 * w)
"""
}
DESERVED = {"q5": 0}
