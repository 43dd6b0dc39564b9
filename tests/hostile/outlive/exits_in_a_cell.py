"""Ends the process from the cell itself, before any function is called."""

CELLS = {"q3": "import os\n\nos._exit(0)\n"}
DESERVED = {"q3": 0}
TAME = False
