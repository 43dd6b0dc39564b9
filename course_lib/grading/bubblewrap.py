"""The bubblewrap command: what the sandbox can see, and as whom it runs."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from course_lib.files import repository

MODULES = (  # of inside/, all that the sandbox has of the grader
    "terms", "reader", "writer", "wire", "kernel", "isolate", "usage", "seccomp", "shell", "cells", "student",
    "template",
)  # fmt: skip
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "fonts", "mime.types")
COURSE = "/course"  # where course_lib lies in the sandbox
PRIVATE = ("graded", "solutions", ".nbgrader", "submitted", ".git", "tests", "course_lib")  # the course's own, hidden
FIRST_UID = 64000  # slot n runs as FIRST_UID + n where the grader runs as root
CAP_SYS_ADMIN = 21
INSTALL = (
    "course grade runs students' code in a sandbox, and needs bubblewrap for it. Install it with "
    "`sudo apt install bubblewrap` (Debian, Ubuntu), `sudo dnf install bubblewrap` (Fedora) or "
    "`sudo pacman -S bubblewrap` (Arch); macOS and Windows have none, so grade in a Linux machine there. "
    "Nothing was graded."
)


class NoSandbox(Exception):
    """There is no sandbox here, so nothing is run; the message says what to do."""


def find() -> str:
    """The path of bubblewrap. Errors: NoSandbox where it is missing or may not do its work."""
    path = shutil.which("bwrap")
    if path is None:
        raise NoSandbox(INSTALL)
    tried = subprocess.run([path, "--ro-bind", "/", "/", "--unshare-all", "true"], capture_output=True, text=True)
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1]
        raise NoSandbox(
            f"bubblewrap is installed, but this system does not let it make a sandbox ({why}). In a container allow "
            "user namespaces (Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined); on Ubuntu "
            "24.04 and later set kernel.apparmor_restrict_unprivileged_userns=0. Nothing was graded."
        )
    return path


def user_for(slot: int) -> int | None:
    """The uid that a slot's sandbox takes: one of its own if we are root, else None (ours)."""
    return FIRST_UID + slot if os.geteuid() == 0 else None


def may_mount() -> bool:
    """Whether this process is allowed to mount, which root in a plain container is not."""
    with open("/proc/self/status") as file:
        effective = next(line.split()[1] for line in file if line.startswith("CapEff"))
    return bool(int(effective, 16) >> CAP_SYS_ADMIN & 1)


def command(bwrap: str, house: Path, uid: int | None, control: int, cold=None, scratch_mb: int = 128) -> list[str]:
    """The whole command of one template.

    house: what `Copy` has made. control: the socket's number. cold: None for a template, or the masks of the only
    question that it will run, for systems without nested user namespaces.
    """
    args = [bwrap, "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    args += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox", "--clearenv"]
    if uid is None:
        args += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    else:
        args += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for name, value in environment().items():
        args += ["--setenv", name, value]
    binds = system() + [(home, placed(home)) for home in interpreter()]
    binds += [(house / "course_lib", f"{COURSE}/course_lib"), (house / "masks", "/masks")]
    hidden = private([source for source, _ in binds])
    engine = house / "course_lib" / "grading" / "inside"
    binds += [(engine / f"{name}.py", f"/engine/inside/{name}.py") for name in ("__init__", *MODULES)]
    # A shared mapping of /dev/zero would be memory without a limit; /dev/full holds the same zeros, and has no mapping.
    args += bound(binds) + [word for path in hidden for word in ("--tmpfs", path, "--remount-ro", path)]
    args += ["--proc", "/proc", "--dev", "/dev", "--dev-bind", "/dev/full", "/dev/zero"]
    args += ["--dir", "/tmp", "--remount-ro", "/dev"] if cold is None else only(house, cold, scratch_mb)
    start = "import sys; sys.path.insert(0, '/engine'); from inside import template; "
    args += ["--remount-ro", "/", "--chdir", "/", "--", placed(sys.executable), "-I", "-c"]
    return [*args, f"{start}sys.path[0] = '{COURSE}'; template.main({control}, {uid}, {cold is not None})"]


def only(house: Path, masks: list[str], scratch_mb: int) -> list[str]:
    """What a template for one question needs at once: scratch folders and masks, which other forks make themselves."""
    args = ["--as-pid-1"]  # then nobody inside can end the template, and bubblewrap's own memory is not there
    for path in ("/tmp", "/dev/shm"):
        args += ["--size", str(scratch_mb * 2**20), "--perms", "1777", "--tmpfs", path]
    args += ["--remount-ro", "/dev"]
    for path in masks:
        args += ["--ro-bind", str(house / "masks" / ("folder" if is_folder(house, path) else "file")), path]
    return args


def is_folder(house: Path, path: str) -> bool:
    """Whether a path of the sandbox's course_lib is a folder."""
    return (house / Path(path).relative_to(COURSE)).is_dir()


def environment() -> dict[str, str]:
    """All that the sandbox's environment holds."""
    one = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(one, "1") | {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "USER": "student", "LOGNAME": "student",
        "LANG": "C.UTF-8", "TZ": "UTC", "COURSE_HOME": "/tmp/.course", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg",
        "TOKENIZERS_PARALLELISM": "false", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def bound(pairs: list) -> list[str]:
    """Read-only binds of (source, target), below folders that the sandbox's user can enter."""
    args, made = [], set()
    for source, target in pairs:
        for folder in reversed(Path(target).parents[:-1]):
            if folder not in made:
                args += ["--perms", "0755", "--dir", str(folder)]
                made.add(folder)
        args += ["--symlink", source.readlink(), target] if is_link(source) else ["--ro-bind", source, target]
        made.add(Path(target))
    return list(map(str, args))


def private(shown: list) -> list[str]:
    """What must be hidden because the course lies below a folder that is bound, such as /usr/src or a conda prefix."""
    folders = [repository() / name for name in PRIVATE]
    return [placed(str(path)) for path in folders if path.is_dir() and any(path.is_relative_to(home) for home in shown)]


def is_link(path) -> bool:
    """Whether a path is one of the links such as /bin → usr/bin, which stay links."""
    return str(path) in SYSTEM and Path(path).is_symlink()


def system() -> list[tuple[Path, str]]:
    """The system's programs and libraries, and the settings that the loader needs; not the rest of /etc."""
    paths = [Path(path) for path in (*SYSTEM, *(f"/etc/{name}" for name in SETTINGS))]
    return [(path, str(path)) for path in paths if path.exists()]


def placed(path: str) -> str:
    """Where a path of the interpreter lies in the sandbox: what is below /tmp moves, since /tmp is a question's own.

    >>> placed("/opt/venv/bin/python"), placed("/tmp/venv/bin/python")
    ('/opt/venv/bin/python', '/env/tmp/venv/bin/python')
    """
    return f"/env{path}" if Path(path).is_relative_to("/tmp") else path


def interpreter() -> list[str]:
    """Where this Python and its packages lie. The sandbox's user need not be able to reach these places outside."""
    homes = {sys.base_prefix, sys.prefix, str(Path(os.path.realpath(sys.executable)).parent.parent)}
    homes |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    kept = []
    for home in sorted(map(os.path.abspath, homes)):
        if not any(Path(home).is_relative_to(known) for known in (*SYSTEM, *kept)):
            kept.append(home)
    return kept
