"""Batch and time steps of module calls, read off their inputs."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import opjoule
from opjoule.tracer import NeuronRule, Recorder, RecordingWarning

T, B, C = 4, 3, 2


class Looping(nn.Module):
    """A network of plain layers that loops over the time of its input: (T, B, C, H, W)."""

    def __init__(self, neuron):
        super().__init__()
        self.conv, self.neuron, self.fc = nn.Conv2d(C, 5, 3), neuron, nn.Linear(20, 7)

    def forward(self, x):
        total = 0
        for step in x:
            total = total + self.fc(self.neuron(self.conv(step)).flatten(1))
        return total


class Whole(nn.Module):
    """Layers on all time steps at once, with time apart and in a row."""

    def __init__(self):
        super().__init__()
        self.mix, self.conv, self.head = nn.Linear(4, 4), nn.Conv2d(C, 2, 1), nn.Linear(2, 2)
        self.code = nn.Linear(2, 2)

    def forward(self, x):  # (T, B, C, H, W)
        x = self.conv(self.mix(x).flatten(0, 1))
        x = x.mean((2, 3)).view(T, B, 2)
        return self.head(x.mean(0)) + self.code(torch.ones(9, 2)).mean()


def frames(trace, root):
    """Return (batch, time steps) of the calls of each module, without repetition."""
    found = {}
    for row in trace.modules:
        calls = trace.calls_of(row["path"])
        found[row["path"].removeprefix(root + ".")] = {(c["batch"], c["time_steps"]) for c in calls}
    return found


def x(*shape):
    return torch.rand(*shape)


def test_a_network_that_loops_over_time(jelly, trace_of):
    """Each layer takes one step of the batch, whatever its own dimensions are."""
    model = Looping(jelly.neuron.IFNode())
    trace = trace_of(lambda: model(x(T, B, C, 4, 4)), batch_dim=1, time_dim=0, model=model)
    inner = {(B, 1)}
    found = frames(trace, "Looping")
    assert found.pop("Looping") == {(B, T)}
    found.pop("neuron.surrogate_function")
    assert found == {"conv": inner, "neuron": inner, "fc": inner}
    assert trace.manifest["notes"] == []


def test_layers_on_all_steps_at_once(trace_of):
    """(T, B, ...) and (T B, ...) hold both; (B, ...) is one step; (9, 2) tells nothing."""
    model = Whole()
    trace = trace_of(lambda: model(x(T, B, C, 4, 4)), batch_dim=1, time_dim=0)
    assert frames(trace, "Whole") == {
        "Whole": {(B, T)},
        "mix": {(B, T)},
        "conv": {(B, T)},
        "head": {(B, 1)},
        "code": {(None, None)},
    }


def test_time_after_the_batch(trace_of):
    model = nn.Sequential(nn.Linear(5, 6), nn.Flatten(0, 1), nn.Linear(6, 2))
    trace = trace_of(lambda: model(x(B, T, 5)), batch_dim=0, time_dim=1)
    assert {(c["batch"], c["time_steps"]) for c in trace.module_calls} == {(B, T)}


def test_as_many_steps_as_samples_and_channels(trace_of):
    """A convolution's second dimension is channels, and two dimensions leave none for time."""

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 2)
            self.mix = nn.Linear(2, 2)

        def forward(self, x):
            y = [self.fc(self.norm(self.conv(step)).mean((2, 3))) for step in x]
            return self.mix(torch.stack(y))

    trace = trace_of(lambda: Square()(x(3, 3, 3, 2, 2)), batch_dim=1, time_dim=0)
    assert frames(trace, "Square") == {
        "Square": {(3, 3)},
        "conv": {(3, 1)},
        "norm": {(3, 1)},
        "fc": {(3, 1)},
        "mix": {(3, 3)},
    }


def test_calls_inside_a_model_without_time(trace_of):
    """Layers that see something else than the batch first are not taken for it."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.each, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):  # (B, words, 5)
            x = self.each(self.embed(x).flatten(0, 1))
            return self.head(x.view(B, -1, 6).mean(1))

    trace = trace_of(lambda: Tokens()(x(B, 7, 5)))
    assert frames(trace, "Tokens") == {
        "Tokens": {(B, None)},
        "embed": {(B, None)},
        "each": {(None, None)},
        "head": {(B, None)},
    }


def test_calls_inside_what_is_unknown_are_compared_with_the_next_that_is_known(trace_of):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, index, x):
            return self.fc(x)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd = Odd()

        def forward(self, x):
            return self.odd(torch.ones(8), x)

    trace = trace_of(lambda: Outer()(x(B, 2)))
    assert frames(trace, "Outer")["odd.fc"] == {(B, None)}
    assert frames(trace, "Outer")["odd"] == {(None, None)}


def test_neurons_that_contradict_the_guess_are_right(jelly, new, read):
    """Without time_dim the first dimension of (T, B, ...) is taken for the batch."""
    model = Looping(jelly.neuron.IFNode())
    recorder = new(model=model)
    with pytest.warns(RecordingWarning, match="tell batch_dim and time_dim"), recorder:
        model(x(T, B, C, 4, 4))
    trace = read(recorder.path)
    found = frames(trace, "Looping")
    assert found["Looping"] == found["conv"] == found["fc"] == {(None, None)}
    assert found["neuron"] == {(B, 1)}
    (note,) = trace.manifest["notes"]
    assert "[4, 3, 2, 4, 4]" in note
    assert "input [4, 3, 2, 4, 4] is 4" in note
    assert "neurons take a batch of 3, which is believed" in note


@pytest.mark.parametrize(
    ("positions", "batch"), [((1, 5), B), ((B, 5), B), ((1, 4), None), ((2, 5), None)]
)
def test_an_input_for_the_whole_batch_tells_no_other_size(trace_of, positions, batch):
    """Positions of (1, S) beside tokens of (B, S) hold for all of them."""

    class Tokens(nn.Module):
        def forward(self, tokens, positions):
            return tokens + positions.sum()

    trace = trace_of(lambda: Tokens()(x(B, 5), positions=x(*positions)))
    assert frames(trace, "Tokens")["Tokens"] == {(batch, None)}


class Folding(nn.Module):
    """Cuts each sample into parts, which its neurons see as so many samples, for three steps."""

    def __init__(self, neuron, parts):
        super().__init__()
        self.fc, self.neuron, self.parts = nn.Linear(4, 2), neuron, parts

    def forward(self, x):
        folded = x.view(-1, 4)
        for _ in range(3):
            folded_out = self.neuron(self.fc(folded))
        return folded_out.view(len(x), -1)


@pytest.mark.parametrize(("told", "samples"), [({"batch_dim": 0}, B), ({}, 5 * B)])
def test_what_is_said_of_the_batch_holds_for_the_neurons_too(jelly, trace_of, told, samples):
    """Five parts of each of 3 samples: nobody but the user knows that they are not 15 samples."""
    trace = trace_of(lambda: Folding(jelly.neuron.IFNode(), 5)(x(B, 20)), **told)
    assert frames(trace, "Folding")["neuron"] == {(samples, 1)}
    counts = opjoule.count(trace.path, per="sample")
    assert (counts.sampled.samples, counts.sampled.time_steps) == (samples, 3)
    assert counts.each["dense_macs"] == 3 * 5 * B * 4 * 2 / samples


def test_a_batch_that_is_run_in_halves(jelly, trace_of):
    """Two calls of 6 steps with 3 of 6 samples each: a sample of 6 steps, not 3 of 12."""
    layer = nn.Sequential(nn.Linear(4, 2), jelly.neuron.IFNode(step_mode="m"))

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            first = self.layer(x[:, :3])
            jelly.functional.reset_net(self.layer)
            return torch.cat([first, self.layer(x[:, 3:])], 1)

    trace = trace_of(lambda: Halves()(x(6, 6, 4)), batch_dim=1, time_dim=0)
    counts = opjoule.count(trace.path, per="sample")
    assert (counts.sampled.samples, counts.sampled.time_steps) == (6, 6)
    assert counts.each["dense_macs"] == 6 * 4 * 2


def test_what_was_read_by_a_wrong_guess_is_taken_back(jelly, new, read):
    """The layer before the neuron takes all steps: four rows look like the batch."""

    class Before(Looping):
        def forward(self, x):
            return super().forward(self.mix(x))

    model = Before(jelly.neuron.IFNode())
    model.mix = nn.Sequential(nn.Linear(4, 4))
    recorder = new(model=model)
    with pytest.warns(RecordingWarning), recorder:
        model(x(T, B, C, 4, 4))
    found = frames(read(recorder.path), "Before")
    assert found["mix"] == found["mix.0"] == {(None, None)}


def test_neurons_that_confirm_the_guess(jelly, trace_of):
    """One time step; later neurons may see windows of the batch."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = jelly.neuron.IFNode(), jelly.neuron.IFNode()
            self.fc = nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.second(self.first(x).view(-1, 2)).view(B, 6))

    model = Windows()
    trace = trace_of(lambda: model(x(B, 6)), model=model)
    found = frames(trace, "Windows")
    assert found["Windows"] == found["fc"] == {(B, 1)}
    assert trace.manifest["notes"] == []


class Keeps(nn.Module):
    """A neuron over (time, batch, ...)."""

    def forward(self, x):
        return (x.cumsum(0) > 1).to(x)


def test_neurons_over_time_that_explain_the_shape(trace_of):
    """They take what the input is by both of its dimensions: nothing is left to ask."""
    model = nn.Sequential(nn.Linear(5, 6), Keeps(), nn.Linear(6, 2))
    rule = NeuronRule(Keeps, kind="IF", time_dim=0, batch_dim=1)
    trace = trace_of(lambda: model(x(T, B, 5)), model=model, neurons=[rule])
    found = frames(trace, "Sequential")
    assert found["Sequential"] == found["1"] == found["2"] == {(B, T)}
    assert found["0"] == {(None, None)}  # ran before the neuron did
    assert trace.manifest["notes"] == []


@pytest.mark.parametrize(
    ("dims", "named"),
    [({"time_dim": 5}, "time_dim=5"), ({"batch_dim": 4, "time_dim": 0}, "batch_dim=4")],
    ids=["time", "batch"],
)
def test_dimensions_that_the_input_does_not_have(new, read, dims, named):
    recorder = new(**dims)
    with pytest.warns(RecordingWarning, match=named), recorder:
        nn.Linear(5, 2)(x(T, B, 5))
    trace = read(recorder.path)
    (call,) = trace.module_calls
    assert None in (call["batch"], call["time_steps"])
    assert "3 dimensions" in trace.manifest["notes"][0]


def test_dimensions_from_the_end(trace_of):
    (call,) = trace_of(lambda: nn.Linear(5, 2)(x(T, B, 5)), batch_dim=-2, time_dim=-3).module_calls
    assert (call["batch"], call["time_steps"]) == (B, T)


def test_what_takes_the_output_of_the_model_is_compared_with_the_model(trace_of):
    """A loss or a decoder has no dimensions of its own to name."""
    model, head, loss = nn.Linear(5, 6), nn.Linear(6, 6), nn.CrossEntropyLoss()

    def run():
        for _ in range(2):
            loss(head(model(x(T, B, 5))).mean(0), torch.tensor([1, 0, 2])).backward()

    trace = trace_of(run, batch_dim=1, time_dim=0)
    for path, frame in {"Linear": (B, T), "Linear#2": (B, T), "CrossEntropyLoss": (B, 1)}.items():
        assert {(c["batch"], c["time_steps"]) for c in trace.calls_of(path)} == {frame}


def test_what_runs_again_in_backward_is_compared_with_the_model(trace_of):
    from torch.utils.checkpoint import checkpoint

    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 2)

        def forward(self, x):
            return checkpoint(self.fc, x[0], use_reentrant=False)

    model = Again()
    trace = trace_of(
        lambda: model(x(T, B, 5).requires_grad_()).sum().backward(), batch_dim=1, time_dim=0
    )
    calls = trace.calls_of("Again.fc")
    assert [call["stage"] for call in calls] == ["forward", "recompute"]
    assert {(call["batch"], call["time_steps"]) for call in calls} == {(B, 1)}


def test_the_command_line_reads_the_inputs_of_the_model(tmp_path, monkeypatch):
    from opjoule.cli.main import run

    (tmp_path / "script.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(20, 2)\n"
        "    def forward(self, x):\n"
        "        return sum(self.fc(step.flatten(1)) for step in x)\n"
        "Net()(torch.ones(4, 3, 5, 2, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run(["record", "--batch-dim", "1", "--time-dim", "0", "script.py"]) == 0
    import pyarrow.parquet as pq

    rows = pq.read_table(tmp_path / "runs/script/module_calls-00000.parquet").to_pylist()
    found = [(row["batch"], row["time_steps"]) for row in rows]
    assert found == [(3, 1)] * 4 + [(3, 4)]
    assert json.loads((tmp_path / "runs/script/trace.json").read_text())["notes"] == []


def test_nothing_is_told_of_a_recording_that_is_clear(tmp_path):
    """No warning at all: pytest makes errors of them."""
    with Recorder(tmp_path / "trace"), torch.no_grad():
        nn.Linear(5, 2).eval()(x(B, 5))
