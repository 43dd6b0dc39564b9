"""`course grade --scheduler ADDRESS`: the workers of a Dask cluster grade, and this process alone writes.

What goes out is the submission, and once a batch the instructor's set with its seed. What comes back is JSON text,
which is read and never run. Dask grades again elsewhere what a lost worker had; since results are written here, as
each one arrives, every submission is in the gradebook once.
"""

import json
import logging
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator

from course_lib.grading.bubblewrap import NoSandbox
from course_lib.grading.pool import PoolBroken
from course_lib.grading.submission import Submission
from course_lib.grading.worker import Setting

CONNECT_S, PATIENCE_S = 10.0, 15.0
AHEAD, AHEAD_BYTES = 1000, 200 * 2**20  # what may be on its way at a time, beside one submission of any size


class NoCluster(PoolBroken):
    """The cluster cannot be used; the message says why and what to do."""


class Cluster:
    """Stands where a Pool stands: `with Cluster(address, setting) as cluster: for unit, result in cluster.run(units)`.

    Errors: NoCluster, and NoSandbox where a worker has none.
    """

    def __init__(self, address: str, setting: Setting, say: Callable[[str], None] = print):
        self.address, self.setting, self.say, self.told = address, setting, say, set()
        self.name = f"course-grade-{secrets.token_hex(8)}"

    def __enter__(self):
        try:
            from distributed import Security

            from course_lib.grading import remote
        except ImportError as error:
            raise NoCluster(
                f"--scheduler needs Dask's scheduler ({error}); install it with `pip install distributed`. "
                "Nothing was graded."
            ) from None
        if self.address.startswith("tls:") and not Security().get_connection_args("client").get("ssl_context"):
            raise NoCluster("tls:// needs certificates, and Dask has none here; see teaching/clusters.md.")
        self.client = self._connect()
        self.client.register_plugin(remote.Grader(remote.Parcel.pack(self.name, self.setting)), name=self.name)
        return self

    def _connect(self):
        """A client of the scheduler. Errors: NoCluster."""
        from distributed import Client

        for name in ("distributed", "distributed.client"):  # what it says of lost workers is dealt with here
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            return Client(self.address, timeout=CONNECT_S, set_as_default=False)
        except Exception as error:  # each kind of connection has errors of its own
            why = str(error).strip().split("\n")[0] or type(error).__name__
            raise NoCluster(f"No Dask scheduler answers at {self.address} ({why}). Nothing was graded.") from None

    def __exit__(self, *_):
        try:
            self.client.unregister_worker_plugin(self.name)
        except Exception:
            pass  # the cluster is gone, and what it held with it
        self.client.close(timeout=CONNECT_S)

    def run(self, units: list[Submission]) -> Iterator[tuple[Submission, dict | None]]:
        """Each unit with its result, in the order in which they are done; None where every worker failed on it."""
        waiting, running, done, size = deque(units), {}, queue.SimpleQueue(), 0
        since = time.monotonic()
        while waiting or running:
            while waiting and (not running or len(running) < AHEAD and size + _bytes(waiting[0]) < AHEAD_BYTES):
                unit = waiting.popleft()
                future = self._send(unit, len(waiting), done)
                running[future.key], size = (unit, future), size + _bytes(unit)
            try:
                key = done.get(timeout=1.0)
            except queue.Empty:
                if time.monotonic() - since > PATIENCE_S:
                    self._look()
                continue
            since = time.monotonic()
            unit, future = running.pop(key)
            size -= _bytes(unit)
            yield unit, self._result(unit, future)

    def _send(self, unit: Submission, number: int, done: queue.SimpleQueue):
        from course_lib.grading import remote

        future = self.client.submit(remote.grade, self.name, unit, key=f"{self.name}-{number}", pure=False)
        future.add_done_callback(lambda future: done.put(future.key))
        return future

    def _look(self) -> None:
        """Nothing has come for a while: say so if nobody is there. Errors: NoCluster."""
        if self.client.status != "running":
            raise NoCluster(self._lost())
        if not self.client.scheduler_info(n_workers=1)["workers"]:
            self._say("The cluster has no workers at the moment; waiting for one (Ctrl-C stops, nothing is lost).")

    def _result(self, unit: Submission, future) -> dict | None:
        """What became of one submission."""
        from distributed import KilledWorker

        try:
            kind, content, said = json.loads(future.result())
        except KilledWorker:  # Dask has tried often enough
            return None
        except Exception as error:
            if future.cancelled() or self.client.status != "running":
                raise NoCluster(self._lost()) from None
            raise NoCluster(f"A worker cannot run the course ({type(error).__name__}: {error}).") from None
        finally:
            future.release()
        for sentence in said:
            self._say(sentence)
        if kind == "refused":
            raise NoSandbox(content)
        return content if content and content["student"] == unit.student else None

    def _lost(self) -> str:
        return f"The cluster at {self.address} is gone. What was graded is kept; run the same command to go on."

    def _say(self, sentence: str) -> None:
        if sentence not in self.told:
            self.told.add(sentence)
            self.say(sentence)


def _bytes(unit: Submission) -> int:
    return sum(len(data) for _, data in unit.files)
