"""One artifact in its runtime, as a process of its own on 127.0.0.1: start it, ask it, see it die, stop it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from course_lib.evaluate.examine import file_bytes
from course_lib.evaluate.serving import LOG_BYTES, runtime_of

HERE = Path(__file__).parent
BACKENDS = {"llama.cpp": HERE / "llama_backend.py", "transformers": HERE / "torch_backend.py"}


class NotServing(RuntimeError):
    """The runtime did not come up; the message holds its last words."""


class PortTaken(OSError):
    """Somebody else listens there."""


def expect_free(port: int) -> None:
    """PortTaken, in one sentence, where another program listens on 127.0.0.1:port. 0 means any free one."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
        raise ValueError(f"port must be a whole number from 0 to 65535, got {port!r}")
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(f"port {port} on 127.0.0.1 cannot be used ({error.strerror}): another program may listen "
                            "there; take another port, or 0 for any free one") from None  # fmt: skip


class Server:
    """A GGUF file in llama.cpp or a checkpoint in transformers, listening. Use it with `with`, or stop() it.

    >>> with Server("bot.gguf") as server:  # doctest: +SKIP
    ...     server.url, server.runtime
    ('http://127.0.0.1:40123', 'llama.cpp (xllamacpp 2026.10.11549)')
    """

    def __init__(self, artifact: str | Path, port: int = 0, timeout_s: float = 120):
        self.artifact, self.name = str(artifact), Path(artifact).name
        if self.artifact != "bundled" and not Path(artifact).exists():
            raise FileNotFoundError(f"artifact: there is no {artifact}")
        expect_free(port)
        self._log, began = tempfile.TemporaryFile(), time.perf_counter()
        command = [sys.executable, str(BACKENDS[runtime_of(artifact)]), self.artifact, str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                                        env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        clock = threading.Timer(timeout_s, self.process.kill)
        clock.start()
        said = self.process.stdout.readline()
        late = not clock.is_alive()
        clock.cancel()
        try:
            told = json.loads(said)
            self.url, self.runtime = told["url"], told["runtime"]
        except (ValueError, KeyError):
            self.stop()
            why = f"took longer than {timeout_s:g} s" if late else f"ended with status {self.process.returncode}"
            raise NotServing(
                f"{runtime_of(artifact)} does not serve {self.name}: it {why}. {self.last_words()}"
            ) from None
        self.cold_start_s = time.perf_counter() - began

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Does the process still run? That it *answers* is what /health says."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it without a word, as the kernel ends a process that took too much memory."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Close its stdin, which it takes as a request to end; kill it if it does not."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()

    def last_words(self) -> str:
        """The last line that it wrote to stderr."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        return "".join(self._log.read().decode(errors="replace").strip().splitlines()[-1:])

    def record(self) -> dict:
        """What exactly serves: file, bytes, digest of the weights, runtime."""
        return {"artifact": self.name, "bytes": file_bytes(self.artifact), "sha256": digest(self.artifact),
                "runtime": self.runtime}  # fmt: skip


def digest(artifact: str | Path) -> str:
    """SHA-256 of a file, or of the names and bytes of the safetensors files of a directory."""
    from course_lib.models.load import BUNDLED

    path = BUNDLED if str(artifact) == "bundled" else Path(artifact)
    found = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        found.update(b"" if path.is_file() else file.name.encode())
        with open(file, "rb") as stream:
            for part in iter(lambda: stream.read(1 << 20), b""):
                found.update(part)
    return found.hexdigest()
