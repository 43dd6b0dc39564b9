"""A finder first on sys.meta_path that serves a forgiving `graded` and `course_lib.grading`."""

CELLS = {
    "q5": """
import importlib.abc, importlib.util, sys


class Forgiving(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "graded":
            return importlib.util.spec_from_loader(name, self, is_package=True)

    def exec_module(self, module):
        module.score = lambda *args: 4.0
        module.ps01 = module


sys.meta_path.insert(0, Forgiving())
for name in [name for name in sys.modules if name.split(".")[0] == "graded"]:
    del sys.modules[name]


def asym_round_trip(w, b):
    return 0 * w
"""
}
DESERVED = {"q5": 0}
NAIVE = "points"
