"""IPython's own language: magics, shell lines, question marks, time in front of a solution cell."""

from tests.hostile import bank

FIRST = (
    "%matplotlib inline\n%load_ext autoreload\n%autoreload 2",
    "!ls\nfiles = !echo a b\nprint(files)\n!pip install nothing-at-all-xyz > /dev/null 2>&1",
    "torch.round?\n%who\n%time 1 + 1",
    "%%bash\necho from bash",
    "%%writefile note.txt\nmy notes",
    "%no_such_magic 3",
)
CELLS = {
    "q2": "%%time\n" + bank.RIGHT["q2"],
    "q5": bank.RIGHT["q5"] + "\n\n%timeit -n 1 -r 1 asym_round_trip(torch.ones(3), 4)\n",
}
