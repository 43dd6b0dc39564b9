"""Raises what is no Exception: KeyboardInterrupt, GeneratorExit, a group, StopIteration, an asyncio cancellation."""

CELLS = {
    "q1": "def spare_code(w, b):\n    raise KeyboardInterrupt\n",
    "q2": "def scale_up(s):\n    raise GeneratorExit\n",
    "q3": "def split_error(w, s, b):\n    raise BaseExceptionGroup('', [SystemExit(), KeyboardInterrupt()])\n",
    "q4": "def bits_needed(w, target_db):\n    raise StopIteration(4.0)\n",
    "q5": "import asyncio\n\n\ndef asym_round_trip(w, b):\n    raise asyncio.CancelledError\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
