"""The template: imports torch once and gives each question a fresh fork, shut off from everything.

    python -I -c "from inside import template; template.main(control, uid, cold)"

What imports torch forks one template for each slot: {"uid": whose} comes on a socket of packets, with one file
descriptor, which is the template's own such socket. There it takes orders: {"spawn": id, …} with one file descriptor,
and {"kill": id}. Neither holds a secret, imports course_lib, or ever runs an operation of torch, because a child of a
process that has run a parallel one hangs. While children run, the template watches what they use.
"""

import gc
import json
import os
import random
import select
import signal
import socket
import time
import traceback

from . import isolate, kernel, seccomp, usage

TICK_S = 0.1
TIDY = 32  # forks after which the template's memory is put in huge pages anew; what it writes breaks some up


def main(control_fd: int, uid: int | None, cold: bool) -> None:
    """Start as `uid` (None: stay what we are), then serve until the grader closes the socket; cold: one question."""
    if uid is not None:
        isolate.become(uid, () if cold else (kernel.SET_GID, kernel.SET_UID))
    gc.disable()  # it would look at all that torch brings again and again
    import numpy  # noqa: F401
    import torch  # noqa: F401

    from . import student  # noqa: F401

    gc.collect()
    gc.freeze()
    gc.enable()
    control = socket.socket(fileno=control_fd)
    if cold:
        Template(control, None).serve()
    kernel.use_huge_pages()
    fork_templates(control)


def fork_templates(control: socket.socket) -> None:
    """Fork a template for each slot: it has its own socket, user and namespaces, and shares no writable memory."""
    while True:
        data, fds, _, _ = socket.recv_fds(control, 2**12, 1)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            try:
                control.close()
                _serve_slot(json.loads(data)["uid"], socket.socket(fileno=fds[0]))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(fds[0])


def _serve_slot(uid: int | None, control: socket.socket) -> None:
    if uid is not None:
        isolate.become(uid)
        kernel.prctl(kernel.DUMPABLE, 1)  # else it could not write its own uid_map
    Template(control, isolate.Nursery()).serve()


class Template:
    """Starts, watches and ends children, one order after the other."""

    def __init__(self, control: socket.socket, nursery):
        self.control, self.nursery = control, nursery
        self.children = {}  # id: Child
        self.ended = {}  # id: why
        # found out once, since a fork pays for what it computes with a copy of each page that it touches
        self.sizes, self.about = isolate.sizes(), isolate.about()
        seccomp.compiled(os.uname().machine)

    def serve(self) -> None:
        self.reply({"ready": os.getpid()})
        while True:
            ready, _, _ = select.select([self.control], [], [], TICK_S if self.children else None)
            self.watch()
            if ready:
                data, fds, _, _ = socket.recv_fds(self.control, 2**16, 4)
                if not data:
                    os._exit(0)
                self.obey(json.loads(data), fds)

    def reply(self, message: dict) -> None:
        self.control.send(json.dumps(message).encode())

    def obey(self, order: dict, fds: list) -> None:
        if "spawn" in order:
            if order["spawn"] % TIDY == 1 and not order["cold"]:
                kernel.use_huge_pages()
            try:
                self.children[order["spawn"]] = Child(order, *start(order, fds[0], self))
                self.reply({"spawned": order["spawn"]})
            except OSError as error:
                self.reply({"refused": order["spawn"], "why": str(error)})
        elif "kill" in order:
            number = order["kill"]
            if number in self.children:
                self.end(number, "killed")
            self.reply({"ended": number, "why": self.ended.pop(number, "unknown")})
        for fd in fds:
            os.close(fd)

    def watch(self) -> None:
        """Note which children have ended; end those that are too large or too old."""
        for number, child in list(self.children.items()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self.note(number, _words(status))
                continue
            family = usage.family(child.seen)
            child.computed.update(family)  # those that have ended count, too
            if time.monotonic() > child.end or sum(child.computed.values()) > child.cpu_s:
                self.end(number, "time")
            elif max(usage.memory(family), child.from_linux(family)) > child.memory_bytes:
                self.end(number, "memory")

    def end(self, number: int, why: str) -> None:
        """Kill the first process of a child's namespace, and with it all others; returns when none is left."""
        child = self.children[number]
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        self.note(number, why)

    def note(self, number: int, why: str) -> None:
        del self.children[number]
        self.ended[number] = why


class Child:
    """One running fork."""

    def __init__(self, order: dict, pid: int, seen: int):
        self.pid, self.seen = pid, seen  # as we count, and as /proc does
        self.computed, self.cpu_s = {}, order["limits"]["cpu_s"]  # seconds by pid, all that were ever seen
        self.end = time.monotonic() + order["limits"]["life_s"]
        self.memory_bytes = (order["limits"]["memory_mb"] + 300) * 2**20  # torch itself, which is shared, is about 200
        self.before, self.alone = usage.of_linux(), 2 if order["cold"] else 1

    def from_linux(self, family) -> int:
        """Bytes that Linux itself has come to hold since this fork began; 0 for one process, which can have no such
        amount: nobody says for whom they are held, and it might be for another slot's."""
        return usage.of_linux() - self.before if len(family) > self.alone else 0


def _words(status: int) -> str:
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


def start(order: dict, channel: int, template: Template) -> tuple[int, int]:
    """Fork. The pid of the fork for us, and in /proc, as soon as it is shut off. Errors: OSError."""
    if order["cold"]:  # the fork shares our pid namespace, and must not reach into our memory
        kernel.prctl(kernel.DUMPABLE, 0)
    reading, writing = os.pipe()
    pid = os.fork() if order["cold"] else template.nursery.fork()
    if pid == 0:
        _guarded(lambda: _child(order, channel, writing, template), writing)
    os.close(writing)
    said = b"".join(iter(lambda: os.read(reading, 2**12), b""))
    os.close(reading)
    seen, _, error = said.decode().partition("!")
    if error or not seen:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise OSError(error or "the fork ended without a word")
    return pid, os.getpid() if order["cold"] else int(seen)  # cold, we are the first of its namespace


def _guarded(run, writing: int) -> None:
    """Run in a fork; an error is told through the pipe, and the fork never returns into the template's loop."""
    try:
        run()
    except BaseException as error:
        os.write(writing, f"!{error}\n".encode())
    finally:
        os._exit(1)


def _child(order: dict, channel: int, writing: int, template: Template) -> None:
    from . import student

    random.seed()  # which os.fork would do
    os.setsid()  # or a signal to its process group would reach the template, and in it what is no namespace's first
    os.write(writing, os.readlink("/proc/self").encode())
    isolate.go_first()
    if not order["cold"]:  # in a cold start bubblewrap has done all this
        isolate.enter(os.getuid(), os.getgid())
        isolate.furnish(order["masks"], order["limits"]["scratch_mb"], template.about)
    isolate.limit(order["limits"], *template.sizes)
    kernel.drop_capabilities()
    seccomp.install()
    os.mkdir("/tmp/work")
    os.chdir("/tmp/work")
    os.close(writing)
    student.serve(isolate.close_all_but(channel))
