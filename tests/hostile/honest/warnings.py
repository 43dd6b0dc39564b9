"""Warns, logs and writes to stderr; numpy and torch warn as well."""

FIRST = ("import logging, warnings\n\nwarnings.warn('old')\nlogging.basicConfig(level=10)\nlogging.debug('set up')",)
CELLS = {
    "q4": """
import numpy as np


def bits_needed(w, target_db):
    warnings.warn("slow", RuntimeWarning)
    logging.error("looking for %s dB", target_db)
    x = w.double().numpy()
    for b in range(2, 9):
        step = np.abs(x).max() / (2 ** (b - 1) - 1)
        q = np.nan_to_num(np.round(x / step))  # warns for a row of zeros
        noise = ((x - step * q) ** 2).sum()
        with np.errstate(all="warn"):
            if noise == 0 or 10 * np.log10((x**2).sum() / noise) >= target_db:
                return b
    return None
"""
}
