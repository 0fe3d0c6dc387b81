"""Tensors without elements, FakeTensors and meta tensors, are recorded by their shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from opjoule.tracer import RecordingWarning

FACTS = ("in0_class", "in1_class", "out0_class", "in0_nonzero", "in1_nonzero", "out0_nonzero")


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 4)
    )


def train(model, given):
    optimizer = torch.optim.Adam(model.parameters())
    model(given).square().mean().backward()
    optimizer.step()


def seen(trace):
    """Return op, shapes, dtypes, arguments and stage of every call; device and data aside."""
    names = ("role", "slot", "list_index", "shape", "stride", "dtype", "requires_grad")
    return [
        (call["op"], call["stage"], [tuple(map(each.get, names)) for each in call["operands"]])
        for call in trace.calls
    ]


@pytest.fixture
def real(trace_of):
    model, given = net(), torch.rand(2, 3, 8, 8)
    return seen(trace_of(lambda: train(model, given)))


def test_a_fake_mode_around_the_recorder(trace_of, real):
    with FakeTensorMode():
        model, given = net(), torch.rand(2, 3, 8, 8)
        trace = trace_of(lambda: train(model, given), model=model)
    assert seen(trace) == real
    assert all(call[name] is None for call in trace.calls for name in FACTS)
    assert {call["stage"] for call in trace.calls} == {"forward", "backward", "optimizer"}


def test_a_fake_mode_inside_the_recorder(trace_of, real):
    def run():
        with FakeTensorMode() as mode:
            with recorder.suspend():
                model, given = net(), torch.rand(2, 3, 8, 8)
            assert mode is not None
            train(model, given)

    def keep(given):
        nonlocal recorder
        recorder = given
        run()

    recorder = None
    trace = trace_of(keep, takes_recorder=True)
    assert seen(trace) == real
    assert all(call[name] is None for call in trace.calls for name in FACTS)


def test_a_fake_tensor_without_a_mode_around(trace_of):
    fake = FakeTensorMode().from_tensor(torch.ones(2, 3))
    found = []
    trace = trace_of(lambda: found.append((fake * 2).shape))
    assert found == [(2, 3)]
    assert [call["op"] for call in trace.calls] == ["aten.mul.Tensor"]


def test_the_meta_device(trace_of, real):
    with torch.device("meta"):
        model, given = net(), torch.rand(2, 3, 8, 8)
    trace = trace_of(lambda: train(model, given))
    forward = [call for call in seen(trace) if call[1] != "optimizer"]
    assert forward == [call for call in real if call[1] != "optimizer"]
    assert all(call[name] is None for call in trace.calls for name in FACTS)


def test_what_cannot_be_known_raises_as_it_does_without_a_recorder(new):
    with (
        new(),
        FakeTensorMode(),
        pytest.raises(Exception, match=r"item|data-dependent|_local_scalar"),
    ):
        torch.ones(1).add(1).item()


def test_what_is_exported_belongs_to_no_run(trace_of):
    model, given = nn.Linear(4, 3).eval(), torch.ones(2, 4)
    graphs = []

    def run():
        graphs.append(make_fx(lambda x: x.exp(), tracing_mode="fake")(given))
        graphs.append(torch.export.export(model, (given,)))
        torch.ones(1)

    trace = trace_of(run)
    assert len(graphs) == 2
    assert not trace.named("addmm") and not trace.named("exp") and not trace.named("linear")


def test_symbolic_sizes_stay_symbols_and_are_named(new, read):
    shapes = ShapeEnv()
    mode = FakeTensorMode(shape_env=shapes, static_shapes=False)
    given = mode.from_tensor(torch.ones(5, 3))
    assert isinstance(given.shape[0], torch.SymInt)
    with pytest.warns(RecordingWarning, match="symbolic"), new() as recorder:
        torch.ones(1)
        with mode:
            made = given * 2
    assert isinstance(made.shape[0], torch.SymInt)
    assert not shapes.guards
    trace = read(recorder.path)
    assert trace.ops == ["aten.ones.default"]
    assert [(each["what"], each["calls"]) for each in trace.manifest["hidden"]] == [
        ("tensors of symbolic sizes", 1)
    ]
