"""Another file name, as browsers give it to a second download."""

FILE = "ps01-round-trips-and-scales (1).ipynb"
STATUS = {"recovered", "graded", "needs_manual"}
