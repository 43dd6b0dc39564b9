"""Asks for input, sleeps a moment, waits for a coroutine at top level, sets the recursion limit."""

FIRST = (
    "name = input('your name? ')",
    "import asyncio, time\n\ntime.sleep(0.05)\nawait asyncio.sleep(0.01)\nREADY = True",
    "import sys\n\nsys.setrecursionlimit(5000)",
)
