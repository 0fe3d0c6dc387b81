"""Neurons: their kinds, states and time steps, and what one sample is."""

from __future__ import annotations

import itertools
import types

import pytest
import torch
from torch import nn

from opjoule.schemas import RecordError, SpikeClass
from opjoule.tracer import NeuronRule, Recorder, RecordingWarning, record
from opjoule.tracer.neurons import Neurons

T, BATCH = 4, 3


def net(jelly, mode, **options):
    """Return a linear layer, a neuron and a linear layer, in single- or multi-step mode."""
    model = nn.Sequential(
        jelly.layer.Linear(5, 6), jelly.neuron.LIFNode(**options), jelly.layer.Linear(6, 2)
    )
    jelly.functional.set_step_mode(model, mode)
    return model.eval()


def neuron_calls(trace):
    return trace.calls_of("Sequential.1")


def test_kinds_of_spikingjelly(jelly, trace_of):
    class Own(jelly.neuron.IFNode):
        """A neuron of the user's own that is an IF neuron."""

    neurons = [
        jelly.neuron.IFNode(), jelly.neuron.LIFNode(), jelly.neuron.ParametricLIFNode(),
        jelly.neuron.IzhikevichNode(), Own(),
    ]  # fmt: skip
    model = nn.Sequential(*neurons, nn.ReLU(), jelly.layer.Linear(2, 2))
    trace = trace_of(lambda: torch.ones(1), model=model)
    kinds = [row["neuron"] for row in trace.modules if row["path"].count(".") == 1]
    assert kinds == ["IF", "LIF", "other", "other", "IF", None, None]


def test_a_multi_step_call(jelly, trace_of):
    model = net(jelly, "m")
    x = torch.rand(T, BATCH, 5)
    trace = trace_of(lambda: model(x), model=model)
    (call,) = neuron_calls(trace)
    assert (call["time_steps"], call["batch"], call["step_mode"]) == (T, BATCH, "m")
    assert (call["state_before"], call["sample"]) == ([], 0)
    (state,) = call["state_after"]
    assert state["shape"] == [BATCH, 6]
    value = trace.values[state["value_id"]]
    assert (value["kind"], value["nonzero"]) == ("neuron_state", int((model[1].v != 0).sum()))
    (spikes,) = call["outputs"]
    made = trace.values[spikes["value_id"]]
    assert made["class"] & SpikeClass.BINARY
    assert made["class"] & SpikeClass.EVENTS
    (product,) = [c for c in trace.named("mm") if trace.path_of(c) == "Sequential.2"]
    assert any(product[f"in{slot}_class"] & SpikeClass.EVENTS for slot in (0, 1))


def test_single_step_calls_of_two_samples(jelly, trace_of):
    """State is carried over T calls and reset between: two samples, two steps."""
    model = net(jelly, "s")

    def run():
        with torch.no_grad():
            for _ in range(2):
                for _ in range(T):
                    model(torch.rand(BATCH, 5))
                jelly.functional.reset_net(model)

    trace = trace_of(run, model=model)
    calls = neuron_calls(trace)
    assert [(call["time_steps"], call["batch"]) for call in calls] == [(1, BATCH)] * 2 * T
    for name in ("sample", "step"):
        assert [call[name] for call in calls] == [0] * T + [1] * T
    for before, after in itertools.pairwise(calls):
        handed_on = [] if before["sample"] != after["sample"] else before["state_after"]
        assert [s["value_id"] for s in after["state_before"]] == [s["value_id"] for s in handed_on]
    assert trace.manifest["steps"] == 2


def test_a_warm_up_ends_between_samples(jelly, new, read):
    """One sample of T calls passes; none of it is recorded, the next one whole."""
    model = net(jelly, "s")
    with new(model=model, warmup=1) as recorder, torch.no_grad():
        for _ in range(2):
            for _ in range(T):
                model(torch.rand(BATCH, 5))
            jelly.functional.reset_net(model)
    calls = neuron_calls(read(recorder.path))
    assert [call["state_before"] == [] for call in calls] == [True, False, False, False]
    assert {call["sample"] for call in calls} == {0}


def test_state_made_while_suspended_belongs_to_the_same_sample(jelly, trace_of):
    model = net(jelly, "s")

    def run(recorder):
        with torch.no_grad():
            with recorder.suspend():
                model(torch.rand(BATCH, 5))
            model(torch.rand(BATCH, 5))
            model(torch.rand(BATCH, 5))

    calls = neuron_calls(trace_of(run, takes_recorder=True, model=model))
    assert [call["sample"] for call in calls] == [calls[0]["sample"]] * 2
    assert all(call["state_before"] for call in calls)


def test_a_stateless_model_makes_each_call_a_sample(trace_of):
    model = nn.Linear(5, 2).eval()

    def run():
        with torch.no_grad():
            for _ in range(3):
                model(torch.rand(BATCH, 5))

    calls = trace_of(run, model=model).calls_of("Linear")
    assert [call["sample"] for call in calls] == [0, 1, 2]
    assert [(call["batch"], call["time_steps"]) for call in calls] == [(BATCH, None)] * 3


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ({}, (T, None)),
        ({"batch_dim": 1, "time_dim": 0}, (BATCH, T)),
        ({"batch_dim": None}, (None, None)),
    ],
)
def test_where_batch_and_time_are(trace_of, dims, expected):
    model = nn.Linear(5, 2)
    (call,) = trace_of(lambda: model(torch.rand(T, BATCH, 5)), **dims).calls_of("Linear")
    assert (call["batch"], call["time_steps"]) == expected


def test_batch_and_time_of_keyword_arguments(trace_of):
    model = nn.Linear(5, 2)
    x = torch.rand(BATCH, 5)
    trace = trace_of(lambda: model(input=x))
    (call,) = trace.calls_of("Linear")
    assert call["batch"] == BATCH
    assert trace.values[call["inputs"][0]["value_id"]]["kind"] == "model_input"


def test_layers_inside_containers_that_flatten_time(jelly, trace_of):
    model = jelly.layer.SeqToANNContainer(nn.Linear(5, 2))
    trace = trace_of(lambda: model(torch.rand(T, BATCH, 5)))
    for path in ("SeqToANNContainer", "SeqToANNContainer.0"):
        (call,) = trace.calls_of(path)
        assert (call["time_steps"], call["batch"]) == (T, BATCH)


class Fire(nn.Module):
    """Integrates over calls and fires where it passes 1."""

    def __init__(self):
        super().__init__()
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else self.v + x
        spikes = (self.v >= 1).to(x)
        self.v = self.v - spikes
        return spikes * 0.5


class Fires(Fire):
    """The same over (time, batch, ...)."""

    def forward(self, x):
        return torch.stack([super(Fires, self).forward(step) for step in x])


def test_neurons_of_ones_own(tmp_path, read):
    model = nn.Sequential(nn.Linear(5, 6), Fire(), nn.Linear(6, 2)).eval()
    x = torch.full((BATCH, 5), 3.0)
    path = record(
        model, x, tmp_path / "trace", neurons=[NeuronRule(Fire, kind="IF", states=("v",))]
    )
    trace = read(path)
    assert [row["neuron"] for row in trace.modules] == [None, None, "IF", None]
    (call,) = neuron_calls(trace)
    assert (call["time_steps"], call["batch"]) == (1, BATCH)
    assert [s["shape"] for s in call["state_after"]] == [[BATCH, 6]]
    made = trace.values[call["outputs"][0]["value_id"]]
    assert made["class"] & SpikeClass.SCALED
    assert made["class"] & SpikeClass.EVENTS


def test_a_rule_knows_time_and_covers_subclasses(tmp_path, read):
    model, x = nn.Sequential(Fires()), torch.rand(T, BATCH, 5)
    rule = NeuronRule(Fire, kind="LIF", states=("v",), time_dim=0, batch_dim=1)
    trace = read(record(model, x, tmp_path / "trace", neurons=[rule]))
    (call,) = trace.calls_of("Sequential.0")
    assert (call["time_steps"], call["batch"]) == (T, BATCH)
    assert trace.modules[1]["neuron"] == "LIF"


@pytest.mark.parametrize(("kind", "meant"), [("if", "IF"), ("Lif", "LIF"), ("OTHER", "other")])
def test_a_rule_as_users_write_it(kind, meant):
    """Kinds in any case, one state as a name: `states="mem"` names no `m`, `e`, `m`."""
    rule = NeuronRule(Fire, kind=kind, states="mem")
    assert (rule.kind, rule.states) == (meant, ("mem",))
    assert NeuronRule(Fire, states=["v", "i"]).states == ("v", "i")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cls": "Fire"}, "cls='Fire' is not a class"),
        ({"cls": Fire()}, "is not a class"),
        ({"kind": "leaky"}, "NeuronRule\\(Fire\\): kind='leaky' is none of IF, LIF, other"),
        ({"kind": None}, "kind=None"),
        ({"states": (1,)}, "not a tuple of attribute names"),
        ({"states": ("a b",)}, "not a tuple of attribute names"),
        ({"states": None}, "not a tuple of attribute names"),
        ({"time_dim": "0"}, "batch_dim and time_dim"),
        ({"batch_dim": None}, "batch_dim and time_dim"),
    ],
    ids=str,
)
def test_a_rule_that_means_nothing_is_refused(options, says):
    with pytest.raises(RecordError, match=says) as raised:
        NeuronRule(**{"cls": Fire, **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("neurons", [[Fire], [("Fire", "IF")], NeuronRule(Fire), "LIF"], ids=str)
def test_only_rules_tell_of_neurons(tmp_path, neurons):
    with pytest.raises(RecordError, match="NeuronRule"):
        Recorder(tmp_path / "trace", neurons=neurons)


def test_a_state_that_a_neuron_does_not_have_is_told(tmp_path, read):
    """Once, however many there are, and after the call: it may be made by the first one."""

    class Late(Fire):
        def __init__(self):
            nn.Module.__init__(self)

        def forward(self, x):
            if not hasattr(self, "v"):
                self.v = None
            return super().forward(x)

    model = nn.Sequential(Late(), Late())
    rule = NeuronRule(Fire, kind="IF", states=("v", "mem"))
    recorder = Recorder(tmp_path / "trace", model=model, neurons=[rule])
    with pytest.warns(RecordingWarning, match="NeuronRule\\(Late\\).*no 'mem'") as caught, recorder:
        model(torch.rand(2, 3))
    assert len(caught) == 1
    trace = read(recorder.path)
    assert len(trace.manifest["notes"]) == 1
    assert [len(call["state_after"]) for call in trace.calls_of("Sequential.0")] == [1]


def test_a_neuron_whose_state_is_an_argument(trace_of):
    """Kind, steps and spikes are known; the state is among inputs and outputs, as a value."""

    class Cell(nn.Module):
        def forward(self, x, mem):
            mem = mem * 0.9 + x
            spikes = (mem > 1).to(x)
            return spikes, mem - spikes

    def run():
        mem = torch.zeros(BATCH, 5)
        for _ in range(T):
            _, mem = cell(torch.rand(BATCH, 5), mem)

    cell = Cell()
    trace = trace_of(run, model=cell, neurons=[NeuronRule(Cell, kind="LIF")])
    calls = trace.calls_of("Cell")
    assert trace.modules[0]["neuron"] == "LIF"
    assert {(call["batch"], call["time_steps"], call["sample"]) for call in calls} == {
        (BATCH, 1, 0)
    }
    for before, after in itertools.pairwise(calls):
        assert after["inputs"][1]["value_id"] == before["outputs"][1]["value_id"]
    assert all(call["state_before"] == call["state_after"] == [] for call in calls)
    spikes, mem = calls[-1]["outputs"]
    assert trace.values[spikes["value_id"]]["class"] & SpikeClass.EVENTS
    assert not trace.values[mem["value_id"]]["class"] & SpikeClass.EVENTS


def test_a_rule_goes_before_the_adapter(jelly, tmp_path, read):
    rule = NeuronRule(jelly.neuron.IFNode, kind="other", states=("v",))
    path = record(jelly.neuron.IFNode(), torch.rand(2, 3), tmp_path / "trace", neurons=[rule])
    assert read(path).modules[0]["neuron"] == "other"


def test_what_a_neuron_hands_on_is_spikes_only_if_it_looks_like_it(jelly, trace_of):
    """A neuron that hands its potential on makes no spikes of it."""

    class Potential(jelly.neuron.LIFNode):
        def forward(self, x):
            super().forward(x)
            return self.v

    model = nn.Sequential(Potential(), nn.Linear(5, 2))
    trace = trace_of(lambda: model(torch.rand(BATCH, 5) / 3), model=model)
    (call,) = trace.calls_of("Sequential.0")
    made = trace.values[call["outputs"][0]["value_id"]]["class"]
    assert not made & (SpikeClass.EVENTS | SpikeClass.BINARY)


def of_library(name, module, **attributes):
    """Return an instance of a class as a library that is not installed defines it."""
    bases = [nn.Module]
    for base in attributes.pop("bases", ()):
        bases.insert(0, type(base, (nn.Module,), {"__module__": module}))
    made = type(name, (bases[0],), {"__module__": module})()
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (of_library("Leaky", "snntorch._neurons.leaky", bases=["SpikingNeuron"]), "LIF"),
        (of_library("Synaptic", "snntorch._neurons.synaptic", bases=["SpikingNeuron"]), "other"),
        (of_library("LIFCell", "norse.torch.module.lif"), "LIF"),
        (of_library("IAFCell", "norse.torch.module.iaf"), "IF"),
        (of_library("LICell", "norse.torch.module.leaky_integrator"), "non-spiking"),
        (of_library("LIFeedForwardCell", "norse.torch.module.leaky_integrator"), "non-spiking"),
        (of_library("LIFFeedForwardCell", "norse.torch.module.lif"), "LIF"),
        (of_library("NonSpikingLIFNode", "spikingjelly.clock_driven.neuron"), "non-spiking"),
        (of_library("Linear", "norse.torch.module.lift"), None),
        (nn.ReLU(), None),
    ],
    ids=lambda thing: type(thing).__name__ if isinstance(thing, nn.Module) else str(thing),
)
def test_other_libraries_by_class(module, kind):
    assert Neurons().kind(module) == kind


def test_states_of_other_libraries():
    """snnTorch keeps `mem` and `syn` as attributes; what is no tensor yet is no state."""
    neuron = of_library("Synaptic", "snntorch._neurons.synaptic", bases=["SpikingNeuron"])
    neuron.mem, neuron.syn = torch.zeros(3), torch.empty(0)
    assert Neurons().states(neuron) == [neuron.mem]
    neuron.syn = torch.ones(3)
    assert [s.tolist() for s in Neurons().states(neuron)] == [[0, 0, 0], [1, 1, 1]]


def test_states_of_no_library():
    assert Neurons().states(types.SimpleNamespace()) == []


def test_resets_during_a_recording_that_goes_on(jelly, tmp_path, read):
    """Multi-step calls without a reset between are one sample; state is handed on."""
    model = net(jelly, "m")
    recorder = Recorder(tmp_path / "trace", model=model)
    with pytest.warns(RecordingWarning, match="over 2 calls"), recorder, torch.no_grad():
        model(torch.rand(T, BATCH, 5))
        model(torch.rand(T, BATCH, 5))
        jelly.functional.reset_net(model)
        model(torch.rand(T, BATCH, 5))
    calls = neuron_calls(read(tmp_path / "trace"))
    assert [call["sample"] for call in calls] == [0, 0, 1]
    assert [len(call["state_before"]) for call in calls] == [0, 1, 0]
