"""My curve: what the learner's quantizer costs and what it keeps, measured on the bundled model in a few seconds."""

import functools
from dataclasses import dataclass

from course_lib.checks import store

TEXT_BYTES = 12_000  # of held-out prose: about 5,000 tokens
MESSAGES, SEED = 24, 2026  # task messages, the same for every run, so that runs can be compared


@dataclass(frozen=True)
class Base:
    """The 16-bit model and what is compared with it."""

    model: object
    tokenizer: object
    reference: object  # evaluate.Reference on held-out prose
    examples: tuple
    bytes: int
    exact: int


@functools.cache
def base() -> Base:
    """The bundled model, loaded and measured once a session."""
    from course_lib import calibrate, evaluate, models

    model, tokenizer = models.load("bundled")
    reference = evaluate.Reference(model, tokenizer, models.texts.heldout("prose"), TEXT_BYTES, progress=False)
    examples = tuple(models.task.generate(MESSAGES, SEED))
    result = evaluate.task_accuracy(model, tokenizer, examples, progress=False, replies_only=True)
    return Base(model, tokenizer, reference, examples, calibrate.model_bytes(model), sum(result.correct))


def measure(model) -> dict:
    """Bytes as stored, KL to the 16-bit model with its standard error, and task replies exactly right, of n."""
    from course_lib import calibrate, evaluate

    compared = base().reference.compare(model, progress=False)
    task = evaluate.task_accuracy(model, base().tokenizer, base().examples, progress=False, replies_only=True)
    figures = {"bytes": calibrate.model_bytes(model), "kl": float(compared.kl), "kl_stderr": float(compared.kl_stderr)}
    return figures | {"exact": sum(task.correct), "n": task.n}


def keep(point: dict) -> list[str]:
    """Put one more point on the curve; returns a note where that was not possible."""
    try:
        store.append("curve", **point)
    except store.StoreError as err:
        return [f"Note: {err}."]
    return []


def points() -> list[dict]:
    """The latest run of each chapter and scheme, as `viz.plots.my_curve` takes them: name, bytes, kl, task, own."""
    found = {}
    for record in store.records("curve"):
        try:
            point = {key: record[key] for key in ("name", "scheme", "bytes", "kl", "own", "exact", "n")}
            point["task"] = point["exact"] / point["n"]
        except (KeyError, TypeError, ZeroDivisionError):
            continue
        found[point["name"], point["scheme"]] = point
    return list(found.values())


def figure():
    """My curve as a matplotlib figure, with the 16-bit model for comparison."""
    from course_lib import viz

    whole = {"name": "16 bits", "bytes": base().bytes, "task": base().exact / MESSAGES, "own": None}
    return viz.plots.my_curve([*points(), whole])


def described() -> str:
    """My curve in words."""
    said = [f"{p['name']}: {p['bytes'] / 1e6:.2f} MB, {p['exact']} of {p['n']} replies exactly right" for p in points()]
    return "My curve, bytes against exact replies. " + ("; ".join(said) or "No point yet") + "."
