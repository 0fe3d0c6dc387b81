"""`torch.jit.trace` and the old ONNX export: right models, nothing recorded, named as hidden."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from opjoule.tracer import Recorder, RecordingWarning


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)).eval()


def graph_of(traced):
    """Return the graph as text, without the numbers that tell classes of one name apart."""
    return re.sub(r"___torch_mangle_\d+\.", "", str(traced.inlined_graph))


def hidden(trace):
    return [(each["what"], each["calls"]) for each in trace.manifest["hidden"]]


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::DeprecationWarning")
@pytest.mark.parametrize("way", ["trace", "trace_module", "graph"])
def test_a_traced_model_is_what_it_is_without_a_recorder(tmp_path, read, way):
    """The exported convolution depends on its input: it is no constant."""
    model, x = net(), torch.rand(1, 1, 6, 6)

    def export():
        if way == "trace":
            return torch.jit.trace(model, x)
        if way == "trace_module":
            return torch.jit.trace_module(model, {"forward": x})
        return torch.jit._get_trace_graph(model, x)[0]

    with torch.no_grad():
        plain = export()
    with pytest.warns(RecordingWarning, match=r"torch\.jit\.trace"):
        with Recorder(tmp_path / "trace", model=model), torch.no_grad():
            expected = model(x)
            traced = export()
            again = model(x)
    assert torch.equal(expected, again)
    trace = read(tmp_path / "trace")
    assert hidden(trace) == [("torch.jit.trace", 1)]
    assert len(trace.named("convolution")) == 2
    assert len(trace.calls_of("Sequential")) == 2
    if way == "graph":
        assert str(traced) == str(plain)
        return
    assert graph_of(traced) == graph_of(plain)
    other = torch.rand(3, 1, 6, 6)
    with torch.no_grad():
        assert torch.equal(traced(other), model(other))


def test_the_functions_are_put_back(tmp_path):
    before = torch.jit.trace, torch._C._create_graph_by_tracing
    with Recorder(tmp_path / "trace"):
        assert torch.jit.trace is not before[0]
        torch.ones(1)
    assert before == (torch.jit.trace, torch._C._create_graph_by_tracing)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit", "ignore::DeprecationWarning", "ignore::UserWarning"
)
def test_the_old_onnx_export(tmp_path, read):
    pytest.importorskip("onnx")
    model, x = net(), torch.rand(1, 1, 6, 6)
    torch.onnx.export(model, (x,), tmp_path / "plain.onnx", dynamo=False)
    with Recorder(tmp_path / "trace", model=model):
        torch.onnx.export(model, (x,), tmp_path / "recorded.onnx", dynamo=False)
    assert (tmp_path / "recorded.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()
    assert not read(tmp_path / "trace").named("convolution")
