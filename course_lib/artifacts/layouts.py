"""The layouts by name, and the one that a config.json names."""

from __future__ import annotations

from course_lib.artifacts.awq import Awq
from course_lib.artifacts.compressed import Compressed
from course_lib.artifacts.gptq import Gptq
from course_lib.artifacts.layout import Layout

LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (Gptq("gptq", True), Gptq("gptq_v2", False), Awq(), Compressed())
}


def by_name(name) -> Layout:
    """The layout of this name; ValueError lists the known ones.

    >>> by_name("awq").bits
    (4,)
    """
    if not isinstance(name, str) or name not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(map(repr, LAYOUTS))}, got {name!r}")
    return LAYOUTS[name]


def of_config(config) -> Layout:
    """The layout of a `quantization_config`; ValueError where it is none that this library reads."""
    method = config.get("quant_method") if isinstance(config, dict) else None
    if method == "gptq":
        wanted = config.get("checkpoint_format") or config.get("format") or "gptq"
        if wanted in ("gptq", "gptq_v2"):
            return LAYOUTS[wanted]
        raise ValueError(f"quantization_config: checkpoint_format must be 'gptq' or 'gptq_v2', got {wanted!r}")
    if method not in ("awq", "compressed-tensors"):
        raise ValueError("quantization_config: quant_method must be 'gptq', 'awq' or 'compressed-tensors', got"
                         f" {method!r}")  # fmt: skip
    return LAYOUTS[method]
