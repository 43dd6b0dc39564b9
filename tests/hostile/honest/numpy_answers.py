"""Returns numpy arrays and numpy numbers where tensors and numbers are asked for."""

CELLS = {
    "q1": """
import numpy as np


def spare_code(w, b):
    w = w.numpy()
    top = 2 ** (b - 1)
    big = float(w[np.argmax(np.abs(w))])
    s = -big / top if big else 1.0
    return np.clip(np.round(w / s), -top, top - 1).astype("int8"), np.float64(s)
""",
    "q3": """
def split_error(w, s, b):
    w = w.numpy().astype("float64")
    top = 2 ** (b - 1) - 1
    code = np.rint(w / s)
    e = (w - s * np.clip(code, -top, top)) ** 2
    out = np.abs(code) > top
    with np.errstate(divide="ignore"):
        return {"rounding": e[~out].sum(), "clipping": e[out].sum(), "sqnr_db": 10 * np.log10((w * w).sum() / e.sum())}
""",
    "q4": """
def bits_needed(w, target_db):
    w = w.numpy().astype("float64")
    for b in np.arange(2, 9):
        s = np.abs(w).max() / (2 ** (b - 1) - 1)
        n = ((w - s * np.rint(w / s)) ** 2).sum() if s else 0
        if n == 0 or 10 * np.log10((w * w).sum() / n) >= target_db:
            return b
""",
    "q5": """
def asym_round_trip(w, b):
    x = w.numpy().astype("float64")
    lo, hi = min(x.min(), 0), max(x.max(), 0)
    s = (hi - lo) / (2**b - 1) or 1.0
    z = np.rint(-lo / s)
    return s * (np.clip(np.rint(x / s) + z, 0, 2**b - 1) - z)
""",
}
