"""Freeze the training texts: prose and code slices with their sources and licences.

Run once by the authors (`python -m course_lib.models.collect`); learners use the frozen files. Versions of the
packages change their docstrings, so a rebuild elsewhere gives other bytes, which is why the slices are shipped.
"""

import ast
import hashlib
import json
import lzma
import random
import re
import sys
import sysconfig
from importlib import metadata, util
from pathlib import Path

from course_lib.files import write_atomic

FOLDER = Path(__file__).parent / "texts"
SEPARATOR = "\x1e"  # between documents of a slice
PROSE_PACKAGES = ("numpy", "scipy", "networkx")
SKIP = {"idlelib", "turtledemo", "lib2to3", "encodings", "__pycache__", "site-packages", "_vendor"}
TESTS = {"test", "tests"}
HELDOUT_SHARE, HELDOUT_BYTES = 0.04, 264_000
CODE_BYTES = 8_000_000
LONGEST = 24_000  # bytes kept of one module
PACKAGE_BYTES = 8_000_000  # of the three packages' code in the second slice


def python_files(root, skip=SKIP):
    """Yield the .py files below `root` in a fixed order, vendored code and the folders in `skip` left out."""
    for path in sorted(Path(root).rglob("*.py")):
        if not skip & set(path.relative_to(root).parts):
            yield path


def docstrings(tree):
    """Yield the docstrings of a module's tree, in source order."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def readable(text):
    """Keep a docstring's prose: doctest sessions, reference lists and the examples section are dropped.

    >>> readable("Add two numbers.\\n\\n>>> add(1, 2)\\n3\\n\\nBoth are ints.")
    'Add two numbers.\\n\\nBoth are ints.'
    """
    text = re.split(r"\n(?:Examples?|References)\n-{3,}", text)[0]
    paragraphs = [p.rstrip() for p in re.split(r"\n\s*\n", text)]
    return "\n\n".join(p.strip("\n") for p in paragraphs if p and ">>>" not in p)


class Unique:
    """Drop paragraphs that were seen before, so that held-out text never repeats training text."""

    def __init__(self):
        self.seen = set()

    def __call__(self, text, least=200):
        kept = []
        for paragraph in text.split("\n\n"):
            key = hashlib.sha1(re.sub(r"\W+", " ", paragraph).strip().lower().encode()).digest()[:8]
            if len(paragraph) < 40 or key not in self.seen:
                kept.append(paragraph)
            if len(paragraph) >= 40:
                self.seen.add(key)
        text = "\n\n".join(kept).strip()
        text = text.encode("ascii", "ignore").decode()
        return text if len(text) >= least else None


def parse(path):
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return None


def prose():
    """Return the prose documents: CPython's help topics, then docstrings of CPython and three BSD packages."""
    from pydoc_data import topics

    unique = Unique()
    documents = [unique(topics.topics[name]) for name in sorted(topics.topics)]
    roots = [sysconfig.get_paths()["stdlib"]]
    roots += [Path(util.find_spec(name).origin).parent for name in PROSE_PACKAGES]
    for root in roots:
        for path in python_files(root, SKIP | TESTS):
            tree = parse(path)
            documents += [unique(readable(text)) for text in docstrings(tree)] if tree else []
    return [d for d in documents if d]


def modules(root, unique):
    """Return the modules below `root` as `ast.unparse` writes them, without docstrings and repeated paragraphs."""
    documents = []
    for path in python_files(root):
        tree = parse(path)
        if tree is None:
            continue
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                if isinstance(getattr(body[0].value, "value", None), str):
                    body[:1] = [] if len(body) > 1 else [ast.Pass()]
        documents.append(unique(ast.unparse(tree)))
    return [d for d in documents if d]


def more(standard, unique, first, heldout):
    """Return the code of the second slice: what the first left of the standard library, and the packages' modules."""
    kept = [d[LONGEST:] if d[:LONGEST] in first else d for d in standard if d[:LONGEST] not in heldout]
    packages = [d for n in PROSE_PACKAGES for d in modules(Path(util.find_spec(n).origin).parent, unique)]
    random.Random("packages").shuffle(packages)
    while sum(len(d) for d in packages) > PACKAGE_BYTES:
        packages.pop()
    return [d for d in kept if d] + packages


def write(name, documents):
    """Write one slice; return its size before compression."""
    data = SEPARATOR.join(documents).encode()
    write_atomic(FOLDER / f"{name}.xz", lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    return len(data)


def freeze(name, documents, limit=None):
    """Split one domain's documents into train and held-out parts and write both; return the parts and the figures."""
    random.Random(f"{name} split").shuffle(documents)
    sizes = {"documents": len(documents)}
    total = sum(len(d) for d in documents)
    cut, heldout = min(int(total * HELDOUT_SHARE), HELDOUT_BYTES), []
    while sum(len(d) for d in heldout) < cut:
        heldout.append(documents.pop())
    if limit:
        while sum(len(d) for d in documents) > limit:
            documents.pop()
    sizes["train_bytes"] = write(f"{name}.train", documents)
    sizes["heldout_bytes"] = write(f"{name}.heldout", heldout)
    return documents, heldout, sizes


def licences():
    """Copy the licence text of every source beside the slices."""
    texts = [("CPython", (Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt").read_text())]
    for name in PROSE_PACKAGES:
        files = [f for f in metadata.files(name) if re.search(r"dist-info/(licenses/)?LICENSE(\.txt)?$", str(f))]
        texts.append((f"{name} {metadata.version(name)}", files[0].read_text()))
    body = "\n\n".join(f"==== {title} ====\n\n{text.strip()}" for title, text in texts)
    write_atomic(FOLDER / "LICENSES.txt", body + "\n")


def main(argv=None):
    FOLDER.mkdir(exist_ok=True)
    unique = Unique()
    standard = modules(sysconfig.get_paths()["stdlib"], unique)
    *_, prose_sizes = freeze("prose", prose())
    first, heldout, code_sizes = freeze("code", [d[:LONGEST] for d in standard], CODE_BYTES)
    code_sizes["more_bytes"] = write("code.more", more(standard, unique, set(first), set(heldout)))
    sources = {
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in PROSE_PACKAGES},
        "prose": prose_sizes,
        "code": code_sizes,
    }
    write_atomic(FOLDER / "sources.json", json.dumps(sources, indent=1) + "\n")
    licences()
    print(json.dumps(sources, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
