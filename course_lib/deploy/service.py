"""A service that can change its artifact under traffic and take the change back."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from course_lib.deploy.canary import Canary, CanaryPolicy
from course_lib.deploy.health import Hysteresis
from course_lib.deploy.limits import Limits
from course_lib.deploy.server import Server
from course_lib.deploy.traffic import Backend, Traffic
from course_lib.deploy.web import Router
from course_lib.evaluate.gate import Verdict
from course_lib.evaluate.task import fits_schema
from course_lib.files import write_atomic


def read_action(text: str) -> dict | None:
    """The bot's replies: one line that is an action in the agreed form, or None."""
    from course_lib.models.task import parse

    action = parse(text.strip().split("\n")[0])
    return action if action is not None and fits_schema(action) else None


class Service:
    """An incumbent and a fallback behind one address on 127.0.0.1; a candidate may come, be compared, stay or go.

    >>> with Service("bot-f16.gguf", fallback="bundled") as service:  # doctest: +SKIP
    ...     service.start_canary("bot-q4.gguf", verdict, CanaryPolicy(share=0.2))
    """

    def __init__(
        self,
        incumbent: str | Path,
        fallback: str | Path | None = None,
        port: int = 0,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        read: Callable[[str], object] = read_action,
        say: Callable[[str], None] = print,
    ):
        self.log: list[str] = []
        self._say, self._stack, self.previous = say, contextlib.ExitStack(), None
        self.traffic = Traffic(limits, read, self.say)
        self.traffic.ended = self._canary_ended
        try:
            self.router = Router(self.traffic, port)
            self._stack.callback(self.router.stop)
            for role, artifact in (("incumbent", incumbent), ("fallback", fallback)):
                if artifact is not None:
                    self._serve(role, artifact)
        except BaseException:
            self.stop()
            raise
        self.url = self.router.url
        self.say(f"listening on {self.url}")

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer what is inside, stop the router, then every runtime."""
        backends = [b.server for b in self.traffic.backends.values()]
        self._stack.close()
        for server in [*backends, *([self.previous] if self.previous else [])]:
            server.stop()

    def say(self, what: str) -> None:
        """One line of the log."""
        self.log.append(f"{time.strftime('%H:%M:%S')}  {what}")
        self._say(self.log[-1])

    def _serve(self, role: str, artifact: str | Path) -> Server:
        server = Server(artifact)
        backend = Backend(role, server, Hysteresis())
        self.router.call(lambda: self.traffic.backends.__setitem__(role, backend))
        self.say(f"{role}: {server.name} on {server.runtime}, up in {server.cold_start_s:.1f} s")
        return server

    def server(self, role: str) -> Server:
        """The server that has a role now; KeyError names those there are."""
        if role not in self.traffic.backends:
            raise KeyError(f"nobody is {role}; there are {', '.join(self.traffic.backends)}")
        return self.traffic.backends[role].server

    @property
    def state(self) -> str:
        """ "stable" before any canary, then the canary's state."""
        return "stable" if self.traffic.canary is None else self.traffic.canary.state

    def start_canary(self, artifact: str | Path, verdict: Verdict, policy: CanaryPolicy | None = None) -> bool:
        """Send a share of users to a candidate that the gate has approved; False, and nothing sent, if it has not."""
        if self.state == "running":
            raise ValueError("a canary is running already; let it end, or roll it back")
        if not verdict.approved:
            for line in (f"the gate refused {verdict.name}; the incumbent stays", *verdict.reasons):
                self.say(line)
            return False
        if old := self.router.call(lambda: self.traffic.backends.pop("candidate", None)):
            old.server.stop()
        self._serve("candidate", artifact)
        canary = Canary(policy or CanaryPolicy())
        self.router.call(lambda: setattr(self.traffic, "canary", canary))
        self.say(
            f"canary: {canary.policy.share:.0%} of the users go to the candidate, {canary.policy.pairs} pairs decide"
        )
        return True

    def _canary_ended(self) -> None:
        """On the router's loop: promote, or send nobody to the candidate any more. Its process goes at stop()."""
        canary, backends = self.traffic.canary, self.traffic.backends
        self.say(f"{canary.state}: {canary.reason}")
        if canary.state == "promoted":
            candidate, incumbent = backends.pop("candidate"), backends["incumbent"]
            self.previous = incumbent.server
            backends["incumbent"] = Backend("incumbent", candidate.server, candidate.health)

    def rollback(self, why: str) -> None:
        """By hand: end the canary, or bring back what served before the last promotion."""
        self.router.call(lambda: self._rollback(why))

    def _rollback(self, why: str) -> None:
        if self.state == "running":
            self.traffic.canary.end(why)
            self._canary_ended()
        elif self.previous is not None:
            old = self.traffic.backends["incumbent"].server
            self.traffic.backends["incumbent"] = Backend("incumbent", self.previous, Hysteresis())
            self.previous = old
            self.traffic.canary.state, self.traffic.canary.reason = "rolled back", why
            self.say(f"rolled back by hand: {why}; {self.server('incumbent').name} serves again")
        else:
            raise ValueError("nothing to roll back: no canary is running and nothing was promoted")

    def ask(self, prompt: str, user: str = "") -> tuple[int, dict]:
        """One request over HTTP, as any client would send it: (status, body)."""
        asked = {"prompt": prompt, "stop": "\n"} | ({"user": user} if user else {})
        return post(f"{self.url}/v1/completions", json.dumps(asked).encode())

    def settle(self) -> None:
        """Wait for the comparisons that are still under way."""
        self.router.call(self.traffic.settle)

    def record(self) -> dict:
        """The deployment as it is now: who serves what on which runtime, what was counted, how it got here."""
        roles = {role: backend.server.record() for role, backend in self.traffic.backends.items()}
        canary = self.traffic.canary
        shown = ("state", "reason", "lost", "won", "differed", "errors")
        ended = canary and {name: getattr(canary, name) for name in shown} | {"pairs": len(canary.seconds)}
        return {"roles": roles, "canary": ended, "counts": dict(self.traffic.counts), "log": self.log}

    def save(self, path: str | Path) -> None:
        """Write the record as JSON."""
        write_atomic(path, json.dumps(self.record(), indent=2) + "\n")


def post(url: str, body: bytes, timeout_s: float = 120) -> tuple[int, dict]:
    """(status, body) of a JSON request to this machine."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # 127.0.0.1 is behind no proxy
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}")
