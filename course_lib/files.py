"""Where the course keeps files, and how it writes them: a reader sees the old bytes or the new, never half."""

import os
import tempfile
import time
from pathlib import Path

PATIENCE_S = 1.0 if os.name == "nt" else 0.0  # Windows: how long a reader or a virus scanner may hold a file


def repository():
    """Return the folder that holds the course (notebooks/, work/, …): the parent of this package."""
    return Path(__file__).resolve().parent.parent


def course_home():
    """Return the folder of the learner's state, made where absent: $COURSE_HOME, else .course/ of the repository."""
    home = os.environ.get("COURSE_HOME")
    folder = Path(home).expanduser().resolve() if home else repository() / ".course"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomic(path, data):
    """Write `data` (bytes or text, text as UTF-8) to `path` whole or not at all: temporary name, fsync, rename.

    The folder of `path` must exist. On any error, an interrupt included, `path` is as it was before.

    >>> folder = tempfile.mkdtemp()
    >>> write_atomic(f"{folder}/scale.txt", "0.1")
    >>> Path(folder, "scale.txt").read_text()
    '0.1'
    """
    path = Path(path)
    data = data.encode("utf-8") if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def replace(temporary, path):
    """Give a file or folder the name `path`, in place of a file or an empty folder; PermissionError names what is held.

    Windows replaces no folder, and no file that somebody has open or mapped; elsewhere the first try decides.
    """
    if os.path.isdir(temporary) and os.path.isdir(path):
        os.rmdir(path)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return os.replace(temporary, path)
        except PermissionError as error:
            if time.monotonic() >= end:
                raise PermissionError(
                    error.errno, f"{path} cannot be replaced; on Windows, close the program or notebook that reads it"
                ) from error
        time.sleep(PATIENCE_S / 20)
