"""`make env`: .venv is whole, or it is made again; whatever stands in the way is one sentence."""

import subprocess

import pytest

from course_lib import environment
from course_lib.environment import SetupError, prepare, ready, venv_python


@pytest.fixture
def checkout(tmp_path):
    """A folder with a lock and a package definition, and a stand-in for running programs there."""
    root = tmp_path / "a checkout"
    root.mkdir()
    (root / "requirements.lock").write_text("numpy==2.4.6\n")
    (root / "pyproject.toml").write_text("[project]\n")
    return root


class Programs:
    """Stands in for subprocess.run: notes every command, makes an empty .venv, fails where it is told to."""

    def __init__(self, root):
        self.root, self.ran, self.fail = root, [], None

    def __call__(self, command, **_):
        line = " ".join(map(str, command))
        self.ran.append(line)
        failed = self.fail is not None and self.fail in line
        if "-m venv" in line and not failed:
            python = venv_python(self.root)
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
            (self.root / ".venv" / "pyvenv.cfg").write_text(f"command = python3 -m venv {self.root / '.venv'}\n")
        return subprocess.CompletedProcess(command, int(failed))


def test_prepare_installs_once(checkout):
    programs = Programs(checkout)
    assert prepare(checkout, programs) == venv_python(checkout)
    assert [("venv" in line.split(" -m ")[1], "--editable" in line) for line in programs.ran] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert ready(checkout)
    programs.ran.clear()
    prepare(checkout, programs)
    assert programs.ran == []


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_prepare_installs_again_when_a_pin_changes(checkout, changed):
    programs = Programs(checkout)
    prepare(checkout, programs)
    programs.ran.clear()
    with open(checkout / changed, "a") as file:
        file.write("# changed\n")
    assert not ready(checkout)
    prepare(checkout, programs)
    assert sum("pip install" in line for line in programs.ran) == 2 and not any("-m venv" in x for x in programs.ran)


@pytest.mark.parametrize("step", ["requirements.lock", "--editable"])
def test_a_half_finished_install_is_never_ready(checkout, step):
    programs = Programs(checkout)
    prepare(checkout, programs)
    (checkout / "requirements.lock").write_text("numpy==2.4.5\n")
    programs.fail = step
    with pytest.raises(SetupError, match="pip could not install"):
        prepare(checkout, programs)
    (checkout / "requirements.lock").write_text("numpy==2.4.6\n")  # even when the lock is put back
    assert not ready(checkout)


def test_no_venv_module_is_one_sentence_and_leaves_nothing(checkout):
    programs = Programs(checkout)
    programs.fail = "-m venv"
    with pytest.raises(SetupError, match="apt install python3-venv"):
        prepare(checkout, programs)
    assert not (checkout / ".venv").exists()


def test_a_moved_checkout_gets_a_new_environment(checkout, tmp_path):
    prepare(checkout, Programs(checkout))
    moved = tmp_path / "moved"
    checkout.rename(moved)
    programs = Programs(moved)
    prepare(moved, programs)
    assert any("-m venv --clear" in line for line in programs.ran)


def test_an_old_python_is_one_sentence():
    with pytest.raises(SetupError, match=r"needs Python 3\.11 or newer, and this is Python 3\.9\.18"):
        environment.check_python((3, 9, 18))
    environment.check_python((3, 11, 0))


def test_an_incomplete_checkout_is_one_sentence(checkout):
    (checkout / "requirements.lock").unlink()
    with pytest.raises(SetupError, match="There is no requirements.lock in"):
        prepare(checkout, Programs(checkout))
