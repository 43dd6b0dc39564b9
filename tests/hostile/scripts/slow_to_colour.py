"""Right answers, and below them endless blank lines and formats: a program that colours words takes minutes."""

from tests.hostile.bank import RIGHT

BLANK = "\n".join(["pass"] + [" " * 4] * 9_000)
CELLS = {
    "q1": RIGHT["q1"] + BLANK,
    "q2": f"{RIGHT['q2']}'%{'0' * 19_000}'",
    "q3": RIGHT["q3"] + "\n".join(f"'%{'0' * 900}'" for _ in range(20)),
}
