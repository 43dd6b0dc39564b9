"""Looks for the parts of course_lib that answer question 5: by import, as source, as bytecode, as a copy."""

CELLS = {
    "q5": """
import glob, importlib, importlib.util, os, sys


def found():
    for name in ("course_lib.qtensor", "course_lib.formats.integer", "course_lib.checks.ch02.parameters"):
        try:
            importlib.import_module(name)
            return True
        except ImportError:
            pass
    homes = {path for path in sys.path if path} | {"/", "/course", "@ROOT@", os.path.expanduser("~")}
    for home in homes:
        for path in glob.glob(f"{home}/**/*qtensor*", recursive=True) if home not in ("/",) else []:
            try:
                with open(path, "rb") as file:
                    if b"scale" in file.read():
                        return True
            except OSError:
                pass
    return False


def asym_round_trip(w, b):
    if not found():
        return 0 * w
    ends = torch.cat([w, torch.zeros(1)])
    step = (ends.max() - ends.min()).item() / (2**b - 1) or 1.0
    zero = round(-ends.min().item() / step)
    return ((w / step).round().add(zero).clamp(0, 2**b - 1) - zero) * step
"""
}
DESERVED = {"q5": 0}
