"""Code that never ends is stopped, whatever it catches, in the main thread and in others."""

import contextlib
import signal
import sys
import threading
import time

import pytest

from course_lib.checks import limit, run
from tests import toys
from tests.crowd import needs_schedule, one_crowded_processor


def busy():
    while True:
        pass


def sleeps():
    time.sleep(30)


def catches_exceptions():
    while True:
        try:
            time.sleep(30)
        except Exception:
            pass


def catches_everything():
    while True:
        try:
            time.sleep(30)
        except:  # noqa: E722
            pass


def catches_everything_twice():
    while True:
        try:
            catches_everything()
        except BaseException:
            pass


def suppresses():
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(30)


needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm: who swallows all, goes on")
LOOPS = [busy, sleeps, catches_exceptions, catches_everything, catches_everything_twice, suppresses]


@needs_alarm
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_is_stopped_and_nothing_is_left_behind(loop):
    handler, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(limit.TimeUp):
        limit.within(loop, 0.2)
    assert time.monotonic() - started < 5
    time.sleep(0.1)  # a tick that is still under way would strike here
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) and signal.getsignal(signal.SIGALRM) is handler
    assert limit.within(lambda: 7, 5) == 7


def computes(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


@needs_schedule
def test_waiting_for_a_processor_does_not_count():
    with one_crowded_processor():
        started = time.monotonic()
        assert limit.within(lambda: computes(0.4), 1.0) == 0.4
        assert time.monotonic() - started > 1.5  # it took longer than the limit
        with pytest.raises(limit.TimeUp):
            limit.within(lambda: computes(9.0), 0.5)


def test_other_threads_have_a_watchdog():
    ended = []

    def work():
        for loop in (busy, catches_exceptions_quickly):
            try:
                limit.within(loop, 0.2)
            except limit.TimeUp:
                ended.append(loop.__name__)
        time.sleep(0.1)
        ended.append(limit.within(lambda: 7, 5))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert ended == ["busy", "catches_exceptions_quickly", 7]


def catches_exceptions_quickly():
    while True:
        try:
            sum(range(100))
        except Exception:
            pass


@needs_alarm
def test_someone_elses_alarm_still_rings():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(limit.TimeUp):
            limit.within(busy, 0.1)
        time.sleep(0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rang == [1]


@needs_alarm
def test_a_debugger_or_coverage_keeps_its_trace_function():
    seen = []

    def tracer(frame, event, arg):
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with pytest.raises(limit.TimeUp):
            limit.within(catches_everything, 0.1)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


@needs_alarm
def test_a_check_says_that_it_stopped_and_the_time_is_for_the_whole_check(monkeypatch):
    monkeypatch.setenv("COURSE_TIME_LIMIT", "0.3")
    started = time.monotonic()
    judgement = toys.exercise().judge(lambda x, top=10.0: catches_everything())
    assert time.monotonic() - started < 3
    assert judgement.first.name == "ends in time"
    assert judgement.first.failure.message == "Your function did not finish within 0.3 s, so it was stopped."
    assert judgement.first.failure.inputs["x"].tolist() == [1.5]


def test_a_loop_on_one_case_only_is_stopped_too():
    def answer(x, top=10.0):
        while len(x) == 6:
            pass
        return toys.double(x, top)

    judgement = toys.exercise().judge(answer, 0.3)
    assert "did not finish within 0.3 s" in judgement.first.failure.message
    assert [v.ok for v in judgement.verdicts] == [False, None, None, True]


def test_a_nonsense_limit_falls_back(monkeypatch):
    monkeypatch.setenv("COURSE_TIME_LIMIT", "soon")
    assert run.time_limit_s() == 20
