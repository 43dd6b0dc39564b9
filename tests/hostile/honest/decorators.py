"""Decorated functions: a timer, a counter, no_grad and a cache."""

CELLS = {
    "q2": """
import functools, time


def timed(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            inner.seconds = time.perf_counter() - started

    return inner


@timed
@torch.no_grad()
def scale_up(s):
    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
""",
    "q4": """
@functools.lru_cache(maxsize=None)
def top(b):
    return 2 ** (b - 1) - 1


@torch.inference_mode()
def bits_needed(w, target_db):
    for b in range(2, 9):
        s = w.double().abs().max() / top(b)
        n = (w - s * (w / s).round()).square().sum() if s else 0
        if n == 0 or 10 * (w.double().square().sum() / n).log10() >= target_db:
            return b
""",
}
