"""Which calls of a neuron module are time steps of one layer's neurons."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from spikingjelly.activation_based import neuron  # noqa: E402
from torch import nn  # noqa: E402

import opjoule as oj  # noqa: E402
from opjoule.analyzers.energy import estimate_lemaire  # noqa: E402
from opjoule.analyzers.workload.populations import _Call, populated  # noqa: E402
from opjoule.analyzers.workload.samples import samples_of  # noqa: E402

T, B, N = 5, 3, 8
"""Time steps, samples in a batch, and neurons of a layer."""

ONE, OTHER, NONE = frozenset({1}), frozenset({2}), frozenset()


def calls(*states):
    """Return calls that are given one value as state and make another; None: nothing is given."""
    return [
        _Call(place, 1, () if given is None else (given,), (), (made,))
        for place, (given, made) in enumerate(states)
    ]


def test_states_that_take_turns_are_of_two_layers():
    """0 -> 1 -> 2 and 10 -> 11 -> 12, a call of each by turns."""
    turns = calls((0, 1), (10, 11), (1, 2), (11, 12))
    assert populated(turns, [ONE] * 4) == [0, 1, 0, 1]


def test_a_state_that_begins_after_another_has_ended_goes_on_with_it():
    """None is given twice, as after a reset; and what is given was changed on the way."""
    assert populated(calls((None, 1), (1, 2), (None, 3), (3, 4)), [ONE] * 4) == [0] * 4
    assert populated(calls((None, 1), (21, 2), (22, 3)), [ONE] * 3) == [0] * 3


def test_what_other_layers_made_is_taken_in_by_the_neurons_of_other_layers():
    """One state is carried on by both of them: the module holds it."""
    held = [_Call(place, 1, (), (place,), (place + 1,)) for place in range(4)]
    assert populated(held, [ONE, OTHER, ONE, OTHER]) == [0, 1, 0, 1]
    assert populated(held, [ONE, OTHER, OTHER, OTHER]) == [0, 0, 0, 0]  # 1 and 3 steps: one layer
    assert populated(held, [ONE, ONE | OTHER, OTHER, OTHER]) == [0, 0, 0, 0]  # in a sum
    assert populated(held, [NONE] * 4) == [0, 0, 0, 0]


def test_what_is_given_counts_before_what_the_module_holds():
    """A module that also keeps the state of its latest call: states 1 and 2 take turns."""
    latest = [
        _Call(0, 1, (10,), (), (1,)),
        _Call(1, 1, (20,), (1,), (2,)),
        _Call(2, 1, (1,), (2,), (3,)),
        _Call(3, 1, (2,), (3,), (4,)),
    ]
    assert populated(latest, [NONE] * 4) == [0, 1, 0, 1]


class Stateless(nn.Module):
    """A neuron of IF's kind whose state goes in and out: v + x, and a spike from 1 on."""

    def forward(self, x, v):
        v = v + x
        spikes = (v >= 1).float()
        return spikes, v - spikes


class Layered(nn.Module):
    """Two layers of N neurons, by one neuron object or by two, time step by time step."""

    def __init__(self, first, second):
        super().__init__()
        torch.manual_seed(0)
        self.f1, self.f2 = nn.Linear(N, N), nn.Linear(N, N)
        self.first, self.second = first, second
        with torch.no_grad():
            self.f1.weight.mul_(4), self.f2.weight.mul_(4)

    def forward(self, x):
        v1 = v2 = torch.zeros(B, N)
        for frame in x:
            spikes, v1 = self.first(self.f1(frame), v1)
            spikes, v2 = self.second(self.f2(spikes), v2)
        return spikes


class Whole(Layered):
    """The same with neurons that hold their state and take in all time steps at once."""

    def forward(self, x):
        return self.second(self.f2(self.first(self.f1(x))))


def shared(kind, make):
    one = make()
    return kind(one, one)


def frames():
    torch.manual_seed(1)
    return (torch.rand(T, B, N) < 0.5).float()


@pytest.fixture
def recorded(tmp_path):
    """Return a function that records a model on the frames and opens the trace."""

    def run(model, name="trace", **options):
        rules = [oj.NeuronRule(Stateless, kind="LIF")]
        with torch.no_grad(), oj.Recorder(
            tmp_path / name, model=model.eval(), neurons=rules, **options
        ):  # fmt: skip
            model(frames())
        return oj.open_trace(tmp_path / name)

    return run


BY_LAYER = {
    "states go in and out": lambda: shared(Layered, Stateless),
    "all steps at once": lambda: shared(Whole, lambda: neuron.IFNode(step_mode="m")),
}


@pytest.mark.filterwarnings("ignore::opjoule.RecordingWarning")
@pytest.mark.parametrize("name", BY_LAYER)
def test_a_neuron_object_of_two_layers_runs_the_time_steps_of_one(name, recorded):
    """T = 5, not 10, and 8 + 8 neurons."""
    trace = recorded(BY_LAYER[name]())
    assert samples_of(trace).time_steps == T
    assert samples_of(trace).batch == B
    assert oj.rates(trace).layers.select("neurons", "elements").row(0) == (2 * N, 2 * T * B * N)


@pytest.mark.filterwarnings("ignore::opjoule.RecordingWarning")
def test_one_object_for_two_layers_costs_what_two_objects_do(recorded):
    """Spikes are the same, so are the energies of each layer and the rates of each time step."""
    one = recorded(shared(Layered, Stateless), "one")
    two = recorded(Layered(Stateless(), Stateless()), "two")
    ours, theirs = estimate_lemaire(one), estimate_lemaire(two)
    assert ours.per_sample_pj == theirs.per_sample_pj
    assert ours.details["layers"].equals(theirs.details["layers"])
    steps = oj.rates(one).steps
    assert steps["time_step"].to_list() == list(range(T))
    first, second = oj.rates(two).steps["rate"].reshape((2, T))  # two layers of one size
    assert steps["rate"].to_list() == pytest.approx(((first + second) / 2).to_list())


class Twice(nn.Module):
    """Each frame runs twice through one layer: ten time steps of one neuron."""

    def __init__(self):
        super().__init__()
        self.layer, self.neuron = nn.Linear(N, N), Stateless()

    def forward(self, x):
        v = torch.zeros(B, N)
        for frame in x:
            for _ in range(2):
                spikes, v = self.neuron(self.layer(frame), v)
        return spikes


def test_time_steps_of_an_input_that_the_user_tells_come_first(recorded):
    assert samples_of(recorded(Twice(), "told", batch_dim=1, time_dim=0)).time_steps == T


@pytest.mark.filterwarnings("ignore::opjoule.RecordingWarning")
def test_time_steps_are_those_of_a_layer_where_nobody_tells(recorded):
    assert samples_of(recorded(Twice())).time_steps == 2 * T
