"""How long from `make lab` in a ready environment until the first explorer of chapter 00 answers.

    python benchmarks/first_explorer.py [--write] [--repeat 3]

The clock starts with `course lab` in an empty home and stops when the sentence under the picture has changed: chromium
opens the page that the server names, the first cell is run with Shift + Enter, and an arrow key moves the slider. The
browser itself is started before, as a learner's is. Wanted: at most 20 s. Needs playwright and chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright
from record import record

BAR_S, TOKEN, PATIENCE_S = 20, "first-explorer", 300
PAGE = "lab/tree/work/00-start-here.ipynb"


def once(browser, home: Path) -> dict:
    """Seconds from the start to the server's answer, to the notebook, to the picture, to the changed sentence."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "course_lib", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               f"--IdentityProvider.token={TOKEN}"]  # fmt: skip
    names = os.environ | {"COURSE_HOME": str(home), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
                          "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}  # fmt: skip
    began = time.perf_counter()
    server = subprocess.Popen(command, env=names, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _answers(f"{url}/api?token={TOKEN}", server)
        marks = [time.perf_counter()]
        marks += _move(browser, f"{url}/{PAGE}?token={TOKEN}&reset")
    finally:
        server.terminate()
        server.wait(20)
    steps = ("server_s", "notebook_s", "picture_s", "answer_s")
    return {step: round(mark - began, 2) for step, mark in zip(steps, marks, strict=True)}


def _answers(url, server):
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"course lab ended with status {server.returncode}")


def _move(browser, url):
    """Open the notebook, run its first code cell, press an arrow on the slider; the clock at each of the three."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(url)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    first, marks = page.locator(".jp-CodeCell").first, [time.perf_counter()]
    while first.locator(".jp-InputPrompt").first.inner_text().strip() in ("", "[ ]:"):  # a run may still be dropped
        first.locator(".cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(300)
    sentence = page.locator(".q-break_the_bot .q-sentence")
    before = sentence.inner_text()
    marks.append(time.perf_counter())
    page.locator(".q-break_the_bot [role=slider]").press("ArrowRight")
    page.wait_for_function("before => document.querySelector('.q-sentence').innerText !== before", arg=before)
    marks.append(time.perf_counter())
    page.close()
    return marks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the result")
    parser.add_argument("--repeat", type=int, default=3, help="runs; default: 3")
    options = parser.parse_args()
    runs = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(options.repeat):
            with tempfile.TemporaryDirectory() as home:
                runs.append(once(browser, Path(home)))
            print("   ".join(f"{step} {value:6.2f}" for step, value in runs[-1].items()), flush=True)
        browser.close()
    if options.write:
        record("first_explorer", runs, bar_s=BAR_S)
    return int(sorted(run["answer_s"] for run in runs)[len(runs) // 2] > BAR_S)


if __name__ == "__main__":
    sys.exit(main())
