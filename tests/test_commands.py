"""The `course` command, its doctor and its lab, from a bare Python up to a running server."""

import ast
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from course_lib import cli, doctor, lab
from course_lib.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]


def bare(*arguments, **more):
    """Run `python -m course_lib` with the standard library only, as a fresh machine would."""
    names = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-m", "course_lib", *arguments]
    return subprocess.run(command, cwd=more.pop("cwd", ROOT), env=names, capture_output=True, text=True, **more)


@pytest.mark.parametrize("name", ["__init__", "__main__", "cli", "environment", "files", "doctor", "lab", "workspace"])
def test_what_an_old_python_reads_has_old_syntax(name):
    source = (ROOT / "course_lib" / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))


@pytest.fixture
def copy(tmp_path):
    """A copy of the set-up half of the library, with neither .venv nor anything else around it."""
    root = tmp_path / "copy"
    (root / "course_lib").mkdir(parents=True)
    for path in (ROOT / "course_lib").glob("*.py"):
        shutil.copy(path, root / "course_lib")
    return root


def test_doctor_runs_without_torch_and_says_so(copy):
    done = bare("doctor", cwd=copy)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"MISSING +torch +switches off: the course", done.stdout)
    assert "cannot run here; it lacks: torch" in done.stdout


def test_lab_on_a_bare_python_prepares_the_environment(copy):
    done = bare("lab", cwd=copy)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "no environment can be made; clone the whole course" in done.stderr


def test_a_missing_package_is_one_sentence(copy):
    (copy / "course_lib" / "checks").mkdir()
    (copy / "course_lib" / "checks" / "__init__.py").touch()
    (copy / "course_lib" / "checks" / "prove.py").write_text("import torch\n")
    done = bare("exercises", "--prove", cwd=copy)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "`course exercises` needs torch" in done.stderr and "run `make env`" in done.stderr


def test_help_lists_the_commands_that_exist(capsys):
    assert cli.main([]) == 0
    listing = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", listing, re.MULTILINE) for name in cli.available())
    assert {"lab", "doctor", "update", "reset", "env"} <= set(cli.available())


def test_a_code_page_without_our_signs_gets_question_marks(monkeypatch):
    poor = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", poor)
    cli.main([])
    print("✓ passed", flush=True)
    assert poor.buffer.getvalue().decode().endswith("? passed\n")


def test_whoever_reads_only_the_beginning_sees_no_traceback(course_home):
    code = "import sys\nfrom course_lib.cli import main\nsys.stdin.readline()\nsys.exit(main(['progress']))"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        process.stdout.close()  # before it writes anything
        process.stdin.write("now\n")
        process.stdin.close()
        assert process.stderr.read() == "" and process.wait() == 0


def test_an_unknown_command_is_one_sentence(capsys):
    assert cli.main(["docter"]) == 2
    assert capsys.readouterr().err == "There is no command 'docter' in `course`; did you mean `course doctor`?\n"


def test_every_command_on_disk_has_its_function():
    for module, function, _ in cli.available().values():
        tree = ast.parse(Path(ROOT, *module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, module


def test_commands_get_their_arguments_untouched(monkeypatch):
    seen = []
    monkeypatch.setattr(lab, "main", lambda argv: seen.extend(argv))
    assert cli.main(["lab", "--no-browser", "--port", "8899", "--help"]) == 0
    assert seen == ["--no-browser", "--port", "8899", "--help"]


# ---- doctor


def test_only_what_the_course_needs_makes_doctor_fail():
    rows = [doctor.Piece("torch", "2", "the course", True), doctor.Piece("GPU", None, "nothing", False)]
    text, runs = doctor.report(rows)
    assert runs and "missing  GPU    switches off: nothing" in text and "The course can run." in text
    text, runs = doctor.report([rows[0]._replace(found=None), rows[1]])
    assert not runs and "MISSING  torch  switches off: the course" in text


def test_doctor_looks_at_every_piece():
    rows = {row.name: row for row in doctor.pieces()}
    wanted = {"Python 3.11+", "torch", "triton", "GPU", "JupyterLab", "widgets", "bundled model", "bubblewrap"}
    assert wanted | {"chromium", "free disk"} <= set(rows)
    assert rows["torch"].found and rows["JupyterLab"].found and all(row.without for row in rows.values())


def test_the_bundled_model_needs_all_its_files(tmp_path):
    for name in doctor.MODEL_FILES:
        assert doctor.bundled_model(tmp_path) is None
        (tmp_path / name).write_bytes(b"1" * 5_200_000)
    assert doctor.bundled_model(tmp_path) == "5.2 MB of weights"


def test_a_bubblewrap_that_may_not_make_sandboxes_is_missing(tmp_path, monkeypatch):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.bubblewrap() is None


# ---- lab


def test_lab_opens_the_copy_and_hands_options_on(tmp_path, course_home, capsys):
    (tmp_path / "notebooks").mkdir()
    for name in ("00-start-here", "01-scalar"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text('{"cells": []}')
    opened = lab.open_workspace(Workspace(tmp_path))
    assert opened.as_posix() == "work/00-start-here.ipynb" and "Copied 2 notebooks" in capsys.readouterr().out
    command = lab.command(tmp_path, opened, ["--no-browser", "--port", "8899"])
    assert command[-3:] == ["--no-browser", "--port", "8899"] and "work/00-start-here.ipynb" in command
    names = lab.server_environment(tmp_path)
    assert shutil.which("alembic", path=names["PATH"].split(os.pathsep)[0]), "nbgrader needs alembic on PATH"


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot replace a process")
def test_whoever_stops_course_lab_stops_the_server(tmp_path):
    told = "import os; print(os.getpid(), os.getcwd(), os.environ['PLACE'])"
    code = (
        "import sys; from course_lib import lab; "
        f"lab.run([sys.executable, '-c', {told!r}], sys.argv[1], {{'PLACE': 'here'}})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0].split() == [str(process.pid), str(tmp_path.resolve()), "here"]


@pytest.fixture(params=[False, True], ids=["learner", "teacher"])
def server(request, tmp_path):
    """A running `course lab` on a one-notebook checkout: (address as a function of the path, for a teacher?)."""
    (tmp_path / "notebooks").mkdir()
    empty = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    (tmp_path / "notebooks" / "00-start-here.ipynb").write_text(empty)
    opened = lab.open_workspace(Workspace(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=test"]
    with open(tmp_path / "server.log", "wb") as log:
        names = lab.server_environment(tmp_path, teacher=request.param)
        process = subprocess.Popen(lab.command(tmp_path, opened, options), cwd=tmp_path, env=names, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token=test", process, tmp_path / "server.log")
        yield lambda path: f"http://127.0.0.1:{port}/{path}?token=test", request.param
    finally:
        process.terminate()
        process.wait(20)


def test_lab_serves_the_checkout_without_news(server):
    url, teacher = server
    listing = json.loads(urllib.request.urlopen(url("api/contents/work")).read())["content"]
    assert [item["name"] for item in listing] == ["00-start-here.ipynb"]
    page = urllib.request.urlopen(url("lab")).read().decode()
    page_config = json.loads(re.search(r'id="jupyter-config-data".*?>(.*?)</script>', page, re.S).group(1))
    assert page_config["news"] == {"disabled": True}
    assert ("@jupyter/nbgrader" in page_config["disabledExtensions"]) == (not teacher)
    plugin = "lab/api/settings/@jupyterlab/apputils-extension:notification"
    schema = json.loads(urllib.request.urlopen(url(plugin)).read())["schema"]["properties"]
    assert (schema["fetchNews"]["default"], schema["checkForUpdates"]["default"]) == ("false", False)
    plugin = "lab/api/settings/@jupyter-widgets/jupyterlab-manager:plugin"  # explorers are there in a reopened notebook
    schema = json.loads(urllib.request.urlopen(url(plugin)).read())["schema"]["properties"]
    assert schema["saveState"]["default"] is True


def wait_for(url, server, log, patience_s=120):
    """Return what `url` answers, once the server is up."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until and server.poll() is None:
        try:
            return urllib.request.urlopen(url).read()
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not come up:\n{log.read_text()}")
