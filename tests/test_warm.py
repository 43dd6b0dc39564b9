"""A kernel that was forked from a warm process is a kernel like any other."""

import os
import sys
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
PROBE = """
import ast, os, random, signal, sys, threading
env = {name: value for name, value in os.environ.items() if name not in ("JPY_PARENT_PID", "COLUMNS", "LINES")}
threads = sorted(thread.name for thread in threading.enumerate())
signals = [str(signal.getsignal(number)).split(" at ")[0] for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
streams = [type(stream).__name__ for stream in (sys.stdin, sys.stdout, sys.stderr)]
said = sys.path, os.getcwd(), env, threads, signals, streams, __name__, os.getpid() == os.getsid(0)
print(repr((said, sorted(name for name in globals() if not name.startswith("_")), sorted(globals()))))
"""


@pytest.fixture(scope="module")
def folder():
    with warm.kernels() as found:
        yield found


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """ran(source, folder): what a cell prints in a new kernel, warm if there is a folder."""

    def run(source, folder=None, **more):
        with monkeypatch.context() as patched:
            if folder:
                patched.setenv("JUPYTER_PATH", folder)
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
            client = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, **more)
            client.execute()
        return "".join(output.get("text", "") for output in notebook.cells[0].outputs)

    return run


def test_it_is_warm_and_shares_no_names(ran, folder):
    assert ran("import sys\nprint('transformers' in sys.modules)", folder) == "True\n"
    assert ran("import sys\nprint('transformers' in sys.modules)") == "False\n"
    assert ran("import sys\nprint('course_lib' in sys.modules, 'matplotlib.pyplot' in sys.modules)", folder) == (
        "False False\n"
    )
    with pytest.raises(CellExecutionError, match="name 'torch' is not defined"):
        ran("torch", folder)


def test_but_for_its_modules_it_is_as_a_fresh_one(ran, folder):
    found = [eval(ran(PROBE, where)) for where in (None, folder)]
    for fresh, forked in zip(*(one[0] for one in found), strict=True):
        if isinstance(fresh, dict):
            fresh.pop("JUPYTER_PATH", None), forked.pop("JUPYTER_PATH", None)
        assert fresh == forked
    assert found[0][1:] == found[1][1:]


def test_two_of_them_draw_different_numbers(ran, folder):
    draw = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    assert ran(draw, folder) != ran(draw, folder)


def test_that_it_has_died_is_said(ran, folder):
    with pytest.raises(RuntimeError, match="died"):
        ran("import os\nos._exit(3)", folder)


def test_it_ends_with_the_process_that_jupyter_started(ran, folder):
    pid = int(ran("import os\nprint(os.getpid())", folder))
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.1)
    raise AssertionError("the kernel is still there")
