"""The source of the notebook cell that defines a function, made fit to be saved: without checks and magics."""

import ast
import inspect
import linecache
import os
import sys
import textwrap

COURSE_NAMES = {"check", "predict", "warmup", "mine", "review", "get_ipython", "display"}


def cell_of(answer) -> str | None:
    """The whole cell that defines a function; of a function from a file, its own source; None if there is neither."""
    filename = getattr(getattr(answer, "__code__", None), "co_filename", "")
    if os.path.exists(filename):
        try:
            return textwrap.dedent(inspect.getsource(answer))
        except (OSError, TypeError):
            return None
    lines = linecache.getlines(filename) if filename else []
    return "".join(lines) or _running_cell()


def _running_cell() -> str | None:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell = get_ipython()
    inputs = shell.user_ns.get("In", []) if shell else []
    return inputs[-1] if inputs else None


def without_checks(source: str) -> str:
    r"""The source with every top-level statement commented out that calls the course or IPython.

    >>> without_checks("def f(x):\n    return x\n\ncheck.ch00.f(f)")
    'def f(x):\n    return x\n\n# check.ch00.f(f)'
    """
    source = _inside_cell_magic(source)
    tree = ast.parse(source)
    dropped = [node for node in tree.body if _calls_course(node)]
    if not dropped:
        return source.strip("\n")
    kept = [node for node in tree.body if node not in dropped]
    numbers = {line for node in dropped for line in range(node.lineno, node.end_lineno + 1)}
    if any(line in numbers for node in kept for line in range(node.lineno, node.end_lineno + 1)):
        return ast.unparse(ast.Module(kept, []))  # several statements on one line
    lines = source.split("\n")
    return "\n".join(f"# {line}" if i + 1 in numbers else line for i, line in enumerate(lines)).strip("\n")


def _calls_course(node) -> bool:
    if not isinstance(node, (ast.Expr, ast.Assign)):
        return False
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return bool(names & COURSE_NAMES)


def _inside_cell_magic(source: str) -> str:
    """The body of a cell that begins with a cell magic such as %%time, in IPython's own transformed form."""
    tree = ast.parse(source)
    call = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return source
    if call.func.attr != "run_cell_magic" or len(call.args) != 3 or not isinstance(call.args[2], ast.Constant):
        return source
    body = str(call.args[2].value)
    return "\n".join(f"# {line}" if line.lstrip()[:1] in ("%", "!") else line for line in body.split("\n"))
