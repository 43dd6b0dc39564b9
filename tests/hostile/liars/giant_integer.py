"""Returns an integer of a million digits, which Python refuses to print, and negative zero bits."""

CELLS = {"q4": "def bits_needed(w, target_db):\n    return 10**1_000_000\n"}
DESERVED = {"q4": 0}
