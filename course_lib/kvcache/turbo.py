"""TurboQuant: turn a vector at random, then one fixed table of levels and one length serve every vector alike.

    x̂ = n · t[codes] Rᵀ / √d        codes: the nearest of the levels t to each coordinate of √d x R / ‖x‖

√d times a coordinate of a random unit vector is almost N(0, 1), whatever x was, so that t is the table of Lloyd and Max
for N(0, 1) and nothing is calibrated. Sources: Zandieh et al., "TurboQuant" (2025, arXiv 2504.19874); Vargaftik et al.,
"DRIVE" (2021) and "EDEN" (2022), who had the rotation and the table before, and whose length is "unbiased".
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from course_lib.formats.packing import pack, unpack

LENGTHS = ("norm", "unbiased")


@functools.cache
def levels(bits: int) -> Tensor:
    """The 2^bits numbers (2^bits,) float32 that leave N(0, 1) the least mean squared error: Lloyd (1957), Max (1960).

        t_i ← (φ(a) − φ(b)) / (Φ(b) − Φ(a))        a, b: the middles between t_i and its neighbours

    Each level moves to the mean of what is nearest to it, as in `points.lloyd`, but of the density, not of a sample.
    ValueError unless bits is from 1 to 5.

    >>> [round(t, 3) for t in levels(2).tolist()]
    [-1.51, -0.453, 0.453, 1.51]
    """
    if bits not in (1, 2, 3, 4, 5) or isinstance(bits, bool):
        raise ValueError(f"bits must be a whole number from 1 to 5, got {bits!r}")
    t = math.sqrt(3) * torch.special.ndtri(torch.arange(0.5, 2**bits, dtype=torch.float64) / 2**bits)  # near, for many
    end = torch.tensor([torch.inf], dtype=torch.float64)
    for _ in range(600):
        at = torch.cat([-end, (t[1:] + t[:-1]) / 2, end])
        t = -torch.exp(-at.square() / 2).diff() / math.sqrt(2 * math.pi) / torch.special.ndtr(at).diff()
    return t.float()


def random_rotation(d: int, seed: int = 0) -> Tensor:
    """A rotation (d, d) float32, each as likely as any other: Q of a Gaussian matrix, R's diagonal positive.

    Source: Mezzadri (2007). `calibrate.hadamard(d, seed)` costs fewer operations and is less random: it turns a vector
    with one number that is not 0 into d numbers of one size.

    >>> R = random_rotation(8)
    >>> torch.allclose(R @ R.T, torch.eye(8), atol=1e-6)
    True
    """
    if not isinstance(d, int) or isinstance(d, bool) or d < 1:
        raise ValueError(f"d must be a whole number of at least 1, got {d!r}")
    q, r = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return (q * r.diagonal().sign()).float()


class Turbo:
    """A code for vectors of d numbers: `encode` and `decode`, bytes and float16 lengths.

    bits      of a coordinate, 1 to 5; 2.75 gives three quarters of the coordinates 3 bits and the others 2
    R         the rotation (d, d): `random_rotation(d)` or `calibrate.hadamard(d, seed)`; d in multiples of 8
    length    what n is: "norm", ‖x‖, as in the paper; or "unbiased", ‖x‖² / (x · u) with u = t[codes] Rᵀ / √d, so that
              x · x̂ = ‖x‖² and the mean of q · x̂ over all rotations is q · x (DRIVE, EDEN)
    sketch    None, or S (m, d) of N(0, 1), m in multiples of 8: QJL's bits sign(S r) of what is left, r = x − x̂, and
              ‖r‖ in float16. Then decode adds √(π/2) ‖r‖ Sᵀ sign(S r) / m, whose mean over S is r:
              the mean of q · x̂ is q · x, its variance (π/2 ‖q‖² ‖r‖² − (q · r)²) / m. With length = "norm".

    ValueError for other bits, lengths and shapes, and for an R that is no rotation.

    >>> turbo = Turbo(2.75, random_rotation(64))
    >>> codes, lengths = turbo.encode(torch.randn(10, 64))
    >>> codes.shape, lengths.dtype, turbo.bits_per_element
    (torch.Size([10, 22]), torch.float16, 3.0)
    """

    def __init__(self, bits: float, R: Tensor, length: str = "norm", sketch: Tensor | None = None):
        d = R.shape[-1] if R.dim() == 2 else 0
        if d == 0 or d % 8 or R.shape[0] != d or (R @ R.T - torch.eye(d, device=R.device)).abs().max() > 1e-4:
            raise ValueError(f"R must be a rotation (d, d), d a multiple of 8, got a tensor of shape {tuple(R.shape)}")
        if isinstance(bits, bool) or not 1 <= bits <= 5 or bits * d % 8:
            raise ValueError(f"bits must be from 1 to 5 and {d} of them whole bytes, got {bits!r}")
        if length not in LENGTHS or (sketch is not None and length != "norm"):
            raise ValueError(f'length must be one of {", ".join(LENGTHS)}, beside a sketch "norm", got {length!r}')
        if sketch is not None and (sketch.dim() != 2 or sketch.shape[1] != d or not len(sketch) or len(sketch) % 8):
            raise ValueError(f"sketch must be (m, {d}), m a multiple of 8, got {tuple(sketch.shape)}")
        self.R, self.length, self.sketch = R.float(), length, sketch
        more = round((bits - int(bits)) * d)
        self.parts = [(n, b) for n, b in ((more, int(bits) + 1), (d - more, int(bits))) if n]  # coordinates, bits each
        self.sizes = [n * b // 8 for n, b in self.parts]

    @property
    def bits_per_element(self) -> float:
        """Bits of one number with its share of the lengths, and of the sketch."""
        m = 0 if self.sketch is None else len(self.sketch) + 16
        return (sum(self.sizes) * 8 + 16 + m) / len(self.R)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes (…, n) uint8 and lengths (…, 1), or (…, 2) with a sketch, float16, of x (…, d).

        ValueError where x does not have d channels, or a length does not fit float16.
        """
        if x.dim() == 0 or x.shape[-1] != len(self.R) or not x.numel():
            raise ValueError(f"x must hold vectors of {len(self.R)} channels, as R does, got shape {tuple(x.shape)}")
        x = x.float()
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        turned = x @ self.R.to(x.device) * (len(self.R) ** 0.5 / torch.where(norm == 0, 1, norm))
        packed = torch.cat([pack(_codes(u, b), b) for u, (n, b) in self._split(turned)], -1)
        if self.length == "unbiased":
            norm = norm * len(self.R) / (turned * self._levels(packed)).sum(-1, keepdim=True).clamp(min=1e-3)
        lengths = _half(norm)
        if self.sketch is not None:
            rest = x - self.decode(packed, lengths, sketch=False)
            signs = rest @ self.sketch.to(x).T > 0
            packed = torch.cat([packed, pack(signs.to(torch.uint8), 1)], -1)
            lengths = torch.cat([lengths, _half(torch.linalg.vector_norm(rest, dim=-1, keepdim=True))], -1)
        return packed, lengths

    def decode(self, packed: Tensor, lengths: Tensor, sketch: bool = True) -> Tensor:
        """x̂ (…, d) float32 of what `encode` gave; sketch=False leaves the sketch's part out."""
        x = self._levels(packed) @ self.R.to(packed.device).T * (lengths[..., :1].float() / len(self.R) ** 0.5)
        if self.sketch is None or not sketch:
            return x
        m = len(self.sketch)
        signs = unpack(packed[..., sum(self.sizes) :].contiguous(), 1, m).float() * 2 - 1
        return x + signs @ self.sketch.to(x) * (lengths[..., 1:].float() * math.sqrt(math.pi / 2) / m)

    def _split(self, turned: Tensor):
        return zip(turned.split([n for n, _ in self.parts], -1), self.parts, strict=True)

    def _levels(self, packed: Tensor) -> Tensor:
        """The levels (…, d) that the codes stand for."""
        chunks = packed[..., : sum(self.sizes)].split(self.sizes, -1)
        return torch.cat(
            [
                levels(b).to(c.device)[unpack(c.contiguous(), b, n).long()]
                for c, (n, b) in zip(chunks, self.parts, strict=True)
            ],
            -1,
        )


def _codes(u: Tensor, bits: int) -> Tensor:
    """Numbers of the nearest levels, uint8."""
    t = levels(bits).to(u.device)
    return torch.bucketize(u.contiguous(), (t[1:] + t[:-1]) / 2).to(torch.uint8)


def _half(lengths: Tensor) -> Tensor:
    found = lengths.half()
    if not torch.isfinite(found).all():
        raise ValueError("x must be finite and its vectors no longer than 65504: a length does not fit float16")
    return found
