"""Chapter 11: requests that come, write their replies and go, in a pool of pages and in reservations of one memory."""

import functools
from collections import deque
from dataclasses import dataclass, field

from course_lib.kvcache.pool import PagePool

MEMORY, LONGEST, STEPS = 1024, 256, 100  # tokens of room, of the longest text; steps
INSTRUCTIONS = 72  # tokens with which every text begins; no multiple of 16
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Request:
    """A question after the instructions, and one reply to write, or two to choose from."""

    number: int  # it arrives at the step of this number
    prompt: tuple
    reply: int
    replies: int

    @property
    def name(self):
        return NAMES[self.number % len(NAMES)]

    def token(self, reply, at):
        """The token number `at` of a reply: no two replies are alike."""
        return -(1 + LONGEST * (2 * self.number + reply) + at)

    def tokens(self, reply, written):
        """The prompt and the first tokens of a reply."""
        return [*self.prompt, *(self.token(reply, at) for at in range(written))]


@dataclass
class Run:
    """A request under way: its texts in memory, and how many tokens of its replies are written."""

    request: Request
    texts: list = field(default_factory=list)
    written: int = 0

    @property
    def done(self):
        return self.written == self.request.reply


@dataclass(frozen=True)
class Moment:
    """What lies in memory after a step: of each page who has it and how full it is; and the same memory reserved."""

    step: int
    block: int
    share: bool
    pages: tuple  # (name of the first request that has it, users, tokens) of each page
    texts: int
    waiting: int
    finished: int
    reserved: tuple  # (name, tokens) of each reservation that is taken
    reserved_finished: int

    @property
    def taken(self):
        return sum(users > 0 for _, users, _ in self.pages)

    @property
    def shared(self):
        return sum(users > 1 for _, users, _ in self.pages)

    @property
    def empty(self):
        """Share of the taken pages' room in which nothing lies."""
        return 1 - sum(tokens for *_, tokens in self.pages) / max(1, self.taken * self.block)

    @property
    def reserved_empty(self):
        """The same of the reservations."""
        return 1 - sum(tokens for _, tokens in self.reserved) / max(1, len(self.reserved) * LONGEST)


@functools.cache
def requests():
    """Always the same: one a step, with 8 to 40 tokens of question and a reply, mostly short; every fourth has two."""
    import numpy as np

    draw, made = np.random.default_rng(11), []
    for k in range(STEPS + 1):
        question, reply = int(draw.integers(8, 41)), int(min(8 + draw.exponential(20), LONGEST - INSTRUCTIONS - 40))
        own = (LONGEST * (k + 1) + at for at in range(question))
        made.append(Request(k, (*range(INSTRUCTIONS), *own), reply, 1 + (k % 4 == 3)))
    return tuple(made)


@functools.cache
def history(block, share):
    """The moment after each step, by the library's own pool; first come, first served."""
    pool, queue, running, finished, moments = PagePool(MEMORY // block, block, share), deque(), [], 0, []
    for step, (slots, slots_finished) in enumerate(reserved()):
        for run in list(running):
            if run in running:  # nobody needed its pages meanwhile
                _write(pool, run, running, queue)
        for run in [run for run in running if run.done]:
            _leave(pool, run)
            running.remove(run)
            finished += run.request.replies
        queue.append(Run(requests()[step]))
        while queue and _enter(pool, queue[0]):
            running.append(queue.popleft())
        texts = sum(len(run.texts) for run in running)
        moments.append(Moment(step, block, share, _pages(pool, running), texts, len(queue), finished, slots,
                              slots_finished))  # fmt: skip
    return tuple(moments)


def _enter(pool, run):
    """Take pages for a request; False, and nothing taken, where they do not suffice."""
    first = pool.start(run.request.tokens(0, run.written))
    if first is None:
        return False
    run.texts = [first]
    if run.request.replies == 2:
        second = pool.start(run.request.tokens(1, run.written)) if run.written else pool.fork(first)
        if second is None:
            _leave(pool, run)
            return False
        run.texts.append(second)
    return True


def _leave(pool, run):
    for text in run.texts:
        pool.end(text)
    run.texts = []


def _write(pool, run, running, queue):
    """One more token for each text of a request; where no page is free, the newest request goes back to the queue."""
    for reply, text in enumerate(run.texts):
        token = run.request.token(reply, run.written)
        while not pool.append(text, token):
            newest = running.pop()
            _leave(pool, newest)
            queue.appendleft(newest)
            if newest is run:
                return
    run.written += 1


def _pages(pool, running):
    """(name of the first request that has it, users, tokens) of every page."""
    names = [""] * len(pool.users)
    for run in reversed(running):
        for text in run.texts:
            for page in text.pages:
                names[page] = run.request.name
    return tuple((name, users, len(held)) for name, users, held in zip(names, pool.users, pool.held, strict=True))


@functools.cache
def reserved():
    """((name, tokens) of each reservation), finished, after each step: for everybody room for the longest text."""
    queue, running, finished, moments = deque(), [], 0, []
    for step in range(STEPS + 1):
        for run in running:
            run.written += 1
        finished += sum(run.request.replies for run in running if run.done)
        running = [run for run in running if not run.done]
        queue.append(Run(requests()[step]))
        while queue and queue[0].request.replies <= MEMORY // LONGEST - sum(r.request.replies for r in running):
            running.append(queue.popleft())
        slots = [(r.request.name, len(r.request.prompt) + r.written) for r in running for _ in range(r.request.replies)]
        moments.append((tuple(slots), finished))
    return tuple(moments)
