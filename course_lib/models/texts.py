"""The bundled texts: frozen prose and code slices and the generated task, in train and held-out parts."""

import functools
import lzma
from pathlib import Path

from course_lib.models import task

FOLDER = Path(__file__).parent / "texts"
DOMAINS = ("prose", "code", "task")
SEPARATOR = "\x1e"
HELDOUT_SEED, TRAIN_SEED = 1_000_003, 1_000_033


@functools.cache
def _slice(domain, split):
    data = lzma.decompress((FOLDER / f"{domain}.{split}.xz").read_bytes())
    return tuple(data.decode("utf-8").split(SEPARATOR))


def _documents(domain, split, n):
    if domain not in DOMAINS:
        raise ValueError(f"domain: expected one of {', '.join(DOMAINS)}, got {domain!r}")
    if domain == "task":
        seed = HELDOUT_SEED if split == "heldout" else TRAIN_SEED
        return [e.prompt + e.answer for e in task.generate(n or 200, seed)]
    return list(_slice(domain, split)[:n])


def heldout(domain, n=None):
    """Return documents of `domain` ("prose", "code" or "task") that the bundled model never saw.

    >>> len(heldout("prose", 3))
    3
    """
    return _documents(domain, "heldout", n)


def train(domain, n=None):
    """Return documents of `domain` from the training part; calibration text comes from here."""
    return _documents(domain, "train", n)


def more_code():
    """Return further modules of the training part, which the bundled model's later phases read as well."""
    return list(_slice("code", "more"))
