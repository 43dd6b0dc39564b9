"""Who answers a request: the canary's candidate, the incumbent, or the fallback, and the next one where one fails.

Every request that comes in is counted in, and counted out once: answered, refused (the request is wrong or one too
many) or failed (nobody could answer; the caller is told so). `lost` is the difference. It has to be 0 at rest.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from course_lib.deploy.canary import Canary, in_share
from course_lib.deploy.health import Hysteresis
from course_lib.deploy.limits import Limits

ROLES = ("candidate", "incumbent", "fallback")  # in the order in which they are asked


@dataclass
class Backend:
    """A server with a role, and what the router thinks of its health."""

    role: str
    server: object  # .url, .name
    health: Hysteresis


class NoAnswer(RuntimeError):
    """A backend gave none; the message says why."""


class Refused(ValueError):
    """The runtime says that the request is wrong, such as a prompt beyond its context. That is no illness."""


class Traffic:
    """Forwards requests. `read(text)` is what a reply says, None where the caller could not work with it."""

    def __init__(self, limits: Limits, read: Callable[[str], object], say: Callable[[str], None]):
        self.limits, self.read, self.say = limits, read, say
        self.backends: dict[str, Backend] = {}
        self.canary: Canary | None = None
        self.counts: Counter = Counter()
        self.ended: Callable[[], None] = lambda: None  # called once when a canary has ended
        self._mirrors: set[asyncio.Task] = set()

    @property
    def inside(self) -> int:
        """Requests that came in and have not gone out."""
        return self.counts["received"] - sum(self.counts[end] for end in ("answered", "refused", "failed"))

    def chain(self, user: str) -> list[Backend]:
        """The backends to ask, in order: those that are well first, the others as a last resort."""
        running = self.canary is not None and self.canary.state == "running"
        roles = ROLES if running and in_share(user, self.canary.policy.share) else ROLES[1:]
        found = [self.backends[role] for role in roles if role in self.backends]
        return sorted(found, key=lambda backend: not backend.health.well)

    async def answer(self, asked: dict) -> tuple[int, dict]:
        """(status, body) for a checked request. Never raises: nobody answering is 503, with the reasons."""
        why = []
        for backend in self.chain(asked["user"]):
            began = time.perf_counter()
            try:
                reply = await self._ask(backend, asked)
            except Refused as error:
                self.counts["refused"] += 1
                return 400, {"error": {"code": 400, "message": str(error), "type": "invalid_request_error"}}
            except NoAnswer as error:
                why.append(f"{backend.role}: {error}")
                self._failed(backend, str(error))
                continue
            self.counts[f"by {backend.role}"] += 1
            self.counts["answered"] += 1
            self.counts["rescued"] += bool(why)
            if backend.role == "candidate":
                self._mirror(backend, asked, reply, time.perf_counter() - began)
            return 200, reply | {"served_by": {"role": backend.role, "artifact": backend.server.name}}
        self.counts["failed"] += 1
        message = "nobody could answer: " + ("; ".join(why) or "no artifact is being served")
        return 503, {"error": {"code": 503, "message": message, "type": "unavailable_error"}}

    async def _ask(self, backend: Backend, asked: dict) -> dict:
        from tornado.httpclient import HTTPRequest

        sent = {name: asked[name] for name in ("prompt", "max_tokens", "stop")} | {"temperature": 0}
        request = HTTPRequest(f"{backend.server.url}/v1/completions", "POST", body=json.dumps(sent),
                              request_timeout=self.limits.timeout_s, connect_timeout=5)  # fmt: skip
        try:
            response = await self.client.fetch(request, raise_error=False)
            reply = json.loads(response.body)
            if 400 <= response.code < 500:
                raise Refused(str(reply["error"]["message"]))
            reply["choices"][0]["text"].encode()
        except Refused:
            raise
        except Exception as error:  # lost, late, or no reply at all: whatever it is, the caller still needs an answer
            raise NoAnswer(f"{type(error).__name__}: {error}"[:200]) from None
        return reply

    @property
    def client(self):
        """One HTTP client for the router's thread."""
        if not hasattr(self, "_client"):
            from tornado.httpclient import AsyncHTTPClient

            self._client = AsyncHTTPClient(force_instance=True, max_clients=2 * self.limits.at_once)
        return self._client

    def _failed(self, backend: Backend, why: str) -> None:
        before, after = backend.health.well, backend.health.seen(False)
        self.say(f"{backend.role} {backend.server.name} gave no answer ({why}); the next one is asked")
        if before and not after:
            self.say(f"{backend.role} {backend.server.name} counts as down")
        if backend.role == "candidate":
            self._judged(lambda canary: canary.failed(why))

    def _mirror(self, backend: Backend, asked: dict, reply: dict, seconds: float) -> None:
        """Put the same request to the incumbent, while the caller already has the answer; then compare."""

        async def compare(incumbent: Backend) -> None:
            began = time.perf_counter()
            try:
                other = await self._ask(incumbent, asked)
            except (NoAnswer, Refused):
                return  # no pair
            said = [self.read(answer["choices"][0]["text"]) for answer in (reply, other)]
            good, spent = [one is not None for one in said], (seconds, time.perf_counter() - began)
            self._judged(lambda canary: canary.compared(*good, spent, said[0] == said[1]))

        if incumbent := self.backends.get("incumbent"):
            task = asyncio.get_running_loop().create_task(compare(incumbent))
            self._mirrors.add(task)
            task.add_done_callback(self._mirrors.discard)

    def _judged(self, judge: Callable[[Canary], None]) -> None:
        if self.canary is not None and self.canary.state == "running":
            judge(self.canary)
            if self.canary.state != "running":
                self.ended()

    async def settle(self) -> None:
        """Wait for the comparisons that are still under way."""
        while self._mirrors:
            await asyncio.gather(*self._mirrors, return_exceptions=True)

    async def check(self, backend: Backend) -> None:
        """One health check."""
        try:
            response = await self.client.fetch(f"{backend.server.url}/health", request_timeout=2, raise_error=False)
            ok = response.code == 200
        except Exception:  # refused, reset, late: whatever it was, it did not answer
            ok = False
        before, after = backend.health.well, backend.health.seen(ok)
        if before != after:
            self.say(f"{backend.role} {backend.server.name} counts as {'well again' if after else 'down'}")
