"""Returns a list that contains itself, and lists nested a hundred thousand deep."""

CELLS = {
    "q1": """
def spare_code(w, b):
    inside = []
    inside.append(inside)
    return inside, 1.0
""",
    "q3": """
def split_error(w, s, b):
    deep = 1.0
    for _ in range(100_000):
        deep = [deep]
    return {"rounding": deep, "clipping": 0.0, "sqnr_db": 0.0}
""",
}
DESERVED = {"q1": 0, "q3": 0}
