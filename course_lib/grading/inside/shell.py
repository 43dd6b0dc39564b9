"""What a notebook has beyond Python: magics, shell lines, display, await at the top level. Without IPython's shell."""

import inspect
import re

TIMED = {"time", "timeit", "capture", "prun", "python", "python3", "pypy"}  # cell magics whose body is Python
MAGIC = re.compile(r"(?m)^[ \t]*(%|!|\?)|\?\s*$|=\s*[%!]")


def plain_python(source: str) -> str:
    """The cell as Python: IPython's own rewriting, where there is something to rewrite."""
    if not MAGIC.search(source):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def install(names: dict, run_source) -> None:
    """Put into a namespace what a notebook's cells may call without an import."""
    names.update(get_ipython=lambda: Shell(run_source), display=display, exit=leave, quit=leave)


def display(*objects, **_options):
    """Show nothing, but compute what is shown, as a notebook would."""
    for thing in objects:
        repr(thing)


def leave(*_):
    """`exit()` in a cell: a kernel would start anew; here the rest of the cell is left out."""
    raise SystemExit("exit() in a cell")


class Shell:
    """As much of IPython's shell as cells use: magics that run Python run it, all others do nothing."""

    def __init__(self, run_source):
        self._run = run_source

    def run_cell_magic(self, name, _line, body):
        if name in TIMED:
            self._run(body)

    def run_line_magic(self, name, line, *_):
        if name in ("time", "timeit") and not line.lstrip().startswith("-"):
            self._run(line)

    def magic(self, line):
        name, _, rest = line.partition(" ")
        self.run_line_magic(name, rest)

    def system(self, *_):
        pass

    def getoutput(self, *_):
        return []


def finish(value) -> None:
    """Run a coroutine, which is what a statement with a top-level await gives."""
    if inspect.iscoroutine(value):
        import asyncio

        asyncio.run(value)
