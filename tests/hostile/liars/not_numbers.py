"""Returns complex numbers, bytes, sets, generators, ranges, modules and the function itself."""

CELLS = {
    "q1": "def spare_code(w, b):\n    return (x for x in (w, 1.0))\n",
    "q2": "def scale_up(s):\n    return torch\n",
    "q3": "def split_error(w, s, b):\n    return {b'rounding': 1j, 3: {1, 2}, None: range(5)}\n",
    "q4": "def bits_needed(w, target_db):\n    return bits_needed\n",
    "q5": "def asym_round_trip(w, b):\n    return w.to(torch.complex64)\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
