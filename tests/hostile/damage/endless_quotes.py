"""Lines of nothing but quotes that never end: who reads them letter by letter looks at the whole line each time."""

CELLS = {name: f"{name} = '" + "\\'" * 49_000 for name in ("q1", "q3", "q5")}
DESERVED = dict.fromkeys(CELLS, 0)
