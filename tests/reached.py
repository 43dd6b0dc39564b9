"""Which cells of a notebook solved exercises can change, read from their code without running it.

A cell is reached if it is an exercise, or if it uses a name that was made or changed by an exercise, by a reached cell
or by something that knows what was passed. Once the exercises are solved it runs again. Any other cell would only do
once more what it has just done. A name that such a cell made is kept, if nothing changes it afterwards; otherwise the
cell runs again, so that the name has the value that it had there.
"""

import ast
import dis
import re
import types
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

# what knows what was passed: `mine`, `review`, and of course_lib.checks all but the texts of single exercises
KNOWS = re.compile(
    r"course_lib\.(mine|review)$|course_lib\.checks(?!\.ch\d\d\.)|course_lib\.checks\..*\.(mine|followups)\."
)
# after these the name's old value is gone
BINDS = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
LOADS, STORES, DELETES = ((f"{verb}_NAME", f"{verb}_GLOBAL") for verb in ("LOAD", "STORE", "DELETE"))


@dataclass
class Statement:
    """What one statement of a cell does with names."""

    reads: set
    writes: set
    touches: set  # perhaps changed in place
    knows: set  # of the imported ones
    imports: bool
    defines: bool
    binds: bool


def statements(source):
    """A cell's statements; its magics become calls of IPython."""
    body = ast.parse(TransformerManager().transform_cell(source)).body
    return [_statement(part) for node in body for part in _parted(node)]


def _parted(node):
    """`a, b = x, y` as `a = x` and `b = y`, where the values use neither a nor b."""
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)) if len(names) == len(values):
            if not _operands([node], *LOADS) & _operands([node], *STORES):
                return [ast.copy_location(ast.Assign([n], v), node) for n, v in zip(names, values, strict=True)]
    return [node]


def _statement(node):
    imports = isinstance(node, ast.Import | ast.ImportFrom)
    return Statement(
        reads=_reads([node]),
        writes=_operands([node], *STORES, *DELETES),
        touches={_base(part) for part in ast.walk(node)} - {None},
        knows=set(_knowing(node)) if imports else set(),
        imports=imports,
        defines=isinstance(node, ast.FunctionDef | ast.ClassDef),
        binds=isinstance(node, BINDS),
    )


def _reads(nodes):
    """The names that statements use before they bind them, each block of a loop or branch taken by itself."""
    found, bound = set(), set()
    for node in nodes:
        if isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try):
            found |= _reads_of_blocks(node) - bound
        else:
            found |= _operands([node], *LOADS) - bound
            bound |= _operands([node], *STORES) if isinstance(node, BINDS) else set()
    return found


def _reads_of_blocks(node):
    found, targets = set(), set()
    for part in ast.iter_child_nodes(node):
        match part:
            case ast.withitem():
                found |= _operands([ast.Expr(part.context_expr)], *LOADS)
                targets |= {n.id for n in ast.walk(part.optional_vars or ast.Pass()) if isinstance(n, ast.Name)}
            case ast.expr() if isinstance(node, ast.For) and part is node.target:
                targets |= {n.id for n in ast.walk(part) if isinstance(n, ast.Name)}
            case ast.expr():
                found |= _operands([ast.Expr(part)], *LOADS)
    blocks = [node.body, *(getattr(node, name, []) for name in ("orelse", "finalbody"))]
    for handler in getattr(node, "handlers", []):
        blocks.append(handler.body)
        found |= _operands([ast.Expr(handler.type)], *LOADS) if handler.type else set()
    return found | set().union(*map(_reads, blocks)) - targets


def _operands(body, *operations):
    """The names in such operations of Python's bytecode, without those local to a function or comprehension."""
    loop = ast.While(ast.Constant(True), body, [])  # in which `break` may stand
    todo, found = [compile(ast.fix_missing_locations(ast.Module([loop], [])), "a cell", "exec")], set()
    while todo:
        code = todo.pop()
        found |= {step.argval for step in dis.get_instructions(code) if step.opname in operations}
        todo += [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return found


def _base(node):
    """x where a node is `x.y = …` or `x[…] = …`, or calls one of x's methods and nobody takes the result."""
    match node:
        case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()):
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute() as node)):
            pass
        case _:
            return None
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _knowing(node):
    module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        if KNOWS.match(module + alias.name):
            yield alias.asname or alias.name.split(".")[0]


def again(sources, exercises):
    """For each cell whether it runs again, once the cells with the indices `exercises` are solved; names to keep."""
    cells = [statements(source) for source in sources]
    _see_through_functions([statement for cell in cells for statement in cell])
    run, imported, marked = [], set(), set()
    for index, cell in enumerate(cells):
        run.append(index in exercises)
        for s in cell:
            reached = bool(s.reads & marked) or (index in exercises and not s.imports)
            run[index] |= reached
            imported = imported | s.writes if s.imports else imported - s.writes
            if reached:
                marked |= s.writes | s.touches - imported
            elif s.binds:
                marked = marked - s.writes | s.knows
    changes = [set().union(*(s.writes | s.touches - imported for s in cell)) for cell in cells]
    return _with_origins(cells, changes, run)


def _see_through_functions(all_statements):
    """Who uses a function of the notebook reads what the function reads."""
    bodies = {}
    for s in filter(lambda s: s.defines, all_statements):
        for name in s.writes:
            bodies.setdefault(name, set()).update(s.reads)
    for s in all_statements:
        todo = list(s.reads)
        while todo:
            new = bodies.get(todo.pop(), set()) - s.reads
            s.reads |= new
            todo += new


def _with_origins(cells, changes, reached):
    """Add the cells that make, or change in place, what a cell to be run reads, unless its last value can be kept."""
    moving = set()  # names that a cell to be run changes: their last values would not last
    while True:
        run, kept = _backwards(cells, changes, reached, moving)
        found = kept & set().union(*(changed for changed, wanted in zip(changes, run, strict=True) if wanted))
        if not found:
            return run, kept
        moving |= found


def _backwards(cells, changes, reached, moving):
    run, kept, wanted, later = list(reached), set(), set(), set(moving)
    for index in reversed(range(len(cells))):
        asked = changes[index] & wanted
        if asked and not run[index] and not asked & later:
            kept, wanted = kept | asked, wanted - asked
        run[index] |= bool(changes[index] & wanted)
        for s in reversed(cells[index]) if run[index] else ():
            wanted = (wanted - s.writes if s.binds else wanted) | s.reads
        later |= changes[index]
    return run, kept
