"""The layouts by name, and the one that a config.json names."""

from __future__ import annotations

from course_lib.artifacts.awq import Awq
from course_lib.artifacts.compressed import Compressed
from course_lib.artifacts.gptq import Gptq
from course_lib.artifacts.layout import Layout
from course_lib.artifacts.mlx import Mlx

LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (Gptq("gptq", True), Gptq("gptq_v2", False), Awq(), Compressed(), Mlx())
}


def by_name(name) -> Layout:
    """The layout of this name; ValueError lists the known ones.

    >>> by_name("awq").bits
    (4,)
    """
    if not isinstance(name, str) or name not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(map(repr, LAYOUTS))}, got {name!r}")
    return LAYOUTS[name]


def claimed(config: dict):
    """What a config.json says of quantization, None where it says nothing; ValueError where its two places disagree.

    MLX writes it twice, as `quantization` and as `quantization_config`, and older MLX only the first of them.
    """
    found = [config[key] for key in ("quantization_config", "quantization") if config.get(key) is not None]
    if len(found) == 2 and found[0] != found[1]:
        raise ValueError("config.json: quantization and quantization_config must say the same, and they differ")
    return found[0] if found else None


def of_config(config) -> Layout:
    """The layout of a `quantization_config`; ValueError where it is none that this library reads."""
    method = config.get("quant_method") if isinstance(config, dict) else None
    if method is None and isinstance(config, dict) and {"bits", "group_size"} <= set(config):
        return LAYOUTS["mlx"]  # names no method
    if method == "gptq":
        wanted = config.get("checkpoint_format") or config.get("format") or "gptq"
        if wanted in ("gptq", "gptq_v2"):
            return LAYOUTS[wanted]
        raise ValueError(f"quantization_config: checkpoint_format must be 'gptq' or 'gptq_v2', got {wanted!r}")
    if method not in ("awq", "compressed-tensors"):
        raise ValueError("quantization_config: quant_method must be 'gptq', 'awq' or 'compressed-tensors', or missing"
                         f" beside MLX's bits and group_size, got {method!r}")  # fmt: skip
    return LAYOUTS[method]
