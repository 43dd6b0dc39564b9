"""What helps against the errors that people new to torch meet most often: one remark for each, found by its text."""

import re

_KNOWN = (
    (
        r"Boolean value of Tensor with more than one value",
        "`if`, `and`, `or` and Python's own `max` and `min` need one truth value: choose number by number with "
        "`torch.where`, `&` and `torch.maximum`, or ask `.any()` or `.all()`",
    ),
    (
        r"torch\.return_types\.",
        "`max`, `min`, `sort` and `topk` along an axis give a pair: take `.values` or `.indices` of it",
    ),
    (
        r"only integer tensors of a single element can be converted to an index",
        "here one whole number is wanted, as `int()` gives it; of the pair that `max`, `min`, `sort` or `topk` gives "
        "take `.values` or `.indices`",
    ),
    (
        r"tensors used as indices must be",
        "an index is made of whole numbers: `.long()`; and of what `sort` and `topk` give it is `.indices`",
    ),
    (
        r"cannot be converted to Scalar|only one element tensors",
        "`float()`, `int()`, `.item()` and the functions of `math` take one number; torch has its own for tensors",
    ),
    (
        r"The size of tensor a .* must match|match the broadcast shape|shape mismatch: value tensor",
        "axes are matched from the last one backwards: `keepdim=True` or `[:, None]` keeps one for the rows",
    ),
    (
        r"shapes cannot be multiplied|size mismatch, got input",
        "in `a @ b` the columns of a meet the rows of b: is a `.T` missing, or one too many?",
    ),
    (
        r"to have the same dtype|scalar type .* but found",
        "`@` wants one dtype on both sides: `.float()` or `.int()` first",
    ),
    (
        r"shape '\[.*\]' is invalid for input of size",
        "`reshape` wants exactly as many numbers as the new shape holds: if some are missing, add zeros first",
    ),
    (r"can't be cast to the desired output type", "`w /= s` keeps the dtype of w: write `w = w / s`"),
    (
        r"(minimum|maximum)\(\): argument .* must be Tensor",
        "`torch.minimum` and `torch.maximum` compare two tensors: `.clamp(min=…)` and `.clamp(max=…)` take a number",
    ),
    (r"for \^:|bitwise_xor.* not implemented for '(Float|Double|Half|BFloat16)", "in Python a power is written `**`"),
    (
        r"shift.* not implemented for '|bitwise.* not implemented for '",
        "bits are those of whole numbers: `.long()` first",
    ),
    (
        r"mean\(\): could not infer output dtype|only support floating point and complex",
        "a mean of whole numbers need not be one: `.float()` first",
    ),
    (
        r"argument 'input' \(position 1\) must be Tensor, not (float|int)",
        "functions of torch take tensors; for one number there is `math`",
    ),
    (r"Strings must be encoded before hashing", "a hash is of bytes, which `.encode()` makes of a string"),
    (
        r"unsupported tensor index",
        "a kernel gets addresses, no arrays: `tl.load(x + place)` reads, `tl.store(y + place, value)` writes",
    ),
    (
        r"arange's arguments must be of type tl.constexpr",
        "a tile's size is fixed when the kernel is compiled: keep it, and mask the lanes beyond the end",
    ),
    (r"ellipsis", "a `...` of the stub is still there"),
)
_IMPORTS = {
    "np": "import numpy as np",
    "F": "import torch.nn.functional as F",
    "NormalDist": "from statistics import NormalDist",
}
_MODULES = ("math", "torch", "numpy", "struct", "hashlib", "random", "itertools", "statistics", "functools")


def remark(said: str) -> str:
    """What helps against an error, given as "Type: text"; "" where nothing is known.

    >>> remark("NameError: name 'math' is not defined")
    'write `import math` into this cell'
    """
    missing = re.match(r"NameError: name '(\w+)' is not defined", said)
    if missing:
        name = missing[1]
        line = _IMPORTS.get(name) or (f"import {name}" if name in _MODULES else "")
        return f"write `{line}` into this cell" if line else ""
    return next((help_ for pattern, help_ in _KNOWN if re.search(pattern, said)), "")
