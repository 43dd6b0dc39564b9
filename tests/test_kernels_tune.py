"""The quickest launch: measured once, never while a graph is captured, and not one that the GPU has no room for."""

import pytest
import torch
from triton.runtime.errors import OutOfResources

from course_lib.kernels.measure import clock, tune


@pytest.fixture
def a_gpu(monkeypatch):
    """A GPU that takes as many µs as `run` says; True in the list while a graph is captured."""
    capturing = [False]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing[0])
    monkeypatch.setattr(clock, "microseconds", lambda calls, **_: calls[0]())
    monkeypatch.setattr(tune, "FOUND", {})
    return capturing


def run(choice):
    if choice["us"] < 0:
        raise OutOfResources(2, 1, "shared memory")
    return choice["us"]


CHOICES = [{"us": 5}, {"us": -1}, {"us": 3}, {"us": 4}]


def test_the_quickest_that_can_run_is_remembered(a_gpu):
    assert tune.quickest(("a",), CHOICES, run) == {"us": 3}
    assert tune.quickest(("a",), CHOICES, pytest.fail) == {"us": 3}


def test_nothing_is_measured_while_a_graph_is_captured(a_gpu):
    a_gpu[0] = True
    assert tune.quickest(("a",), CHOICES, pytest.fail) == {"us": 5}
    a_gpu[0] = False
    assert tune.quickest(("a",), CHOICES, run) == {"us": 3}
    a_gpu[0] = True
    assert tune.quickest(("a",), CHOICES, pytest.fail) == {"us": 3}


def test_without_a_gpu_the_first():
    if not torch.cuda.is_available():
        assert tune.quickest(("a",), CHOICES, pytest.fail) == {"us": 5}
