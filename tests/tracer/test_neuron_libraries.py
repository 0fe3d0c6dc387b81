"""Each neuron library against itself, as it is installed."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from opjoule.schemas import SpikeClass
from opjoule.tracer import Recorder, RecordingWarning
from opjoule.tracer.neurons import Neurons

TIME, BATCH, WIDTH = 5, 2, 4


def imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def neuron_call(trace_of, net, *given):
    """Return the row and the first call of the neuron that a model consists of."""
    trace = trace_of(lambda: net(*given), model=net.eval())
    return trace.modules[0], trace.calls_of(type(net).__name__)[0], trace


NORSE = {
    "LIF": ["LIF", "LIFCell", "LIFBoxCell", "LIFRecurrent", "LIFRecurrentCell", "LIFRefracCell",
            "LIFRefracRecurrent", "LIFRefracRecurrentCell", "LIFMCRecurrentCell",
            "LIFMCRefracRecurrentCell", "LIFCorrelation"],
    "IF": ["IAF", "IAFCell"],
    "non-spiking": ["LI", "LICell", "LIBoxCell", "LILinearCell"],
    "other": ["LIFEx", "LIFExCell", "LIFExRecurrent", "LIFExRecurrentCell", "LIFAdEx",
              "LIFAdExCell", "LIFAdExRecurrent", "LIFAdExRecurrentCell", "LIFAdExRefracCell",
              "LIFAdExRefracRecurrent", "LIFAdExRefracRecurrentCell",
              "LSNN", "LSNNCell", "LSNNRecurrent",
              "LSNNRecurrentCell", "CobaLIFCell", "Izhikevich", "IzhikevichCell",
              "IzhikevichRecurrent", "IzhikevichRecurrentCell"],
    None: ["Lift", "SequentialState", "RegularizationCell", "PoissonEncoder", "LConv2d"],
}  # fmt: skip


def made(cls):
    """Make a neuron of a class with as few arguments as it takes."""
    norse = imported("norse.torch")
    if "Izhikevich" in cls.__name__:
        tonic = norse.functional.izhikevich.tonic_spiking
        return cls(WIDTH, WIDTH, tonic) if "Recurrent" in cls.__name__ else cls(tonic)
    if cls.__name__ == "Lift":
        return cls(nn.Linear(1, 1))
    if cls.__name__ == "LConv2d":
        return cls(1, 1, 1)
    for given in ((), (WIDTH,), (WIDTH, WIDTH)):
        try:
            return cls(*given)
        except TypeError:
            continue
    raise AssertionError(f"{cls.__name__} takes other arguments")


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in NORSE.items() for n in names])
def test_kinds_of_norse(kind, name):
    norse = imported("norse.torch")
    assert Neurons().kind(made(getattr(norse, name))) == kind


def test_no_neuron_of_norse_is_forgotten():
    """Whatever it exports that has cells' names or bases is in the table above."""
    norse = imported("norse.torch")
    known = {name for names in NORSE.values() for name in names}
    exported = {
        name for name, cls in vars(norse).items()
        if isinstance(cls, type) and issubclass(cls, nn.Module)
        and (name.endswith("Cell") or any(base.__name__.startswith("SNN") for base in cls.__mro__))
    }  # fmt: skip
    assert exported <= known


@pytest.mark.parametrize("name", ["LIF", "LSNN", "IAF", "LIFEx", "LIFAdEx", "Izhikevich"])
def test_layers_of_norse_take_time_first(name, trace_of):
    norse = imported("norse.torch")
    x = torch.rand(TIME, BATCH, WIDTH)
    row, call, _ = neuron_call(trace_of, made(getattr(norse, name)), x)
    assert row["neuron"] is not None
    assert (call["time_steps"], call["batch"], call["batch_from"]) == (TIME, BATCH, "told")


def test_cells_of_norse_take_one_step(trace_of):
    norse = imported("norse.torch")
    _, call, _ = neuron_call(trace_of, norse.LIFCell(), torch.rand(BATCH, WIDTH))
    assert (call["time_steps"], call["batch"]) == (1, BATCH)


SNNTORCH = {
    "LIF": {"Leaky": [0.9], "RLeaky": [0.9, 1.0, False], "Lapicque": [0.9]},
    "other": {"Synaptic": [0.9, 0.8], "RSynaptic": [0.9, 0.8, 1.0, False], "Alpha": [0.9, 0.8],
              "SLSTM": [4, 4], "SConv2dLSTM": [1, 1, 3], "LeakyParallel": [4, 4],
              "StateLeaky": [0.9, 4], "LinearLeaky": [0.9, 4, 4]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "given"),
    [(kind, name, given) for kind, of in SNNTORCH.items() for name, given in of.items()],
)
def test_kinds_of_snntorch(kind, name, given):
    snntorch = imported("snntorch")
    assert Neurons().kind(getattr(snntorch, name)(*given)) == kind


def test_states_and_steps_of_snntorch(trace_of):
    snntorch = imported("snntorch")
    net = snntorch.Synaptic(0.9, 0.8, init_hidden=True)
    _, call, trace = neuron_call(trace_of, net, torch.rand(BATCH, WIDTH))
    assert (call["time_steps"], call["batch"]) == (1, BATCH)
    kinds = [trace.values[state["value_id"]]["kind"] for state in call["state_after"]]
    assert kinds == ["neuron_state"] * 2  # mem and syn


def sinabs_layers():
    layers = imported("sinabs.layers")
    recurrent = nn.Linear(WIDTH, WIDTH)
    return {
        "IF": [layers.IAF(), layers.IAFSqueeze(batch_size=BATCH), layers.IAFRecurrent(recurrent)],
        "LIF": [layers.LIF(10.0), layers.LIFSqueeze(num_timesteps=TIME, tau_mem=10.0),
                layers.LIFRecurrent(10.0, recurrent)],
        "other": [layers.ALIF(10.0, 10.0), layers.ALIFRecurrent(10.0, 10.0, recurrent)],
        "non-spiking": [layers.ExpLeak(10.0)],
        None: [layers.SumPool2d(2), layers.FlattenTime()],
    }  # fmt: skip


def test_kinds_of_sinabs():
    for kind, layers in sinabs_layers().items():
        for layer in layers:
            assert Neurons().kind(layer) == kind, layer


def test_steps_and_states_of_sinabs(trace_of):
    """(batch, time, ...), or both in one dimension, of which the layer knows one."""
    x = torch.rand(BATCH, TIME, WIDTH)
    for kind, layers in sinabs_layers().items():
        for layer in layers if kind else ():
            given = x.flatten(0, 1) if "Squeeze" in type(layer).__name__ else x
            row, call, trace = neuron_call(trace_of, layer, given)
            assert row["neuron"] == kind
            assert (call["time_steps"], call["batch"]) == (TIME, BATCH), layer
            states = [trace.values[state["value_id"]] for state in call["state_after"]]
            assert [state["numel"] for state in states][:1] == [BATCH * WIDTH], layer


def test_a_network_of_sinabs_is_one_sample_for_each_call(tmp_path, read):
    """State that is carried from call to call makes one sample; a reset ends it."""
    layers = imported("sinabs.layers")
    net = nn.Sequential(nn.Linear(WIDTH, WIDTH), layers.IAFSqueeze(batch_size=BATCH)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        with Recorder(tmp_path / "trace", model=net), torch.no_grad():
            for _ in range(3):
                net(torch.rand(BATCH * TIME, WIDTH))
                net[1].reset_states()
    calls = read(tmp_path / "trace").calls_of("Sequential.1")
    assert [call["sample"] for call in calls] == [0, 1, 2]


SPIKINGJELLY = {
    "IF": {"IFNode": {}, "SimpleIFNode": {}},
    "LIF": {"LIFNode": {}},
    "other": {"ParametricLIFNode": {}, "EIFNode": {}, "QIFNode": {}, "IzhikevichNode": {},
              "PSN": {"T": TIME}, "MaskedPSN": {"k": 2, "T": TIME}, "SlidingPSN": {"k": 2}},
    "non-spiking": {"NonSpikingIFNode": {}, "LIAFNode": {"act": torch.relu,
                                                         "threshold_related": False}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "given"),
    [(kind, name, given) for kind, of in SPIKINGJELLY.items() for name, given in of.items()],
)
def test_kinds_of_spikingjelly(kind, name, given):
    jelly = imported("spikingjelly.activation_based.neuron")
    cls = getattr(jelly, name, None)
    if cls is None:
        pytest.skip(f"{name} is not in this version")
    assert Neurons().kind(cls(**given)) == kind


@pytest.mark.parametrize("name", ["PSN", "MaskedPSN", "SlidingPSN"])
def test_parallel_neurons_of_spikingjelly_give_spikes_and_take_time_first(name, trace_of):
    jelly = imported("spikingjelly.activation_based.neuron")
    net = getattr(jelly, name)(**SPIKINGJELLY["other"][name])
    if name != "PSN":
        net.step_mode = "m"
    row, call, trace = neuron_call(trace_of, net, torch.randn(TIME, BATCH, WIDTH))
    assert (row["neuron"], call["time_steps"], call["batch"]) == ("other", TIME, BATCH)
    assert trace.values[call["outputs"][0]["value_id"]]["class"] & SpikeClass.EVENTS


def test_a_filter_of_snntorch_gives_its_potential_and_no_spikes():
    snntorch = imported("snntorch")
    assert Neurons().kind(snntorch.StateLeaky(0.9, 4, output=False)) == "non-spiking"
    assert Neurons().kind(snntorch.StateLeaky(0.9, 4, output=True)) == "other"


def test_recurrent_layers_of_spikingjelly_are_told_to_be_no_neurons(tmp_path):
    rnn = imported("spikingjelly.activation_based.rnn")
    net = rnn.SpikingLSTM(WIDTH, WIDTH, 1).eval()
    with pytest.warns(RecordingWarning, match=r"SpikingLSTMCell\): spikes come out"):
        with Recorder(tmp_path / "trace", model=net), torch.no_grad():
            net(torch.rand(TIME, BATCH, WIDTH))
