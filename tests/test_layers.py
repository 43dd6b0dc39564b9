"""The library's layers: a module imports only from its own layer and from those above it in the list."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import course_lib
from course_lib.cli import COMMANDS

ROOT = Path(course_lib.__file__).parent
LAYERS = [
    "lazy",
    "files",
    "progress",
    "scheme",
    "observers",
    "qtensor",
    "models",
    "formats",
    "kernels",
    "kvcache",
    "calibrate",
    "artifacts",
    "capacity",
    "evaluate",
    "deploy",
    "viz",
    "checks",
    "grading",
    "cli",
]
USES = {  # packages that use far less than stands above them, and shall go on so
    "models": {"files", "scheme", "qtensor"},
    "kvcache": {"lazy", "formats", "kernels"},
    "evaluate": {"files", "progress", "models", "scheme", "calibrate", "artifacts"},
    "grading": {"files", "viz", "checks"},
}
# the rest of `course`; beside cli
TOP = {"environment", "workspace", "review_command", "lab", "doctor", "site", "pictures", "__main__"}
# A command's own module prints and reads the command line: no other module imports it.
ENTRIES = {module for module, _, _ in COMMANDS.values()}
REGISTRY = "course_lib.formats.registry"  # scheme, observers and qtensor may load this one, inside a function
HEAVY = {"transformers", "triton", "xllamacpp", "gguf", "matplotlib", "ipywidgets", "IPython", "nbformat", "scipy"}


def module_name(path):
    """Return the dotted name of a source file of the library."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules():
    """Return every source file of the library but the package's own __init__."""
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def layer(module):
    """Return the index of a module's layer in LAYERS."""
    name = module.split(".")[1]
    if name in TOP:
        return LAYERS.index("cli")
    assert name in LAYERS, f"{module} has no layer: add {name!r} to LAYERS in {Path(__file__).name}"
    return LAYERS.index(name)


def imports(tree, module, is_package):
    """Yield (course_lib module, line, inside a function) for every import in a syntax tree."""
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        for target in targets(node, module, is_package):
            if target.split(".")[0] == "course_lib":
                yield target, node.lineno, id(node) in inside


def targets(node, module, is_package):
    """Return the dotted names that one node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        home = node.module or ""
        if node.level:
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package]
            home = ".".join(base + ([home] if home else []))
        return [resolve(home, alias.name) for alias in node.names]
    called = isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", ""))
    if called == "import_module" and node.args and isinstance(node.args[0], ast.Constant):
        return [str(node.args[0].value)]
    return []


def resolve(home, name):
    """Return the module that `from home import name` reaches, looking through course_lib's lazy names."""
    if home == "course_lib" and name in course_lib._NAMES:
        return f"course_lib.{course_lib._NAMES[name] or name}"
    path = ROOT.parent.joinpath(*home.split("."), name)
    return f"{home}.{name}" if path.is_dir() or path.with_suffix(".py").exists() or name.startswith("_") else home


def violations(source, module, is_package=False):
    """Return one sentence for each import in `source` that reaches below its layer, or for what is not its to use."""
    found, home = [], module.split(".")[1]
    for target, line, lazy in imports(ast.parse(source), module, is_package):
        if target == "course_lib":
            found.append(f"{module}:{line} imports the whole of course_lib: name the module it needs")
        elif target == REGISTRY and lazy and home in ("scheme", "observers", "qtensor"):
            continue
        elif target in ENTRIES and module not in ENTRIES and home not in {*TOP, "cli"}:
            found.append(f"{module}:{line} imports {target}, which is a command's own module")
        elif target.split(".")[-1].startswith("_") and not target.endswith("__"):
            found.append(f"{module}:{line} imports {target}, a name that its module keeps to itself")
        elif layer(target) > layer(module):
            found.append(f"{module}:{line} imports {target}, which lies below it")
        elif home in USES and target.split(".")[1] not in {home, *USES[home]}:
            found.append(f"{module}:{line} imports {target}: {home} uses {', '.join(sorted(USES[home]))} alone")
    return found


def test_a_module_imports_only_from_above():
    every = ((path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py") for path in modules())
    found = [said for each in every for said in violations(*each)]
    assert not found, "\n".join(found)


KERNELS = {  # part of course_lib.kernels ("" is the kernels themselves): what it may import of the package
    "interpreter": ("interpreter",),
    "": ("", "interpreter", "measure.tune"),
    "compiled": ("", "interpreter", "compiled"),
    "measure": ("", "interpreter", "measure"),
}


def part(module):
    """Return what a module of course_lib.kernels is named inside of it, without the kernels' own names."""
    names = module.split(".")[2:]
    return ".".join(names) if names and names[0] in KERNELS else ""


def test_kernels_know_neither_the_compiler_nor_the_contest():
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        module = module_name(path)
        allowed = KERNELS[part(module).split(".")[0]]
        found = imports(ast.parse(path.read_text(encoding="utf-8")), module, path.name == "__init__.py")
        targets = {t for t, _, _ in found if t.startswith("course_lib.kernels.")}
        beyond = {t for t in targets if not any(part(t) == a or (a and part(t).startswith(f"{a}.")) for a in allowed)}
        assert not beyond, f"{module} imports {', '.join(beyond)}"


@pytest.mark.parametrize(
    "module, source, ok",
    [
        ("course_lib.qtensor", "from course_lib.scheme import Scheme", True),
        ("course_lib.qtensor", "from .scheme import Scheme", True),
        ("course_lib.scheme", "from course_lib.qtensor import quantize", False),
        ("course_lib.scheme", "from course_lib import quantize", False),
        ("course_lib.scheme", "from . import qtensor", False),
        ("course_lib.scheme", "def f():\n    from course_lib.formats.registry import get", True),
        ("course_lib.scheme", "from course_lib.formats.registry import get", False),
        ("course_lib.models.llama", "from course_lib import evaluate", False),
        ("course_lib.models.llama", "import importlib\nimportlib.import_module('course_lib.viz')", False),
        ("course_lib.deploy.canary", "from course_lib.evaluate.card import main", False),
        ("course_lib.models.train", "from course_lib import evaluate", False),
        ("course_lib.evaluate.card", "from course_lib import calibrate", True),
        ("course_lib.evaluate.gate", "from course_lib import capacity", False),
        ("course_lib.grading.unit", "from course_lib.calibrate import gptq", False),
        ("course_lib.grading.unit", "from course_lib.checks import prove, limit", False),
        ("course_lib.grading.unit", "from course_lib.checks import limit", True),
        ("course_lib.calibrate.babai", "from course_lib.calibrate.gptq import prepared", True),
        ("course_lib.calibrate.babai", "from course_lib.calibrate.gptq import _solve", False),
        ("course_lib.viz.plots", "import course_lib", False),
        ("course_lib.viz.plots", "import numpy, torch", True),
        ("course_lib.checks.prove", "from course_lib import viz", True),
    ],
)
def test_the_rule_itself(module, source, ok):
    assert (not violations(source, module)) == ok


def test_layers_name_only_what_may_exist():
    assert len(LAYERS) == len(set(LAYERS))
    assert {home or name for name, home in course_lib._NAMES.items()} <= set(LAYERS)


def loaded_by(statement):
    """Return the top-level names of all modules that a fresh Python holds after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def on_disk(name):
    """Return whether a lazy name's module exists yet."""
    home = ROOT / (course_lib._NAMES[name] or name)
    return home.with_suffix(".py").exists() or (home / "__init__.py").exists()


def test_importing_the_library_costs_next_to_nothing():
    assert not {"torch", "numpy"} & loaded_by("import course_lib")


def test_public_names_load_no_heavy_package():
    names = [name for name in course_lib._NAMES if on_disk(name) and name != "viz"]
    heavy = HEAVY & (loaded_by(f"from course_lib import {', '.join(names)}") - loaded_by("import torch"))
    assert not heavy, f"importing course_lib's public names loads {heavy}"


def test_every_public_name_resolves():
    for name in filter(on_disk, course_lib._NAMES):
        assert getattr(course_lib, name) is not None
    assert set(course_lib.__all__) <= set(dir(course_lib))
    with pytest.raises(AttributeError, match="quantise.*quantize"):
        _ = course_lib.quantise
