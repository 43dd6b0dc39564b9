"""Kernels forked from a process that has imported torch and transformers: a fresh kernel spends 6 s on that.

Modules are all that they share: no name, no thread, no connection. Who asks Jupyter for "python3" gets one, as long as
the folder that `kernels` yields stands in JUPYTER_PATH. `tests/test_warm.py` holds such a kernel against a fresh one.

This file is both ends: `warm.py serve SOCKET` forks. `warm.py SOCKET ARGUMENT…` is the process that Jupyter starts: it
asks for a kernel, hands on signals, and ends with it. When it is killed, its kernel is, too.
"""

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HANDED_ON = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def kernels():
    """Start the process; yield the folder for JUPYTER_PATH."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        spot, spec = Path(folder, "socket"), Path(folder, "kernels", "python3")
        spec.mkdir(parents=True)
        argv = [sys.executable, "-I", "-S", __file__, str(spot), "-f", "{connection_file}"]
        said = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(said), encoding="utf-8")
        mother = subprocess.Popen([sys.executable, __file__, "serve", spot], stdout=subprocess.PIPE)
        try:
            assert mother.stdout.readline() == b"ready\n"
            yield folder
        finally:
            mother.kill()
            mother.wait()
            mother.stdout.close()


def ask(spot: str, arguments: list[str]) -> int:
    """What Jupyter starts: a kernel's exit status, once it has ended."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(spot)
        said = json.dumps({"argv": arguments, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", (0, 1, 2)))]
        wire.sendmsg([len(said).to_bytes(4, "big")], files)
        wire.sendall(said)
        for number in HANDED_ON:
            signal.signal(number, lambda number, _: wire.sendall(bytes([number])))
        return (wire.recv(1) or b"\1")[0]


def serve(spot: str) -> dict:
    """Fork a kernel for everybody who asks, and return in it what was asked."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(spot)
        door.listen()
        print("ready", flush=True)
        running: dict[int, socket.socket] = {}  # process -> who asked for it
        while True:
            readable, _, _ = select.select([door, *running.values()], [], [], 0.1)
            for pid, wire in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if wire in readable and not ended:
                    os.kill(pid, (wire.recv(1) or bytes([signal.SIGKILL]))[0])
                if ended:
                    with contextlib.suppress(OSError):
                        wire.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))
                    running.pop(pid).close()
            if door in readable:
                wire, _ = door.accept()
                asked = _asked(wire)
                if not (pid := os.fork()):
                    for other in (door, wire, *running.values()):
                        other.close()
                    return asked
                for file in asked["files"]:
                    os.close(file)
                running[pid] = wire


def _asked(wire: socket.socket) -> dict:
    size, files, _, _ = socket.recv_fds(wire, 4, 3)
    data = b""
    while len(data) < int.from_bytes(size, "big"):
        data += wire.recv(1 << 16)
    return json.loads(data) | {"files": files}


def become(asked: dict) -> None:
    """Be the kernel that was asked for, as `python -m ipykernel_launcher` is."""
    import random

    import numpy

    os.setsid()
    for place, file in enumerate(asked["files"]):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    random.seed()
    numpy.random.seed()
    sys.argv = ["ipykernel_launcher.py", *asked["argv"]]
    from ipykernel import kernelapp  # reads the environment

    kernelapp.launch_new_instance()


def main() -> None:
    if sys.argv[1] != "serve":
        raise SystemExit(ask(sys.argv[1], sys.argv[2:]))
    del sys.path[0]  # this folder, which a kernel does not have
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

    assert len(os.listdir("/proc/self/task")) == 1, "a fork would lose the threads"
    become(serve(sys.argv[2]))


if __name__ == "__main__":
    main()
