"""The router's addresses, on 127.0.0.1, in a thread of its own: /v1/completions, /health, /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import threading

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
        from tornado.httpserver import HTTPServer
        from tornado.netutil import bind_sockets

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


def application(traffic: Traffic):
    """tornado's application over one Traffic."""
    from tornado import web

    class Base(web.RequestHandler):
        def write_error(self, status, **_):
            self.tell(status, self._reason)

        def tell(self, status, message):
            self.set_status(status)
            kind = "invalid_request_error" if status < 500 else "unavailable_error"
            self.finish({"error": {"code": status, "message": message, "type": kind}})

    class Completions(Base):
        async def post(self):
            counts, limits = traffic.counts, traffic.limits
            counts["received"] += 1
            if len(self.request.body) > limits.body_bytes:
                counts["refused"] += 1
                return self.tell(413, f"the body may have {limits.body_bytes:,} bytes, got {len(self.request.body):,}")
            try:
                asked = read_request(self.request.body, limits)
            except BadRequest as error:
                counts["refused"] += 1
                return self.tell(400, str(error))
            if traffic.inside > limits.at_once:
                counts["refused"] += 1
                self.set_header("Retry-After", "1")
                return self.tell(429, f"{limits.at_once} requests are inside already; try again in a second")
            status, body = await traffic.answer(asked)
            self.set_status(status)
            self.finish(body)

        def get(self):
            self.tell(405, "send a completion request with POST")

    class Unknown(Base):
        def prepare(self):
            self.tell(404, "there are /v1/completions, /health and /metrics")

    class Health(Base):
        def get(self):
            well = {b.role: {"artifact": b.server.name, "well": b.health.well} for b in traffic.backends.values()}
            up = any(found["well"] for role, found in well.items() if role != "candidate")
            self.set_status(200 if up else 503)
            self.finish({"status": "ok" if up else "unavailable", **well})

    class Metrics(Base):
        def get(self):
            self.set_header("Content-Type", "text/plain; version=0.0.4")
            lines = [
                f"course_requests_{name.replace(' ', '_')}_total {n}" for name, n in sorted(traffic.counts.items())
            ]
            self.finish("\n".join([*lines, f"course_requests_inside {traffic.inside}", ""]))

    return web.Application([("/v1/completions", Completions), ("/health", Health), ("/metrics", Metrics)],
                           default_handler_class=Unknown, log_function=lambda handler: None)  # fmt: skip
