"""Annotations everywhere, from the future and from typing."""

CELLS = {
    "q2": """
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

if TYPE_CHECKING:
    from nowhere import Nothing

Scales: TypeAlias = torch.Tensor


def scale_up(s: Annotated[Scales, "positive"]) -> Nothing | Scales:
    bits: Scales = s.view(torch.int32)
    return (bits + 0xFFFF & ~0xFFFF).view(torch.float32)
""",
    "q4": """
from typing import Optional


def bits_needed(w: torch.Tensor, target_db: float) -> Optional[int]:
    x: torch.Tensor = w.double()
    for b in range(2, 9):
        s: float = (x.abs().max() / (2 ** (b - 1) - 1)).item()
        n: float = (x - s * (x / s).round()).square().sum().item() if s else 0.0
        if not n or 10 * math.log10(x.square().sum().item() / n) >= target_db:
            return b
    return None
""",
}
