"""Returns a gigabyte of numbers, a string of 300 MB and a dict of a million keys."""

CELLS = {
    "q2": "def scale_up(s):\n    return torch.zeros(2**28)\n",
    "q3": "def split_error(w, s, b):\n    return {str(i): 0.0 for i in range(1_000_000)}\n",
    "q4": "def bits_needed(w, target_db):\n    return 'x' * 300_000_000\n",
    "q5": "def asym_round_trip(w, b):\n    return [w] * 3_000_000\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
TAME = False
SLOW = True
