"""The router's addresses, on 127.0.0.1, in a thread of its own: /v1/completions, /health, /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from course_lib.deploy.limits import BadRequest, read_request
from course_lib.deploy.server import PortTaken, expect_free
from course_lib.deploy.traffic import Traffic

HEALTH_S = 1.0  # between two health checks
MOST_BYTES = 1 << 20  # beyond it a body is not even read


class Router:
    """Listens for a Traffic. All of it runs on one event loop, so nothing in it needs a lock."""

    def __init__(self, traffic: Traffic, port: int = 0):
        expect_free(port)
        self.traffic, self.port, self._problem = traffic, port, None
        self._ready, self._stopping = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._problem:
            raise PortTaken(f"port {port} on 127.0.0.1 cannot be used: {self._problem}") from self._problem
        self.url = f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        try:
            sockets = bind_sockets(self.port, "127.0.0.1")
        except OSError as error:  # taken since it was looked at
            self._problem = error
            self._ready.set()
            return
        self.port = sockets[0].getsockname()[1]
        self.loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(application(self.traffic), max_body_size=MOST_BYTES,
                            idle_connection_timeout=60, body_timeout=30)  # fmt: skip
        server.add_sockets(sockets)
        checks = self.loop.create_task(self._watch())
        self._ready.set()
        await self._stopping.wait()
        server.stop()  # no new ones; those inside are answered
        while self.traffic.inside:
            await asyncio.sleep(0.01)
        await self.traffic.settle()
        checks.cancel()
        await server.close_all_connections()

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(*(self.traffic.check(b) for b in list(self.traffic.backends.values())))
            await asyncio.sleep(HEALTH_S)

    def call(self, function) -> None:
        """Run a function, or what it awaits, on the router's loop, and wait for it."""

        async def inside():
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result()

    def stop(self) -> None:
        """Answer what is inside, then close."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


class Base(web.RequestHandler):
    """Errors as JSON, in the form that OpenAI's clients read."""

    def initialize(self, traffic: Traffic) -> None:
        self.traffic = traffic

    def write_error(self, status, **_):
        self.tell(status, self._reason)

    def tell(self, status, message):
        self.set_status(status)
        kind = "invalid_request_error" if status < 500 else "unavailable_error"
        self.finish({"error": {"code": status, "message": message, "type": kind}})


class Completions(Base):
    """Counts a request in, refuses or forwards it, and answers."""

    async def post(self):
        counts, limits = self.traffic.counts, self.traffic.limits
        counts["received"] += 1
        try:
            if len(self.request.body) > limits.body_bytes:
                return self.refuse(
                    413, f"the body may have {limits.body_bytes:,} bytes, got {len(self.request.body):,}"
                )
            asked = read_request(self.request.body, limits)
        except BadRequest as error:
            return self.refuse(400, str(error))
        if self.traffic.inside > limits.at_once:
            self.set_header("Retry-After", "1")
            return self.refuse(429, f"{limits.at_once} requests are inside already; try again in a second")
        status, body = await self.traffic.answer(asked)
        self.set_status(status)
        self.finish(body)

    def refuse(self, status, message):
        self.traffic.counts["refused"] += 1
        self.tell(status, message)

    def get(self):
        self.tell(405, "send a completion request with POST")


class Health(Base):
    """200 while the incumbent or the fallback is well."""

    def get(self):
        backends = self.traffic.backends.values()
        up = any(b.health.well for b in backends if b.role != "candidate")
        self.set_status(200 if up else 503)
        well = {b.role: {"artifact": b.server.name, "well": b.health.well} for b in backends}
        self.finish({"status": "ok" if up else "unavailable", **well})


class Metrics(Base):
    """The counts, as Prometheus reads them."""

    def get(self):
        self.set_header("Content-Type", "text/plain; version=0.0.4")
        counts = sorted(self.traffic.counts.items())
        lines = [f"course_requests_{name.replace(' ', '_')}_total {n}" for name, n in counts]
        self.finish("\n".join([*lines, f"course_requests_inside {self.traffic.inside}", ""]))


class Unknown(Base):
    """Any other address."""

    def prepare(self):
        self.tell(404, "there are /v1/completions, /health and /metrics")


def application(traffic: Traffic) -> web.Application:
    """tornado's application over one Traffic."""
    given = {"traffic": traffic}
    routes = (("/v1/completions", Completions), ("/health", Health), ("/metrics", Metrics), (".*", Unknown))
    return web.Application([(path, kind, given) for path, kind in routes], log_function=lambda handler: None)
