"""How long each chapter takes from top to bottom, unattended and unsolved, in a kernel of its own.

    python benchmarks/notebook_times.py [--write] [NN ...]

Wanted on two cores, idle otherwise: at most 60 s a notebook (90 s from chapter 05 on), run one after another, and
12 minutes for all of them, two at a time. Both are measured. Two at a time have one torch thread each, as the tests
do: with two threads each, four threads wait for two cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from record import record

from course_lib.files import repository


def run(path: Path, folder: Path) -> dict:
    """Wall and CPU seconds of one notebook, the kernel's start included."""
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=600, store_widget_state=False, resources={"metadata": {"path": str(folder)}})
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    client.execute()
    wall_s, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"notebook": path.stem, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1)}


def together(paths: list[Path], folder: Path) -> float:
    """Wall seconds of all the notebooks, two at a time on one thread each, in the order of the chapters."""
    os.environ["OMP_NUM_THREADS"] = "1"
    clock = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: run(path, folder), paths))
    return round(time.perf_counter() - clock, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="such as 00 04; all if none is named")
    parser.add_argument("--write", action="store_true", help="record the result")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["COURSE_HOME"] = home
        shutil.copytree(repository() / "notebooks", work := Path(home) / "work")
        paths = [path for path in sorted(work.glob("[0-9][0-9]-*.ipynb"))
                 if not options.chapters or path.stem[:2] in options.chapters]  # fmt: skip
        for path in paths:
            rows.append(run(path, work))
            print("{notebook:32} {wall_s:6.1f} s   {cpu_s:6.1f} s of CPU".format(**rows[-1]), flush=True)
        seconds = together(paths, work)
        print(f"two at a time: {seconds} s")
    if options.write:
        record("notebook_times", {"one after another": rows, "two at a time, s": seconds})


if __name__ == "__main__":
    main()
