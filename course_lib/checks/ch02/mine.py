"""Chapter 02's part of the learner's quantizer: asymmetric, four bits, one scale and one zero point a row."""

from course_lib.checks.quantizer import Recipe
from course_lib.qtensor import QTensor, gather_blocks, grid_shape, split_blocks, spread
from course_lib.scheme import Scheme


def quantize(pieces, w, scheme):
    """Each block of w (out, in) by `group_parameters`; the codes are the format's, on that grid.

    ValueError for a symmetric scheme, which has no room for zero points.
    """
    if scheme.symmetric is not False:
        raise ValueError(f"this chapter's quantizer is asymmetric: Scheme.int(…, symmetric=False), got {scheme.name}")
    split = split_blocks(w, scheme.block)  # (rows/br, br, cols/bc, bc)
    blocks = gather_blocks(split)  # (rows/br, cols/bc, br*bc)
    grid = grid_shape(w.shape, scheme.block)
    s, z = (t.reshape(grid) for t in pieces.group_parameters(blocks.flatten(0, 1), scheme.bits))
    s = s.to(scheme.scale_dtype)
    codes = scheme.codec.encode(split, spread(s.float()), spread(z.float())).reshape(w.shape)
    return QTensor(codes, s, z.byte(), scheme, tuple(w.shape))


RECIPE = Recipe(
    "4 bits, asymmetric, one scale and one zero point a row",
    Scheme.int(4, symmetric=False),
    ("group_parameters",),
    quantize,
)
