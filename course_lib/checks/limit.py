"""Stop code that runs too long, even code that swallows every exception, without ending the kernel.

On Unix's main thread an interval timer raises `TimeUp` (a BaseException) and goes on ticking. A bare `except:` that
swallows it is left at its next line, because from the first tick on a trace function raises there too.
Elsewhere (Windows, other threads) a watchdog thread sends the same exception, which code that swallows every exception
outlives. Neither can interrupt one long call into C.

The timer's seconds are those of `now`: on a busy machine the time that code waits for a processor does not count, so
that a verdict does not depend on what else is running.
"""

import ctypes
import itertools
import os
import signal
import sys
import threading
import time

TICK_S = 0.02
SOON_S = 1e-5
# A handler around a handler lasts a microsecond or two, and begins some microseconds after the inner one was left. When
# exactly depends on the machine, so each try strikes a little later than the one before, and then begins anew.
_STRIKES_S = tuple(1e-6 * 1.15**k for k in range(36))  # 1 to 133 microseconds


class TimeUp(BaseException):
    """The time limit is over. Not an Exception, so that `except Exception` does not catch it."""


elsewhere = None  # a function: the seconds that a sandbox which works for this thread has waited for a processor


def now() -> float:
    """A clock in seconds that stands still while this thread, or its sandbox, waits for a processor."""
    return time.monotonic() - waited_s() - (elsewhere() if elsewhere else 0.0)


def waited_s(path: str = "/proc/thread-self/schedstat") -> float:
    """Seconds that a thread was ready to run and had no processor, as Linux counts them; 0 where nobody does."""
    try:  # not open(), which takes three times as long, and this is asked often
        file = os.open(path, os.O_RDONLY)
        try:
            return int(os.read(file, 100).split()[1]) / 1e9
        finally:
            os.close(file)
    except (OSError, ValueError, IndexError):
        return 0.0


def within(fn, seconds: float):
    """`fn()`, or `TimeUp` when it takes longer than `seconds`."""
    if seconds <= 0:
        raise TimeUp
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _with_timer(fn, seconds)
    return _with_watchdog(fn, seconds)


def _with_timer(fn, seconds: float):
    home, tracer_before, strikes = sys._getframe(), sys.gettrace(), itertools.cycle(_STRIKES_S)
    active = True

    def tracer(_frame, event, _arg):
        if active and event in ("line", "call"):  # not "exception": that would spend it before a handler begins
            signal.setitimer(signal.ITIMER_REAL, next(strikes), TICK_S)  # for the handler of the handler
            raise TimeUp

    def tick(_signum, frame):
        if not active or frame is home:  # home has not begun, or is already leaving
            return
        left = end - now()
        if left > 0:  # the machine was busy
            signal.setitimer(signal.ITIMER_REAL, max(left, SOON_S), TICK_S)
            return
        while frame is not None and frame is not home:
            frame.f_trace = tracer
            frame = frame.f_back
        sys.settrace(tracer)
        raise TimeUp

    end = now() + seconds
    handler_before = signal.signal(signal.SIGALRM, tick)
    timer_before = signal.setitimer(signal.ITIMER_REAL, seconds, TICK_S)
    started = time.monotonic()
    try:
        return fn()
    finally:
        active = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        if sys.gettrace() is not tracer_before:
            sys.settrace(tracer_before)
        _give_back(handler_before, *timer_before, time.monotonic() - started)


def _give_back(handler, seconds: float, interval: float, passed: float) -> None:
    """The alarm to whoever had it before, with the time that is left of it."""
    signal.signal(signal.SIGALRM, handler)
    if seconds > 0:
        signal.setitimer(signal.ITIMER_REAL, max(TICK_S, seconds - passed), interval)


def _with_watchdog(fn, seconds: float):
    target, lock, done = threading.get_ident(), threading.Lock(), threading.Event()

    def watch():
        wait_s = seconds
        while not done.wait(wait_s):
            with lock:
                if not done.is_set():
                    _send(target)
            wait_s = TICK_S

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            return fn()
        finally:
            done.set()
    finally:  # once more: the exception may have arrived inside the first finally
        done.set()
        _absorb(lock)
        _absorb(lock)


def _absorb(lock) -> None:
    """Take an exception that was sent but has not arrived. (Cancelling it leaves CPython 3.11 polling for ever.)"""
    try:
        with lock:
            pass
        for _ in range(100):
            pass
    except TimeUp:
        pass


def _send(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(TimeUp))
