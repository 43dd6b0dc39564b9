"""A Scheme says how numbers become codes: format x block shape x symmetry x how the scale is stored."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields

import torch

SCALE_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e8m0fnu": torch.float8_e8m0fnu,
}
ZERO_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_SHORT = {"float32": "", "float16": "fp16", "bfloat16": "bf16", "float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2"}
_SYMMETRY = {True: "sym", "full": "full", False: "asym"}


@dataclass(frozen=True, repr=False)
class Scheme:
    """How a tensor w (..., rows, cols) becomes codes; frozen and hashable, so it can be a key and a file header.

    ============  ===========================================================================================
    format        registry name: int2 … int8 (course_lib.formats.registry lists all)
    block         (rows, cols) that share one scale; -1 is the whole axis
    symmetric     True: -(2^(b-1)-1) … 2^(b-1)-1, no zero point;  "full": GPTQ's 2^b levels with z = 2^(b-1);
                  False: 2^b levels over [min, max] widened to hold 0, whole-number zero point
    zero_dtype    None, or the torch dtype of a real-number zero point (symmetric=False); [min, max] is not widened then
    scale_dtype   torch dtype in which a scale is stored; codes are computed with the stored scale
    tensor_scale  True: a second, float32 scale for the whole matrix (8-bit float scale dtypes only)
    scale_rule    name of the rule that picks a power-of-two scale, for formats that have one
    scale_scheme  Scheme in which the scales themselves are quantized, as one flat row (double quantization)
    ============  ===========================================================================================

    >>> Scheme.int(4, group=128)
    Scheme('int4', block=(1, 128), symmetric=True)
    >>> Scheme.int(4, group=128).name
    'int4 g128 sym'
    """

    format: str
    block: tuple[int, int] = (1, -1)
    symmetric: bool | str = True
    scale_dtype: torch.dtype = torch.float32
    tensor_scale: bool = False
    scale_rule: str | None = None
    scale_scheme: Scheme | None = None
    zero_dtype: torch.dtype | None = None

    def __post_init__(self):
        object.__setattr__(self, "block", _checked_block(self.block))
        if not (self.symmetric is True or self.symmetric is False or self.symmetric == "full"):
            raise ValueError(f'symmetric must be True, "full" or False, got {self.symmetric!r}')
        if self.scale_dtype not in SCALE_DTYPES.values():
            raise ValueError(f"scale_dtype must be one of {', '.join(SCALE_DTYPES)}, got {self.scale_dtype!r}")
        if not isinstance(self.tensor_scale, bool):
            raise TypeError(f"tensor_scale must be True or False, got {self.tensor_scale!r}")
        if self.tensor_scale and self.scale_dtype.itemsize > 1:
            raise ValueError(f"tensor_scale=True needs an 8-bit float scale_dtype, got {self.scale_dtype}")
        if not isinstance(self.scale_scheme, Scheme | None):
            raise TypeError(f"scale_scheme must be a Scheme or None, got {self.scale_scheme!r}")
        if self.zero_dtype is not None and (self.zero_dtype not in ZERO_DTYPES or self.symmetric is not False):
            raise ValueError("zero_dtype must be None, or torch.float32, float16 or bfloat16 beside symmetric=False,"
                             f" got {self.zero_dtype!r} beside symmetric={self.symmetric!r}")  # fmt: skip
        self.codec.check(self)

    @classmethod
    def int(cls, bits: int, symmetric: bool | str = True, group: int | str | None = None, **more) -> Scheme:
        """Integer scheme: group=None one scale a row, group="tensor" one in all, group=g one per g columns.

        >>> Scheme.int(4, symmetric=False, group="tensor") == Scheme("int4", (-1, -1), False)
        True
        """
        if _whole(bits) not in range(2, 9):
            raise ValueError(f"bits must be a whole number from 2 to 8, got {bits!r}")
        block = {None: (1, -1), "tensor": (-1, -1)}.get(group, (1, group))
        if isinstance(group, str) and group != "tensor":
            raise ValueError(f'group must be None, "tensor" or a number of columns, got {group!r}')
        return cls(f"int{_whole(bits)}", block, symmetric, **more)

    @property
    def codec(self):
        """The registered codec of this format (course_lib.formats.registry.Codec)."""
        from course_lib.formats import registry  # loaded late: formats stand below schemes

        return registry.get(self.format)

    @property
    def bits(self) -> int:
        """Bits of one code.

        >>> Scheme.int(3).bits
        3
        """
        return self.codec.bits

    @property
    def name(self) -> str:
        """Short name for tables and legends, such as "int4 g128 sym" or "int8 channel asym fp16"."""
        rows, cols = ("*" if n == -1 else n for n in self.block)
        shape = {(1, -1): "channel", (-1, -1): "tensor"}.get(self.block, f"g{cols}" if rows == 1 else f"{rows}x{cols}")
        dtype = _dtype_name(self.scale_dtype)
        parts = [self.format, shape, _SYMMETRY[self.symmetric], _SHORT.get(dtype, dtype)]
        parts += ["+tensor scale" if self.tensor_scale else "", self.scale_rule or ""]
        parts += [f"(scales {self.scale_scheme.name})" if self.scale_scheme else ""]
        parts += [f"zero {_SHORT[_dtype_name(self.zero_dtype)] or 'fp32'}" if self.zero_dtype else ""]
        return " ".join(p for p in parts if p)

    def to_dict(self) -> dict:
        """Plain values that JSON can hold, for a file header; from_dict is the way back.

        >>> Scheme.from_dict(Scheme.int(4, group=32).to_dict()) == Scheme.int(4, group=32)
        True
        """
        d = {f.name: getattr(self, f.name) for f in fields(self)}
        d |= {"block": list(self.block), "scale_dtype": _dtype_name(self.scale_dtype)}
        if self.zero_dtype is not None:
            d["zero_dtype"] = _dtype_name(self.zero_dtype)
        if self.scale_scheme is not None:
            d["scale_scheme"] = self.scale_scheme.to_dict()
        return {k: v for k, v in d.items() if v is not None}

    @classmethod
    def from_dict(cls, d: dict) -> Scheme:
        """The Scheme that to_dict wrote; ValueError names a key or a dtype that no Scheme has."""
        unknown = sorted(set(d) - {f.name for f in fields(cls)})
        if unknown or "format" not in d:
            raise ValueError(f"a scheme needs 'format' and no unknown keys, got {sorted(d)}")
        d = dict(d)
        for key in ("scale_dtype", "zero_dtype"):
            if isinstance(dtype := d.get(key), str):
                if dtype not in SCALE_DTYPES:
                    raise ValueError(f"{key} must be one of {', '.join(SCALE_DTYPES)}, got {dtype!r}")
                d[key] = SCALE_DTYPES[dtype]
        if isinstance(d.get("scale_scheme"), dict):
            d["scale_scheme"] = cls.from_dict(d["scale_scheme"])
        return cls(**d)

    def __repr__(self) -> str:
        shown = [f"block={self.block}", f"symmetric={self.symmetric!r}"]
        shown += [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[3:] if getattr(self, f.name) != f.default]
        return f"Scheme({self.format!r}, {', '.join(shown)})"


def _dtype_name(dtype: torch.dtype) -> str:
    """The name that a header holds: float16 for torch.float16."""
    return str(dtype).removeprefix("torch.")


def _checked_block(block) -> tuple[int, int]:
    """block as a tuple of two whole numbers, each -1 or at least 1."""
    sizes = tuple(_whole(n) for n in block) if isinstance(block, tuple | list) else ()
    if len(sizes) != 2 or any(n is None or n == 0 or n < -1 for n in sizes):
        raise ValueError(f"block must be (rows, cols), each -1 (whole axis) or at least 1, got {block!r}")
    return sizes


def _whole(n) -> int | None:
    """n as an int if it is a whole number of any integer type, else None."""
    try:
        return None if isinstance(n, bool) else operator.index(n)
    except TypeError:
        return None
