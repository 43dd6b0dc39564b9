"""work/ is the learner's: nothing that they typed is ever lost, and what they did not touch stays fresh."""

import json

import pytest

from course_lib import workspace
from course_lib.cli import main
from course_lib.files import course_home, repository, write_atomic
from course_lib.workspace import Workspace, WorkspaceError, fingerprint


def notebook(*sources, outputs=()):
    """Return the bytes of a small notebook."""
    cells = [
        {"cell_type": "code", "id": f"c{i}", "source": source, "outputs": list(outputs), "execution_count": None}
        for i, source in enumerate(sources)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A small checkout with three notebooks and one picture; `course` commands stand on it too."""
    root = tmp_path / "checkout"
    (root / "notebooks" / "img").mkdir(parents=True)
    for name in ("00-start-here", "01-scalar", "04-granularity"):
        (root / "notebooks" / f"{name}.ipynb").write_bytes(notebook(name))
    (root / "notebooks" / "img" / "00-explorer.png").write_bytes(b"png")
    monkeypatch.setattr(workspace, "repository", lambda: root)
    return Workspace()


def release(space, name, *sources):
    """Let the course publish a new version of a notebook."""
    (space.originals / f"{name}.ipynb").write_bytes(notebook(*sources))


def edit(space, name, data):
    """Let the learner save a notebook."""
    (space.work / f"{name}.ipynb").write_bytes(data)


def read(space, name):
    return (space.work / f"{name}.ipynb").read_bytes()


def test_add_copies_what_is_absent_and_nothing_else(space):
    assert space.add() == ["00-start-here.ipynb", "01-scalar.ipynb", "04-granularity.ipynb"]
    assert (space.work / "img" / "00-explorer.png").read_bytes() == b"png"
    edit(space, "01-scalar", notebook("mine"))
    (space.work / "04-granularity.ipynb").unlink()
    assert space.add() == ["04-granularity.ipynb"]
    assert read(space, "01-scalar") == notebook("mine")


def test_update_keeps_edits_and_refreshes_the_rest(space):
    space.add()
    edit(space, "01-scalar", notebook("my answer"))
    release(space, "01-scalar", "second edition")
    release(space, "04-granularity", "second edition")
    release(space, "05-new", "new")
    assert space.update() == (["05-new.ipynb"], ["04-granularity.ipynb"], ["01-scalar.ipynb"])
    assert read(space, "01-scalar") == notebook("my answer")
    assert read(space, "04-granularity") == notebook("second edition")
    assert space.update() == ([], [], ["01-scalar.ipynb"])


def test_edits_of_the_latest_version_are_not_outdated(space):
    space.add()
    edit(space, "01-scalar", notebook("my answer"))
    assert space.outdated() == ([], [])


def test_running_a_notebook_is_no_edit_but_its_outputs_are_kept(space):
    space.add()
    ran = notebook("04-granularity", outputs=[{"output_type": "stream", "name": "stdout", "text": "0.7"}])
    edit(space, "04-granularity", ran)
    release(space, "04-granularity", "second edition")
    assert space.update() == ([], ["04-granularity.ipynb"], [])
    assert read(space, "04-granularity") == notebook("second edition")
    (kept,) = (space.work / "backups").iterdir()
    assert kept.read_bytes() == ran


@pytest.mark.parametrize("state", [None, "{", "[]", "{}"], ids=["gone", "broken", "a list", "empty"])
def test_without_a_memory_every_difference_is_an_edit(space, state):
    space.add()
    release(space, "01-scalar", "second edition")
    space.state_file.unlink() if state is None else space.state_file.write_text(state)
    assert space.update() == ([], [], ["01-scalar.ipynb"])
    assert read(space, "01-scalar") == notebook("01-scalar")


def test_a_broken_notebook_in_work_is_kept(space):
    space.add()
    edit(space, "01-scalar", b"{ half a notebo")
    release(space, "01-scalar", "second edition")
    assert space.update()[2] == ["01-scalar.ipynb"]
    assert read(space, "01-scalar") == b"{ half a notebo"


def test_reset_restores_and_every_backup_survives(space):
    space.add()
    backups = []
    for text in ("first", "second"):
        edit(space, "04-granularity", notebook(text))
        name, kept = space.reset("4")
        assert name == "04-granularity.ipynb" and read(space, "04-granularity") == notebook("04-granularity")
        backups.append(kept.read_bytes())
    assert backups == [notebook("first"), notebook("second")]
    assert len(list((space.work / "backups").iterdir())) == 2
    assert space.outdated() == ([], [])


@pytest.mark.parametrize("which", ["4", "04", 4, "04-granularity", "04-granularity.ipynb"])
def test_find_takes_every_usual_name(space, which):
    assert space.find(which) == "04-granularity.ipynb"


@pytest.mark.parametrize("which", ["17", "", "gran", "../notebooks/04-granularity"])
def test_find_refuses_what_is_no_notebook(space, which):
    with pytest.raises(WorkspaceError, match="there are 00-start-here, 01-scalar, 04-granularity"):
        space.find(which)


def test_no_notebooks_is_one_sentence(tmp_path, course_home):
    with pytest.raises(WorkspaceError, match="There are no notebooks in"):
        Workspace(tmp_path).add()


def test_the_commands_say_what_they_did(space, capsys):
    assert main(["update"]) == 0
    assert "Added to work/: 00-start-here.ipynb, 01-scalar.ipynb" in capsys.readouterr().out
    assert main(["update"]) == 0
    assert "work/ has every notebook in its latest version" in capsys.readouterr().out
    edit(space, "01-scalar", notebook("mine"))
    release(space, "01-scalar", "second edition")
    assert main(["update"]) == 0
    assert "Kept as you edited them: 01-scalar.ipynb; `course reset NN`" in capsys.readouterr().out
    assert main(["reset", "01"]) == 0
    out = capsys.readouterr().out
    assert "Restored work/01-scalar.ipynb" in out and "work/backups/01-scalar-" in out.replace("\\", "/")
    assert main(["reset", "77"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_fingerprint_sees_sources_only():
    assert fingerprint(notebook("a", outputs=[{"x": 1}])) == fingerprint(notebook("a"))
    assert fingerprint(notebook("a")) != fingerprint(notebook("b"))
    assert fingerprint(notebook("a", "b")) != fingerprint(notebook("ab"))
    assert fingerprint(b"no json") != fingerprint(b"other")


def test_state_lies_in_course_home(space, course_home):
    space.add()
    remembered = json.loads((course_home / "workspace.json").read_text())
    assert remembered["01-scalar.ipynb"] == fingerprint(notebook("01-scalar"))
    assert globals()["course_home"]() == course_home.resolve()


def test_course_home_defaults_to_the_repository(monkeypatch):
    monkeypatch.delenv("COURSE_HOME")
    assert course_home() == repository() / ".course"


def test_write_atomic_leaves_the_old_bytes_when_it_fails(tmp_path, monkeypatch):
    target = tmp_path / "log.json"
    write_atomic(target, "old")
    monkeypatch.setattr("course_lib.files.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, "new")
    assert target.read_text() == "old" and list(tmp_path.glob(".log*")) == []


def test_write_atomic_takes_text_and_bytes(tmp_path):
    write_atomic(tmp_path / "a", "ŵ")
    write_atomic(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == "ŵ".encode() and (tmp_path / "b").read_bytes() == b"\x00\xff"
