"""A real JupyterLab in a real (headless) browser, for tests: one server a session, one page a notebook.

`lab_server(folder)` starts the server, `Notebook(page, lab, path)` a notebook, `ShownExplorer` is one on a page.
Every page error and console error is collected: a page that looks right and logs errors is not right.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TOKEN = "browser-tests"
PATIENCE_MS = 120_000
IDLE = "()=>window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status==='idle'"
DONE = (
    "()=>window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status==='idle'"
    " && ![...document.querySelectorAll('.jp-InputPrompt')].some(e=>e.textContent.includes('*'))"
)
STARTED = "()=>[...document.querySelectorAll('.jp-InputPrompt')].some(e=>/[0-9*]/.test(e.textContent))"
FAILED = "[data-mime-type='application/vnd.jupyter.stderr'],[data-mime-type='application/vnd.jupyter.error']"


@dataclass(frozen=True)
class Lab:
    """A running server: its address and the folder it serves."""

    url: str
    folder: Path


@contextlib.contextmanager
def lab_server(folder):
    """JupyterLab on `folder`, with its own settings, quiet about news and updates; stopped on leaving."""
    state = Path(tempfile.mkdtemp(prefix="lab-state-"))
    _setting(state, "notebook-extension/tracker", {"windowingMode": "none"})  # every cell stays in the page
    _setting(state, "apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
               f"--port={port}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
               "--LabApp.news_url=None",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
               "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    with open(state / "server.log", "wb") as log:
        server = subprocess.Popen(command, env=_environment(state), stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, server, state / "server.log")
        yield Lab(url, Path(folder))
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        shutil.rmtree(state, ignore_errors=True)


def _setting(state, name, value):
    path = state / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _environment(state):
    """This process's environment with every Jupyter folder moved into `state`."""
    moved = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTERLAB_SETTINGS_DIR": "settings",
             "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}  # fmt: skip
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    home = os.environ.get("COURSE_HOME") or str(state / "course")
    folders = {name: str(state / folder) for name, folder in moved.items()}
    return {**os.environ, **folders, "PYTHONPATH": path, "PATH": scripts, "COURSE_HOME": home, "OMP_NUM_THREADS": "1"}


def _wait_for(url, server, log, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=2).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")


def write_notebook(path, *cells):
    """A notebook of code cells at `path`, with the kernel named so that JupyterLab asks nothing."""
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


class Notebook:
    """One notebook open in JupyterLab: run it, see what it wrote, collect what went wrong."""

    def __init__(self, page, lab, path):
        self.page, self.errors = page, []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(f"page: {error}"))
        page.on("console", lambda said: self.errors.append(f"console: {said.text}") if said.type == "error" else None)
        page.goto(f"{lab.url}/lab/tree/{path}?token={TOKEN}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function(IDLE)

    def run_all(self, patience_ms=PATIENCE_MS):
        """Run every cell and wait until the kernel rests."""
        self.page.evaluate("()=>{window.jupyterapp.commands.execute('notebook:run-all-cells')}")
        self.page.wait_for_function(STARTED)
        self.page.wait_for_function(DONE, timeout=patience_ms)
        return self

    def failures(self):
        """What cells wrote to stderr or raised."""
        found = self.page.locator(FAILED)
        return [found.nth(k).inner_text() for k in range(found.count())]

    def explorer(self, name):
        """The explorer of that name, scrolled into view."""
        box = self.page.locator(f".q-{name}").first
        box.scroll_into_view_if_needed()
        return ShownExplorer(self.page, box)

    def theme(self, name):
        """Change JupyterLab's theme, such as "JupyterLab Dark"."""
        self.page.evaluate("theme=>window.jupyterapp.commands.execute('apputils:change-theme',{theme})", name)
        light = str("Light" in name).lower()
        self.page.wait_for_function(f"()=>document.body.dataset.jpThemeLight==='{light}'")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")


class ShownExplorer:
    """One explorer on the page, moved and read as somebody with a keyboard and a screen reader does."""

    def __init__(self, page, box):
        self.page, self.box = page, box

    def sentence(self):
        """The sentence under the picture."""
        return self.box.locator(".q-sentence").inner_text()

    def announced(self):
        """What the live region last said to a screen reader."""
        return self.box.locator(".q-live").text_content()

    def slider(self, label):
        """A slider's handle, found by role and name."""
        return self.box.get_by_role("slider", name=label, exact=True)

    def press(self, label, key, words, times=1):
        """Move a slider with the keyboard and wait until the sentence holds `words`."""
        handle = self.slider(label)
        handle.focus()
        for _ in range(times):
            handle.press(key)
        self.wait_for(words)

    def choose(self, label, option, words):
        """Go to another entry of a drop-down list with the arrows and wait until the sentence holds `words`."""
        entries = self.box.get_by_label(label, exact=True)
        entries.focus()
        names = [name.replace("\xa0", " ") for name in entries.locator("option").all_text_contents()]
        steps = names.index(option) - entries.evaluate("e=>e.selectedIndex")
        for _ in range(abs(steps)):
            self.page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")
        self.wait_for(words)

    def sweep(self):
        """Take every slider to another end and every list to another entry by one key each; the sliders' names."""
        changed = "([handle,before])=>handle.getAttribute('aria-valuetext')!==before"
        handles = self.box.get_by_role("slider").all()
        for handle in handles:
            before = handle.get_attribute("aria-valuetext")
            at_start = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemin")
            handle.press("End" if at_start else "Home")
            self.page.wait_for_function(changed, arg=[handle.element_handle(), before])
        for entries in self.box.locator("select").all():
            before = entries.evaluate("e=>e.selectedIndex")
            entries.press("ArrowUp" if before else "ArrowDown")
            assert entries.evaluate("e=>e.selectedIndex") != before
        return [handle.get_attribute("aria-label") for handle in handles]

    def wait_for(self, words):
        """Wait until sentence and live region hold `words`; if they never do, say what the sentence is."""
        said = "([box,words])=>['.q-sentence','.q-live'].every(s=>box.querySelector(s)?.textContent.includes(words))"
        try:
            self.page.wait_for_function(said, arg=[self.box.element_handle(), words])
        except Exception as error:
            raise AssertionError(f"waited for {words!r}, the sentence is {self.sentence()!r}") from error

    def picture(self):
        """The drawing, found by the name that it gives to a screen reader: its own sentence."""
        return self.box.get_by_role("img", name=self.sentence(), exact=True)
