"""Calls exit() and sys.exit() in cells, and asks the kernel to stop."""

FIRST = ("exit()", "import sys\n\nsys.exit(1)", "get_ipython().ask_exit()", "quit()")
