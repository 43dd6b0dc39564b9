"""Who made this? A verdict on fingerprints, with its reason; what the numbers do not bear stays untold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from course_lib.artifacts.fingerprints import Fingerprints

NEAREST = "round to nearest"
NARROWED = "round to nearest, ranges narrowed"
GPTQ = "GPTQ, columns in their order"
ACT_ORDER = "GPTQ, the most active columns first"
FITTED = "fitted to the inputs, in a way that cannot be told"
SCALED = "channels scaled, then rounded to nearest (as AWQ does)"
UNKNOWN = "cannot tell"
GGML = "ggml's quantizer, without an importance matrix"
GGML_OTHER = "not what ggml's quantizer writes without an importance matrix"
GGML_EITHER = "ggml's quantizer, with an importance matrix or without"
GGML_NEITHER = "not what ggml's quantizer writes"
MLX = "mlx.core.quantize"

_ALIKE = 0.7  # two bits leave a cosine of 0.85 and more
_ALL = 0.999  # of the codes: a few ties may go either way
_FEW = 0.01  # of the blocks
_SURE = 4  # standard errors, 1/√(columns - 1) each, of a rank correlation that is to mean an order
_CLEAN = 0.99  # of the codes of the column that came first
_LOUD = 0.35  # correlation of a column's factor with its inputs; GPTQ's stay below 0.3
_MANY = 0.05  # of the codes are not nearest: AWQ that scales by little, and QAT's first steps, leave fewer
_LESS = 0.9  # output error against the nearest codes'


@dataclass(frozen=True)
class Maker:
    """Who made a linear, and a sentence that says which numbers told."""

    name: str
    why: str


def maker(f: Fingerprints) -> Maker:
    """The maker of a linear, told from its fingerprints, in this order:

    1. w and ŵ are not alike: nothing can be told.
    2. All codes are the nearest: round to nearest. Its scales tell whether ranges were narrowed (mse, percentile).
    3. All codes are the nearest to r·w·c: channels were scaled first.
    4. Codes that are not nearest grow in number along an order of columns that begins with none: GPTQ in that order.
    5. The output error is smaller than with the nearest codes on the same grid: made with the inputs in view.

    AWQ with α = 0, or GPTQ on inputs without any correlation, *is* rounding to nearest: no number can tell them.
    """
    if f.alike < _ALIKE:
        return Maker(UNKNOWN, f"the cosine with the original is only {f.alike:.2f}: another weight, or a rotated one")
    if f.nearest >= _ALL:
        return _nearest(f)
    if 1 - f.scaled < min(0.5 * (1 - f.nearest), 0.04):
        return Maker(SCALED, f"{f.nearest:.0%} of the codes are nearest; with row and column factors {f.scaled:.1%}")
    return _updated(f)


def ggml_maker(same: float | None, heeds: bool = True) -> Maker:
    """The maker of a GGUF tensor, from the share of blocks that ggml writes for w (`fingerprints.same_blocks`).

    heeds  whether an importance matrix changes such blocks (`BlockType.uses_imatrix`); Q8_0 ignores it
    """
    if same is None:
        return Maker(UNKNOWN, "this type of block is not written here, or not without an importance matrix")
    if not heeds:
        which = f"{same:.1%} of the blocks are what it writes for these weights; this type ignores such a matrix"
        return Maker(GGML_EITHER if same == 1 else GGML_NEITHER, which)
    if same == 1:
        return Maker(GGML, "every block is, byte for byte, what it writes for these weights")
    return Maker(GGML_OTHER, f"{same:.0%} of the blocks are what it writes: an importance matrix, or other weights")


def mlx_maker(same: float) -> Maker | None:
    """The maker of an MLX layer, from the share of groups that MLX writes for w (`fingerprints.same_groups`).

    None where that is not all of them: then the layer's fingerprints may tell.
    """
    return Maker(MLX, "every group is, bit for bit, what it writes for these weights") if same == 1 else None


def verdict(makers: Iterable[Maker]) -> str:
    """One line on all linears of a file: the makers, the most frequent first, with how many linears each."""
    counted = Counter(maker.name for maker in makers)
    total = sum(counted.values())
    return "; ".join(f"{name} ({n} of {total})" for name, n in counted.most_common())


def _nearest(f: Fingerprints) -> Maker:
    codes = f"{f.nearest:.1%} of the codes are nearest"
    if f.whole >= 1 - _FEW:
        return Maker(NEAREST, f"{codes}, and each scale is what its block's largest weight asks for")
    if f.wider <= _FEW:
        return Maker(NARROWED, f"{codes}; the scales are {f.range:.2f} of what the largest weights ask for, never more")
    return Maker(NEAREST, f"{codes}; how the scales were found cannot be told ({f.range:.2f} of the largest weight)")


def _updated(f: Fingerprints) -> Maker:
    codes = f"{1 - f.nearest:.1%} of the codes are not nearest"
    by_activity, ordered = -1.0 if f.by_activity is None else f.by_activity, min(0.7, _SURE / (f.columns - 1) ** 0.5)
    many = 1 - f.nearest > _MANY
    if many and f.by_place > max(ordered, by_activity) and f.first_place >= _CLEAN and not f.reordered:
        return Maker(GPTQ, f"{codes}: none in the first column, and more the later the column")
    scaled = f.loudness is not None and f.loudness > _LOUD  # AWQ's factors, too, leave codes that follow loudness
    if many and by_activity > max(ordered, f.by_place) and f.first_activity >= _CLEAN and not scaled:
        return Maker(ACT_ORDER, f"{codes}: none in the most active column, and more the quieter the column")
    if f.reordered:
        return Maker(ACT_ORDER, f"{codes}, and g_idx puts columns into groups out of their order")
    if f.output is None:
        return Maker(UNKNOWN, f"{codes}; activations (H) would tell more")
    if f.output < _LESS:
        return Maker(FITTED, f"{codes}, and the output error is {f.output:.2f} of nearest's")
    return Maker(UNKNOWN, f"{codes}, and the output error is no smaller for it ({f.output:.2f} of nearest's)")
