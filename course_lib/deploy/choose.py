"""Which artifact on which runtime to try first, for a model, a machine and a load: the bottleneck decides.

Sizes and ceilings are those of `capacity.plan`. What comes out is a candidate to measure, with the reason and with what
would change it. It is no verdict: that is the gate's.
"""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.capacity.plan import Plan, plan
from course_lib.capacity.plan.models import config_of
from course_lib.capacity.plan.speed import bound, figures

LOCAL = ("ddr5-laptop", "m4-max")  # llama.cpp's home; vLLM's INT4 and FP8 kernels are written for GPUs of servers
PATHS = (  # key, artifact, runtime, weights as capacity.plan calls them, bits of a cached number
    ("bf16", "BF16 checkpoint", "vLLM", "bf16", 16),
    ("fp8", "FP8 checkpoint", "vLLM", "fp8", 16),
    ("awq", "AWQ or GPTQ, 4 bits", "vLLM", "awq", 16),
    ("nvfp4", "NVFP4 checkpoint", "vLLM", "nvfp4", 16),
    ("awq+kv8", "AWQ or GPTQ, FP8 cache", "vLLM", "awq", 8),
    ("gguf", "GGUF Q4_K_M", "llama.cpp", "Q4_K_M", 16),
)


@dataclass(frozen=True)
class Path:
    """An artifact together with its runtime, and what it would need here."""

    key: str
    artifact: str
    runtime: str
    plan: Plan
    why_not: str  # "" where nothing speaks against it

    @property
    def tokens_per_s(self) -> float:
        """The roofline's ceiling, all sequences together."""
        return next(figure.value for figure in figures(self.plan) if figure.key == "speed")


@dataclass(frozen=True)
class Choice:
    """What to try first, why, and all paths that were weighed. `first` is None where nothing fits."""

    first: Path | None
    reason: str
    paths: tuple[Path, ...]

    @property
    def least(self) -> Path:
        """The path that needs least memory, of those that this machine has kernels for."""
        local = self.paths[0].plan.on.name in LOCAL
        return min((p for p in self.paths if p.key == "gguf" or not local), key=lambda path: path.plan.total)


def choose(model: str, machine: str, context: int = 8192, batch: int = 1) -> Choice:
    """The first candidate for a model on one machine, for `batch` sequences of `context` tokens each.

    ValueError for a mixture of experts whose GGUF files are not planned, such as gpt-oss.

    >>> choose("llama-3-8b", "h100-sxm", 4096, 8).first.key, choose("llama-3-8b", "m4-max").first.key
    ('fp8', 'gguf')
    """
    name, config = config_of(model)
    found = []
    for key, artifact, runtime, weights, kv_bits in PATHS:
        p = plan(config, machine, context, batch, weights, kv_bits, name=name)
        found.append(Path(key, artifact, runtime, p, _against(key, p)))
    by_key = {path.key: path for path in found}
    first, reason = _decide(by_key, machine)
    return Choice(by_key.get(first), reason, tuple(found))


def _against(key: str, p: Plan) -> str:
    local, units = p.on.name in LOCAL, p.on.native
    if key != "gguf" and local:
        return "its kernels are for server GPUs"
    if key == "fp8" and not {"fp8", "fp8-fnuz"} & set(units):
        return "no FP8 units: expanded on the way"
    if key == "nvfp4" and "fp4" not in units:
        return "no FP4 units: expanded on the way"
    if key == "gguf" and not p.fits and not local and not _weights_fit(p):
        return "only partly on the GPU"
    return "" if p.fits else "does not fit"


def _decide(paths: dict[str, Path], machine: str) -> tuple[str | None, str]:
    """The tree: runtime first, then the mildest compression that fits and that the machine multiplies by itself."""
    fits = {key for key, path in paths.items() if not path.why_not}
    if machine in LOCAL:
        if "gguf" in fits:
            return (
                "gguf",
                "On a laptop's CPU or on Apple silicon the common runtime is llama.cpp, and its file is GGUF.",
            )
        return None, _too_much(
            paths["gguf"].plan, "there is no other memory to put layers into, so take a smaller model"
        )
    if "fp8" in fits:
        busy = bound(paths["fp8"].plan) == "arithmetic"
        more = "At this batch arithmetic sets the pace, which weights of 4 bits would not quicken." if busy else (
            "It is a milder step than 4 bits; go on to those only if the room or the pace is not enough.")  # fmt: skip
        return "fp8", f"The machine multiplies FP8 by itself, and the weights fit at 8 bits. {more}"
    if "nvfp4" in fits:
        return "nvfp4", "8 bits do not fit, 4 do, and this machine multiplies FP4 by itself. Check the task closely."
    if "awq" in fits:
        mild = "There are no FP8 units here" if "FP8" in paths["fp8"].why_not else "8 bits do not fit"
        more = "; BF16 fits, too, and is the fallback" if "bf16" in fits else ""
        return "awq", f"{mild}; 4-bit weights stay on the GPU and are expanded inside the kernel{more}."
    if "awq+kv8" in fits:
        return (
            "awq+kv8",
            "The weights fit at 4 bits, the cache of this load does not: halve the cache, then look again.",
        )
    if _weights_fit(paths["awq+kv8"].plan):
        return None, _too_much(paths["awq+kv8"].plan, "")
    return "gguf", "Not even 4 bits fit on the GPU: GGUF with some layers in main memory, at main memory's pace."


def _weights_fit(p: Plan) -> bool:
    return p.weight_bytes + p.reserve_bytes <= p.memory


def _too_much(p: Plan, otherwise: str) -> str:
    if _weights_fit(p) and p.batch == 1:
        return f"The weights fit; one sequence of {p.context:,} tokens does not: a shorter one."
    if _weights_fit(p):
        return f"The weights fit; {p.batch} sequences of {p.context:,} tokens do not: fewer at once, or shorter ones."
    return f"Not even 4 bits a weight fit: {otherwise}."
