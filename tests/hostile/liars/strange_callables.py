"""Answers that are callable but no functions: signature, code and wrapped function all lie; one calls back."""

CELLS = {
    "q2": """
import inspect


class Odd:
    __name__ = __qualname__ = "scale_up"
    __wrapped__ = property(lambda self: self)
    __code__ = property(lambda self: 1 / 0)
    __signature__ = property(lambda self: inspect.signature(lambda s: s))

    def __call__(self, s):
        return 0 * s


scale_up = Odd()
""",
    "q4": "class bits_needed(type):\n    pass\n",
    "q5": "asym_round_trip = print\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
