"""Two models in one trace: a filter on modules leaves the samples of the models that it leaves."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import opjoule as oj  # noqa: E402

ESTIMATORS = ["compute", "simple", "lemaire", "neuromc", "machine.compute"]

ONES = [(3, 8), (4, 6), (5, 2)]
"""Of each batch of the first model: its samples, and how many of 8 numbers of each are positive."""

SAMPLES = sum(batch for batch, _ in ONES)


class Early(nn.Module):
    """A layer of 8 x 8 with a ReLU; another of 8 x 2 if the batch is of more than 3."""

    def __init__(self):
        super().__init__()
        self.act, self.first, self.late = nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        y = self.first(self.act(x))
        return self.late(y) if len(x) > 3 else y


class Other(nn.Module):
    """Another model, whose layer has 4 x 4 weights and no activation module."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)


def positive(batch, many):
    return torch.tensor([[1.5] * many + [-1.5] * (8 - many)] * batch)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return a trace of the first model alone, and one of both in turns, 7 samples a batch."""
    folder, early, other = tmp_path_factory.mktemp("two"), Early().eval(), Other().eval()
    found = []
    for name in ("alone", "both"):
        with oj.Recorder(folder / name) as recorder, torch.no_grad():
            for batch, many in ONES:
                early(positive(batch, many))
                if name == "both":
                    other(torch.rand(7, 4))
        found.append(oj.open_trace(recorder.path))
    return found


@pytest.fixture
def alone(traces):
    return traces[0]


@pytest.fixture
def both(traces):
    return traces[1]


def numbers(trace, where):
    """Return of how many samples each command speaks."""
    found = {name: oj.energy(trace, name, where=where).samples for name in ESTIMATORS}
    limit = oj.check(trace, "macs=1T/sample", where=where).verdicts[0]
    macs = oj.count(trace, where=where).total["macs"]
    return {
        **found,
        "count": oj.count(trace, per="sample", where=where).units,
        "rates": oj.rates(trace, where=where).sampled.samples,
        "conventions": oj.conventions(trace, where=where).sampled.samples,
        "compare": oj.compare(trace, trace, where=where).to_dict()["base"]["samples"],
        "table": oj.table(trace, ["samples"], where=where).frame["samples"][0],
        "check": round(macs / limit.value),
    }


def test_all_samples_count_without_a_filter(both):
    assert set(numbers(both, None).values()) == {SAMPLES + 3 * 7}


@pytest.mark.parametrize("where", ["module=Early", "module=Early.first", "module=*.late"])
def test_every_command_divides_by_the_samples_of_the_model_that_is_left(where, both):
    """The late layer ran in 9 of the model's 12 samples; figures are of one of the 12."""
    assert set(numbers(both, where).values()) == {SAMPLES}


def test_figures_of_one_sample_are_those_of_a_trace_of_the_model_alone(alone, both):
    """12 samples of 64 MACs, 9 of which have 16 more: 76; by batch 64, 80 and 80."""
    std = math.sqrt((3 * (64 - 76) ** 2 + 9 * (80 - 76) ** 2) / 12 * 3 / 2)
    for trace, where in ((alone, None), (both, "module=Early")):
        found = oj.count(trace, per="sample", where=where, spread=True)
        assert found.each["macs"] == 76
        assert found.frame["macs_std"][0] == pytest.approx(std)
        cost = oj.energy(trace, "compute", where=where).by(per="sample", spread=True)
        whole = oj.energy(alone, "compute").by(per="sample", spread=True)
        for column in ("per_sample_pj", "std_pj"):
            assert cost[column][0] == pytest.approx(whole[column][0])
    by = oj.count(both, "sample", per="sample", where="module=Early").frame
    assert by["macs_per_sample"].to_list() == [64, 80, 80]


def test_modules_of_both_models_have_the_samples_of_both(both):
    where = "module=Early.first,Other.layer"
    assert set(numbers(both, where).values()) == {SAMPLES + 3 * 7}


def test_calls_of_their_own_are_samples_of_their_own(both):
    """Each root call is one: three of the model that is left."""
    assert oj.energy(both, "compute", where="module=Early", samples="per-call").samples == SAMPLES
    assert oj.count(both, where="module=Early", samples="per-call", per="sample").units == SAMPLES


def test_machines_charge_a_second_for_each_sample_that_is_left(both, tmp_path):
    """1 W for a second a sample: 12 J, of 12 samples."""
    file = tmp_path / "clock.toml"
    file.write_text(
        '[machine]\nname = "clock"\nsource = "none"\nseconds_per_sample = 1\n'
        '[[term]]\nname = "idle"\nquantity = "seconds"\nprice = "1 W"\n'
    )
    found = oj.energy(both, machine=str(file), where="module=Early")
    assert (found.total_pj, found.samples) == (SAMPLES * 1e12, SAMPLES)


def test_samples_without_an_activation_have_no_rate(alone, both):
    """Of 3, 4 and 5 samples 8, 6 and 2 of 8 numbers are positive: 0, 0.25 and 0.75 are zeros."""
    mean = (4 * 0.25 + 5 * 0.75) / 12
    squares = 3 * mean**2 + 4 * (0.25 - mean) ** 2 + 5 * (0.75 - mean) ** 2
    rate = math.sqrt(squares / 12 * 3 / 2)
    for trace, where in ((alone, None), (both, None), (both, "module=Early")):
        found = oj.rates(trace, where=where)
        assert found.totals["activation_sparsity"] == pytest.approx(mean)
        assert found.deviations["activation_sparsity"] == pytest.approx(rate)
        assert found.layers["rate_std"].to_list() == [pytest.approx(rate)]
        shown = oj.table(trace, ["activation_sparsity"], where=where).frame
        assert shown["activation_sparsity_std"][0] == pytest.approx(rate)


@pytest.mark.parametrize("name", ["Spiking", "Formal"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_spiking_network_beside_a_formal_one_costs_what_it_costs_alone(name, estimator, tmp_path):
    """Whether a network is spiking, and its time steps, are asked of its own samples."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    functional = pytest.importorskip("spikingjelly.activation_based.functional")

    class Spiking(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.fire, self.b = nn.Linear(8, 8), neuron.IFNode(), nn.Linear(8, 2)

        def forward(self, x):
            functional.reset_net(self)
            return sum(self.b(self.fire(self.a(x))) for _ in range(3))

    class Formal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    torch.manual_seed(0)
    models = {"Spiking": Spiking().eval(), "Formal": Formal().eval()}
    inputs = [torch.rand(batch, 8) * 3 for batch in (2, 3)]
    for path, chosen in (("alone", [name]), ("both", [*models])):
        with oj.Recorder(tmp_path / path), torch.no_grad():
            for x in inputs:
                for each in chosen:
                    models[each](x)
    alone = oj.energy(tmp_path / "alone", estimator, where=f"module={name}")
    both = oj.energy(tmp_path / "both", estimator, where=f"module={name}")
    assert both.samples == alone.samples == 5
    assert both.time_steps == alone.time_steps
    assert both.total_pj == pytest.approx(alone.total_pj, rel=1e-12)


def test_the_rate_of_neurons_varies_over_the_samples_that_have_neurons(tmp_path):
    """All and a quarter of the neurons fire, in batches of 2 and 4, beside a formal network.

    Mean (2 + 4 / 4) / 6 = 0.5, deviation sqrt((2 * 0.5**2 + 4 * 0.25**2) / 6 * 2 / 1) = 0.5; spikes
    of a sample are 8 and 2 of the 6, and none of 10 others: mean 24 / 16 = 1.5 over four batches.
    """
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    fire, other = neuron.IFNode().eval(), Other().eval()
    with oj.Recorder(tmp_path / "t", model=nn.ModuleList([fire, other])), torch.no_grad():
        for batch, many in ((2, 8), (4, 2)):
            fire.reset()
            fire(positive(batch, many))
            other(torch.rand(5, 4))
    found = oj.rates(tmp_path / "t")
    assert (found.totals["rate"], found.deviations["rate"]) == (0.5, pytest.approx(0.5))
    assert found.totals["nonzero"] == 1.5
    squares = 2 * (8 - 1.5) ** 2 + 4 * (2 - 1.5) ** 2 + 10 * 1.5**2
    assert found.deviations["nonzero"] == pytest.approx(math.sqrt(squares / 16 * 4 / 3))
