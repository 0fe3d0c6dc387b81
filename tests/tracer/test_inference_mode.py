"""Recordings that end or begin inside `torch.inference_mode` leave PyTorch as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from opjoule.tracer import inference

LEAVE = inference._leave


@pytest.fixture(autouse=True)
def _no_other_recorder():
    """Recorders that other tests never closed do not count here."""
    inference._running.clear()
    torch.inference_mode.__exit__ = LEAVE


def on() -> bool:
    return torch._C._dispatch_tls_is_dispatch_key_included(torch._C.DispatchKey.Python)


def calls(net, times=3):
    for _ in range(times):
        net(torch.ones(2, 4))


@pytest.fixture
def net():
    return nn.Linear(4, 3).eval()


def test_a_recording_that_ends_inside(new, read, net):
    """Broken before: "Hit Python dispatch key but no arguments had PyInterpreter"."""
    with new(steps=1) as recorder:
        with torch.inference_mode():
            calls(net)
            assert recorder.done
        assert not on()
        assert torch.ones(2).add(1).tolist() == [2.0, 2.0]
        with FlopCounterMode(display=False) as counter:
            calls(net, 1)
        assert counter.get_total_flops() == 2 * 2 * 4 * 3
    assert len(read(recorder.path).named("addmm")) == 1
    assert torch.inference_mode.__exit__ is LEAVE


def test_a_decorated_function(new, net):
    with new(steps=1) as recorder:
        torch.inference_mode()(calls)(net)
        assert recorder.done and not on()
        calls(net)


def test_a_mode_of_the_script_goes_on_inside(new, net):
    with FlopCounterMode(display=False) as counter, new(steps=1) as recorder:
        with torch.inference_mode():
            calls(net)
        assert recorder.done and on()
        calls(net, 1)
    assert counter.get_total_flops() == 4 * 2 * 2 * 4 * 3
    assert not on()


def test_a_recording_that_begins_inside_goes_on_outside(new, read, net):
    """One sample of three calls passes; the other two and the training after it are recorded."""
    with new(warmup=1) as recorder:
        with torch.inference_mode():
            calls(net)
        net(torch.ones(2, 4)).sum().backward()
    trace = read(recorder.path)
    assert len(trace.named("addmm")) == 3
    assert trace.named("mm", stage="backward")


def test_modes_within_each_other(new, net):
    with new(steps=1) as first, torch.inference_mode():
        with new(steps=1) as second, torch.inference_mode(mode=False), torch.inference_mode():
            calls(net)
        assert first.done and second.done
    assert not on()
    assert torch.inference_mode.__exit__ is LEAVE
    calls(net)
