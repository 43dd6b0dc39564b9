"""The grader's end of a socket: deadlines hold for replies that never come, and for those that never end."""

import socket
import threading
import time

import pytest

from course_lib.checks.limit import TimeUp, now
from course_lib.grading.channel import Broken, Channel
from course_lib.grading.inside import wire


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield Channel(ours), theirs
    ours.close()
    theirs.close()


def dribble(theirs, data, pause_s):
    """Send one byte after the other from a thread, until nobody listens."""

    def run():
        for at in range(len(data)):
            try:
                theirs.sendall(data[at : at + 1])
            except OSError:
                return
            time.sleep(pause_s)

    threading.Thread(target=run, daemon=True).start()


def test_a_reply_that_dribbles_is_read_while_there_is_time(ends):
    channel, theirs = ends
    dribble(theirs, wire.frame(("value", 1, [2.5])), 0.001)
    assert channel.receive(now() + 30) == ("value", 1, [2.5])


def test_a_reply_that_dribbles_for_ever_ends_with_the_time(ends):
    channel, theirs = ends
    dribble(theirs, wire.frame(("value", 1, "x" * 10_000)), 0.01)
    began = time.monotonic()
    with pytest.raises(TimeUp):
        channel.receive(now() + 0.3)
    assert time.monotonic() - began < 30


def test_silence_ends_with_the_time_and_a_closed_end_at_once(ends):
    channel, theirs = ends
    with pytest.raises(TimeUp):
        channel.receive(now() + 0.1)
    theirs.close()
    with pytest.raises(Broken):
        channel.receive(now() + 30)


def test_what_nobody_reads_ends_with_the_time(ends):
    channel, _ = ends
    with pytest.raises(TimeUp):
        channel.send(b"x" * 2**24, now() + 0.1)
