"""A progress bar that shows only where somebody watches, and only for work that takes a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def bar(items: Iterable[T], what: str, progress: bool | None = None, total: int | None = None) -> Iterable[T]:
    """`items`, with a bar named `what` while they are used up.

    progress True shows it, False never does, None shows it in a notebook and in a terminal. A bar appears after half
    a second and is wiped when it is full. Where TQDM_DISABLE is set there is none: tqdm's bars for notebooks ignore it.

    >>> list(bar("ab", "letters", progress=False))
    ['a', 'b']
    """
    if os.environ.get("TQDM_DISABLE") or not (_watched() if progress is None else progress):
        return items
    return _kind()(items, desc=what, total=total, leave=False, delay=0.5)


def _kind() -> type:
    """tqdm's bar for here; in a notebook one that leaves nothing behind, so that a saved notebook opens without it."""
    from tqdm.auto import tqdm

    if all(kind.__module__ != "tqdm.notebook" for kind in tqdm.__mro__):
        return tqdm

    class Bar(tqdm):
        def display(self, *args, close=False, check_delay=True, **kwargs):
            if check_delay and not self.displayed:
                from IPython.display import display

                self.place, self.displayed = display(self.container, display_id=True), True
            super().display(*args, close=close, check_delay=False, **kwargs)
            if close and self.displayed:
                self.place.update({}, raw=True)

    return Bar


def _watched() -> bool:
    """True in a notebook kernel or on a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None or (sys.stderr is not None and sys.stderr.isatty())


def each(mapping: dict[str, T], what: str, progress: bool | None = None) -> Iterator[tuple[str, T]]:
    """The items of a mapping under a bar."""
    yield from bar(mapping.items(), what, progress, total=len(mapping))
