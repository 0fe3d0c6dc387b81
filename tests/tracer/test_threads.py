"""What other threads run, and work that never reaches the dispatcher: seen, or named."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.modules import module as nn_module
from torch.optim import optimizer as torch_optimizer
from torch.utils._python_dispatch import _get_current_dispatch_mode

from opjoule.tracer import RecordingWarning, neurons


def in_thread(run, name="worker"):
    thread = threading.Thread(target=run, name=name)
    thread.start()
    thread.join()


def test_module_calls_of_another_thread_are_named(new, read):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    recorder = new(model=model)
    with pytest.warns(RecordingWarning, match="thread 'worker'"), recorder:
        model(torch.ones(1, 2))
        in_thread(lambda: model(torch.ones(1, 2)))
    trace = read(recorder.path)
    assert len(trace.named("addmm")) == 1
    hidden = {row["what"]: row for row in trace.manifest["hidden"]}
    assert set(hidden) == {"Sequential", "Sequential.0", "Sequential.1"}
    assert all(row["calls"] == 1 and "worker" in row["why"] for row in hidden.values())


def test_a_pool_of_threads_as_data_parallel_has_it(new, read):
    model = nn.Linear(2, 2)
    inputs = [torch.ones(1, 2)] * 6
    recorder = new(model=model)
    with pytest.warns(RecordingWarning), recorder, ThreadPoolExecutor(3, "replica") as pool:
        list(pool.map(model, inputs))
        torch.ones(1)
    trace = read(recorder.path)
    assert trace.ops == ["aten.ones.default"]
    assert sum(row["calls"] for row in trace.manifest["hidden"]) == 6
    assert all("replica" in row["why"] for row in trace.manifest["hidden"])


def test_a_thread_that_joins_is_recorded(trace_of):
    model = nn.Linear(2, 2)

    def run(recorder):
        model(torch.ones(1, 2))

        def joined():
            with recorder.join():
                with recorder.join():  # again: nothing is recorded twice
                    model(torch.ones(3, 2)).sum().backward()

        in_thread(joined)
        model(torch.ones(2, 2))

    trace = trace_of(run, takes_recorder=True, model=model)
    calls = trace.named("addmm")
    assert [call["thread"] for call in calls] == [0, 1, 0]
    assert [trace.path_of(call) for call in calls] == ["Linear"] * 3
    assert trace.manifest["hidden"] == []
    product = trace.named("aten.mm", stage="backward")[0]
    assert product["thread"] == 1
    assert trace.calls[product["forward_seq"]]["seq"] == calls[1]["seq"]


def test_threads_that_join_at_once(trace_of):
    models = [nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)) for _ in range(3)]
    barrier = threading.Barrier(3)

    def run(recorder):
        def work(model):
            with recorder.join():
                barrier.wait()
                for _ in range(5):
                    model(torch.rand(2, 4)).sum().backward()

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, models))

    trace = trace_of(run, takes_recorder=True)
    assert [call["seq"] for call in trace.calls] == list(range(len(trace.calls)))
    assert len(trace.named("addmm")) == 3 * 5 * 2
    assert {call["thread"] for call in trace.calls} == {1, 2, 3}
    owners = {}
    for call in trace.named("addmm"):
        owners.setdefault(call["thread"], set()).add(trace.path_of(call).split(".")[0])
    assert all(len(roots) == 1 for roots in owners.values())
    for call in trace.named("aten.mm", stage="backward"):
        if call["forward_seq"] is not None:
            forward = trace.calls[call["forward_seq"]]
            assert (forward["thread"], forward["module_id"]) == (call["thread"], call["module_id"])


def hooks():
    return (
        len(nn_module._global_forward_pre_hooks), len(nn_module._global_forward_hooks),
        len(torch_optimizer._global_optimizer_pre_hooks),
        len(torch_optimizer._global_optimizer_post_hooks),
        torch.cuda.CUDAGraph.replay, _get_current_dispatch_mode(),
    )  # fmt: skip


class Failing(nn.Module):
    def forward(self, x):
        raise ValueError("no")


def test_hooks_and_mode_are_gone_afterwards(new):
    before = hooks()
    with new() as recorder:
        assert hooks() != before
        nn.Linear(2, 2)(torch.ones(1, 2))
        assert _get_current_dispatch_mode() is not None
    assert hooks() == before
    assert recorder.done


def test_hooks_and_mode_are_gone_when_the_model_raises(new):
    before = hooks()
    model = nn.Sequential(nn.Linear(2, 2), Failing())
    with pytest.raises(ValueError, match="no"), new(model=model):
        model(torch.ones(1, 2))
    assert hooks() == before


def test_hooks_and_mode_are_gone_after_the_last_step(new):
    before = hooks()
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with new(steps=2) as recorder:
        for k in range(4):
            layer(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            assert recorder.done == (k >= 1)
        assert _get_current_dispatch_mode() is None
        assert hooks()[:2] == before[:2]
    assert hooks() == before


def test_a_model_that_raises_inside_and_goes_on(trace_of):
    """Calls that an exception ended leave nothing on the stack of modules."""
    failing, layer = nn.Sequential(nn.Linear(2, 2), Failing()), nn.Linear(2, 2)

    def run():
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                failing(torch.ones(1, 2))
        layer(torch.ones(1, 2))
        return torch.ones(2).exp()

    trace = trace_of(run)
    assert trace.named("exp")[0]["module_id"] is None
    (call,) = trace.calls_of("Linear")
    assert call["parent_call_id"] is None
    assert len(trace.calls_of("Sequential")) == 2


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_module_runs_eagerly_and_is_not_called_hidden(new, read, in_place):
    model = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model(torch.ones(1, 2))
        compiled = model if in_place else torch.compile(model, backend="eager")
        if in_place:
            model.compile(backend="eager")
    with warnings.catch_warnings(), new() as recorder:
        warnings.simplefilter("error", RecordingWarning)
        warnings.filterwarnings("ignore", "Using `torch.compile")
        result = compiled(torch.ones(1, 2))
    assert torch.equal(result, expected)
    trace = read(recorder.path)
    assert len(trace.named("addmm")) == 1
    assert trace.manifest["hidden"] == []


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_a_compiled_module_that_cannot_be_eager_is_hidden(new, read, monkeypatch):
    """An old compiler, that cannot be told to: what it runs is not all seen."""
    compiled = torch.compile(nn.Linear(2, 2), backend="eager")
    monkeypatch.setattr(neurons, "can_be_eager", lambda: False)
    with pytest.warns(RecordingWarning, match="compiled module"), new() as recorder:
        compiled(torch.ones(1, 2))
    (named,) = read(recorder.path).manifest["hidden"]
    assert (named["what"], named["calls"]) == ("OptimizedModule", 1)


def test_a_backend_outside_the_dispatcher_is_named(new, read, jelly):
    model = nn.Sequential(nn.Linear(2, 2), jelly.neuron.IFNode())
    model[1].backend = "cupy"
    recorder = new(model=model)
    with pytest.warns(RecordingWarning, match="backend cupy"), recorder:
        model(torch.ones(1, 2))
    trace = read(recorder.path)
    (row,) = trace.manifest["hidden"]
    assert (row["what"], row["calls"]) == ("Sequential.1", 1)
    assert trace.modules[2]["hides_work"] == row["why"]
    # Its inputs and outputs are linked all the same.
    (call,) = trace.calls_of("Sequential.1")
    assert call["inputs"][0]["value_id"] == trace.named("addmm")[0]["out0_value"]


def test_replays_of_cuda_graphs_are_named(new, read, monkeypatch):
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: None)
    recorder = new()
    with pytest.warns(RecordingWarning, match="CUDAGraph"), recorder:
        torch.cuda.CUDAGraph.replay(None)
        torch.ones(1)
    (row,) = read(recorder.path).manifest["hidden"]
    assert row["calls"] == 1
