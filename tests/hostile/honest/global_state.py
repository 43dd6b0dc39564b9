"""Keeps counters and a memory of earlier results in globals, and seeds the random generators."""

FIRST = ("CALLS, SEEN = 0, {}\ntorch.manual_seed(0)\nimport random\n\nrandom.seed(0)",)
CELLS = {
    "q2": """
def scale_up(s):
    global CALLS
    CALLS += 1
    key = tuple(s.tolist())
    if key not in SEEN:
        SEEN[key] = (s.view(torch.int32) + 65535 & -65536).view(torch.float32)
    return SEEN[key]
"""
}
