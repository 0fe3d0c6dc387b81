"""Firing rates and effective operations: by hand, and against NeuroBench."""

from __future__ import annotations

from itertools import pairwise

import pytest

import opjoule

torch = pytest.importorskip("torch")
nn = torch.nn


def pruned(net):
    """Set two fifths of the weights to zero."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(getattr(layer, "weight", None), nn.Parameter):
                layer.weight[torch.rand_like(layer.weight) < 0.4] = 0
    return net


def by_neurobench(model, batches):
    """Return NeuroBench's operations a sample, and the mean of its activation sparsities."""
    from neurobench.hooks.layer import LayerHook
    from neurobench.hooks.neuron import NeuronHook
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations

    model.activation_hooks += [NeuronHook(each["layer"]) for each in model.activation_layers()]
    model.connection_hooks += [LayerHook(layer) for layer in model.connection_layers()]
    operations, sparsity = SynapticOperations(), []
    for batch in batches:
        with torch.no_grad():
            model(batch)
        found = operations(model, None, (batch, None))
        sparsity.append(ActivationSparsity()(model, None, None))
        model.reset_hooks()
    model.close_hooks()
    return found, sum(sparsity) / len(sparsity)


def assert_equal(found, theirs, sparsity):
    assert found.totals["dense"] == pytest.approx(theirs["Dense"], rel=1e-12)
    assert found.totals["effective_macs"] == pytest.approx(theirs["Effective_MACs"], rel=1e-12)
    assert found.totals["effective_acs"] == pytest.approx(theirs["Effective_ACs"], rel=1e-12)
    assert found.totals["activation_sparsity"] == pytest.approx(sparsity, rel=1e-12)


def perceptron():
    return nn.Sequential(
        nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.Sigmoid(), nn.Linear(6, 2)
    )


def convolutions():
    """Padding, stride, dilation and groups: at the border fewer weights meet an input."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, bias=False), nn.ReLU(),
        nn.Flatten(2), nn.Conv1d(6, 3, 4, stride=3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(15, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "shape"), [(perceptron, (8,)), (convolutions, (2, 8, 8))], ids=["linear", "conv"]
)
@pytest.mark.parametrize("prune", [False, True], ids=["dense", "pruned"])
def test_networks_with_relu_equal_neurobench(record, build, shape, prune):
    models = pytest.importorskip("neurobench.models", reason="NeuroBench is not installed")
    torch.manual_seed(0)
    net = (pruned(build()) if prune else build()).eval()
    dense = torch.rand(4, *shape) * (torch.rand(4, *shape) < 0.5)
    batches = [dense, (torch.rand(4, *shape) < 0.3).float(), torch.zeros(4, *shape)]

    def run():
        with torch.no_grad():
            for batch in batches:
                net(batch)

    theirs, sparsity = by_neurobench(models.TorchModel(net), batches)
    assert theirs["Effective_ACs"] > 0 and theirs["Effective_MACs"] > 0
    assert_equal(opjoule.rates(record(run)), theirs, sparsity)


@pytest.mark.parametrize("prune", [False, True], ids=["dense", "pruned"])
def test_a_spiking_network_equals_neurobench(record, prune):
    models = pytest.importorskip("neurobench.models", reason="NeuroBench is not installed")
    snn = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 16), snn.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(16, 4, bias=False), snn.Leaky(beta=0.8, init_hidden=True, output=True),
    )  # fmt: skip
    net = (pruned(net) if prune else net).eval()
    model = models.SNNTorchModel(net)
    batches = [(torch.rand(3, 6, 8) < 0.4).float() * scale for scale in (1, 3)]

    def run():
        with torch.no_grad():
            for batch in batches:
                model(batch)

    trace = record(run)
    theirs, sparsity = by_neurobench(models.SNNTorchModel(net), batches)
    found = opjoule.rates(trace)
    assert_equal(found, theirs, sparsity)
    assert found.layers["neurons"].to_list() == [16, 4]
    assert found.steps.filter(module="Sequential.2")["time_step"].to_list() == list(range(6))
    rate = found.layers["rate"][0]
    assert found.steps.filter(module="Sequential.2")["rate"].mean() == pytest.approx(rate)


@pytest.mark.parametrize("batches", [(1, 1, 1, 1), (3, 1, 2)], ids=["alone", "of many"])
def test_deviations_are_those_of_the_batches_rates(record, batches):
    """Each batch weighs as many samples as it has; n - 1 of n batches in the divisor."""
    np, snn = pytest.importorskip("numpy"), pytest.importorskip("snntorch")
    reset = pytest.importorskip("snntorch.utils").reset
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(8, 16), snn.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(16, 4), snn.Leaky(beta=0.8, init_hidden=True, output=True),
    ).eval()  # fmt: skip
    inputs = [3 * torch.rand(size, 8) for size in batches]
    spikes = []

    def run():
        for x in inputs:
            reset(net)
            hidden = net[1](net[0](x))
            reset(net)
            spikes.append((hidden, net(x)[0]))

    with torch.no_grad():
        run()
        trace = record(lambda: [(reset(net), net(x)) for x in inputs])
    found = opjoule.rates(trace)
    first = np.array([hidden.mean().item() for hidden, _ in spikes])
    both = np.array([torch.cat(pair, 1).mean().item() for pair in spikes])
    weights, many = np.array(batches), len(batches)

    def deviation(rates):
        mean = np.average(rates, weights=weights)
        return (np.average((rates - mean) ** 2, weights=weights) * many / (many - 1)) ** 0.5

    assert deviation(first) > 0
    assert found.layers["rate_std"][0] == pytest.approx(deviation(first))
    assert found.deviations["rate"] == pytest.approx(deviation(both))
    assert found.deviations["nonzero"] == pytest.approx(20 * deviation(both))
    assert found.deviations["activation_sparsity"] == found.deviations["rate"]
    if set(batches) == {1}:
        assert deviation(both) == pytest.approx(both.std(ddof=1))
    assert f"± {100 * deviation(both):#.2g} %" in found.line()


def test_one_batch_has_no_deviation(record):
    net = perceptron().eval()
    with torch.no_grad():
        found = opjoule.rates(record(lambda: net(torch.rand(4, 8))))
    assert set(found.deviations.values()) == {None} and "±" not in found.line()
    assert found.layers["rate_std"].to_list() == [None, None]


class Integrates(nn.Module):
    """Adds up what it is given, and gives the sum: a readout of membrane potentials."""

    def __init__(self):
        super().__init__()
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else self.v + x
        return self.v


class Fires(Integrates):
    """Gives a spike where the sum has passed 1."""

    def forward(self, x):
        return (super().forward(x) > 1).to(x)


def with_readout(tmp_path, kind):
    """Record 3 steps of 4 neurons, one of which is given 1 a step, and a readout of two outputs."""
    net = nn.Sequential(Fires(), nn.Linear(4, 2, bias=False), Integrates(), nn.Linear(2, 5)).eval()
    nn.init.ones_(net[1].weight)
    rules = [
        opjoule.NeuronRule(Fires, kind="IF", states="v"),
        opjoule.NeuronRule(Integrates, kind=kind, states="v"),
    ]
    path = tmp_path / kind
    with opjoule.Recorder(path, model=net, neurons=rules), torch.no_grad():
        for _ in range(3):
            net(torch.tensor([[1.0, 0, 0, 0]]))
    return path


def test_a_readout_of_potentials_does_not_fire(tmp_path):
    """The neuron fires in steps 2 and 3: 2 of 12. The readout's 4 potentials are no spikes.

    Its state and updates cost what they cost as those of a neuron; its first output, all zeros, is
    no spikes either: the Linear behind it runs 10 MACs a step.
    """
    path = with_readout(tmp_path, "non-spiking")
    found = opjoule.rates(path)
    assert found.layers["kind"].to_list() == ["IF"]
    assert found.totals["rate"] == found.layers["rate"][0] == 2 / 12
    assert found.totals["nonzero"] == 2
    assert found.totals["activation_sparsity"] == 10 / 12
    counts = opjoule.count(path, by="module").frame
    assert counts.filter(module="Sequential.3")["macs"].to_list() == [3 * 10]

    other = with_readout(tmp_path, "other")
    assert opjoule.rates(other).totals["rate"] == (2 + 4) / (12 + 6)
    one, two = (opjoule.energy(each, machine="loihi-sanafe") for each in (path, other))
    assert two.breakdown_pj["neuron spike_pj"] - one.breakdown_pj["neuron spike_pj"] == (
        pytest.approx(4 * 69.3)
    )
    assert two.breakdown_pj["neuron read_pj"] == one.breakdown_pj["neuron read_pj"]


def test_no_spikes_are_assumed_of_a_readout(tmp_path):
    def net():
        return nn.Sequential(nn.Linear(4, 2), Integrates(), nn.Linear(2, 5))

    rules = [opjoule.NeuronRule(Integrates, kind="non-spiking", states="v")]
    path = opjoule.record(net, torch.rand(1, 4), tmp_path / "t", device="meta", neurons=rules)
    with pytest.raises(opjoule.ConfigError, match="is known to be a spiking neuron"):
        opjoule.count(path, assume="spikes=0.1")


def stack(sizes, activation):
    layers = [(nn.Linear(n, m, bias=False), activation()) for n, m in pairwise(sizes)]
    return nn.Sequential(*(each for pair in layers for each in pair))


def shared():
    """One activation that is called three times."""
    relu = nn.ReLU()
    return nn.Sequential(nn.Identity(), relu, nn.Identity(), relu, nn.Identity(), relu)


OF_NEUROBENCH = {
    # name: (model, input, Effective_MACs by its tests' own arithmetic, activation sparsity)
    "sigmoid": (lambda: stack((20, 20, 25, 25, 25), nn.Sigmoid), (1, 20), 400 + 500 + 2 * 625, 0.0),
    "relu": (lambda: nn.Sequential(nn.Identity(), nn.ReLU()), (1, 20), 0, 0.5),
    "shared": (shared, (1, 20), 0, 0.5),
    "conv2d": (lambda: nn.Sequential(nn.Conv2d(1, 1, 3, bias=False)), (1, 1, 12, 12), 900, None),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(5, 1, 5, bias=False)), (1, 5, 10), 150, None),
}


@pytest.mark.parametrize("name", OF_NEUROBENCH)
def test_the_models_of_neurobench_s_own_tests(record, name):
    models = pytest.importorskip("neurobench.models", reason="NeuroBench is not installed")
    build, shape, macs, sparsity = OF_NEUROBENCH[name]
    net, x = build().eval(), torch.full(shape, 5.0)
    if name in ("relu", "shared"):
        x[:, :10] = -1

    def run():
        with torch.no_grad():
            net(x)

    net(x)  # it counts layers only of models that have them
    theirs, _ = by_neurobench(models.TorchModel(net), [x])
    found = opjoule.rates(record(run)).totals
    assert found["dense"] == theirs["Dense"] == macs
    assert found["effective_macs"] == theirs["Effective_MACs"] == macs
    assert found["activation_sparsity"] == sparsity


def test_spikes_of_ones_into_a_layer_of_snntorch_as_in_neurobench_s_tests(record):
    """20 x 5 pairs in each of 10 time steps, all inputs ones."""
    models = pytest.importorskip("neurobench.models", reason="NeuroBench is not installed")
    snn = pytest.importorskip("snntorch")
    net = nn.Sequential(
        nn.Linear(20, 5, bias=False), snn.Leaky(beta=0.9, init_hidden=True, output=True)
    )
    x = torch.ones(5, 10, 20)

    def run():
        with torch.no_grad():
            models.SNNTorchModel(net)(x)

    trace = record(run)
    theirs, sparsity = by_neurobench(models.SNNTorchModel(net), [x])
    found = opjoule.rates(trace)
    assert_equal(found, theirs, sparsity)
    assert found.totals["effective_acs"] == 10 * 20 * 5


@pytest.mark.parametrize(
    ("kind", "gates", "total"),
    [(nn.RNNCell, 0, 150), (nn.LSTMCell, 3, 615), (nn.GRUCell, 3, 465)],
    ids=["rnn", "lstm", "gru"],
)
@pytest.mark.parametrize("prune", [False, True], ids=["dense", "pruned"])
def test_cells_equal_neurobench_but_for_products_of_gates(record, kind, gates, total, prune):
    """25 inputs, 5 units: 4 x 5 x (25 + 5) + 3 x 5 = 615 for an LSTM; 15 of them meet no weight."""
    layers = pytest.importorskip("neurobench.metrics.utils.layers", reason="no NeuroBench")
    cell = kind(25, 5).eval()
    x, h, c = torch.rand(2, 25) + 0.5, torch.rand(2, 5) + 0.5, torch.rand(2, 5) + 0.5
    x[0, :7] = h[1, 2] = 0
    if prune:
        with torch.no_grad():
            cell.weight_ih[:, ::3] = cell.weight_hh[::2, 1] = 0
    states = (h, c) if kind is nn.LSTMCell else h

    def run():
        with torch.no_grad():
            cell(x, states)

    found = opjoule.rates(record(run)).products.row(0, named=True)
    ih, hh = (weight != 0 for weight in (cell.weight_ih, cell.weight_hh))
    pairs = int((x != 0).float().matmul(ih.float().T).sum())
    pairs += int((h != 0).float().matmul(hh.float().T).sum())
    assert found["kind"] == kind.__name__
    assert found["dense"] == 2 * (total - gates * 5)
    assert (found["effective_macs"], found["effective_acs"]) == (pairs, 0)
    if kind is not nn.GRUCell:  # NeuroBench loses a unit of a GRU where 1 - z is zero
        theirs, _ = layers.single_layer_MACs((x, states), cell)
        assert theirs - pairs == gates * 2 * 5


def test_by_hand(record):
    """x = 1 0 2 meets 4 outputs, 2 weights of input 0 and 1 of input 2 are zero: 8 - 3 pairs."""
    layer = nn.Linear(3, 4).eval()
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.weight[:2, 0] = 0
        layer.weight[3, 2] = 0
        layer.weight[1, 1] = 0  # meets the zero input

    def run():
        with torch.no_grad():
            layer(torch.tensor([[1.0, 0.0, 2.0]]))

    row = opjoule.rates(record(run)).products.row(0, named=True)
    assert (row["inputs"], row["nonzero"], row["dense"]) == (3, 2, 12)
    assert (row["effective_macs"], row["effective_acs"]) == (5, 0)


@pytest.mark.parametrize("layer", [nn.Linear(8, 4, bias=False), nn.Conv1d(8, 4, 1, bias=False)])
def test_a_pruned_weight_does_no_effective_accumulation(record, layer):
    torch.manual_seed(0)
    pruned(layer).eval()
    x = (torch.rand(3, 8) < 0.4).float()

    def run():
        with torch.no_grad():
            layer(x if layer.weight.dim() == 2 else x[:, :, None])

    trace = record(run)
    weights = (layer.weight.flatten(1) != 0).float()
    pairs = int((x @ weights.T).sum())
    assert opjoule.rates(trace).products["effective_acs"].sum() == pairs
    # The counters ask nothing of the weights, as SpikingJelly's do not: each spike meets 4.
    for rules in ("full", "spikingjelly-2.0"):
        total = opjoule.count(trace, rules=rules).total
        assert (total["synops"], total["acs"]) == (int(x.sum()) * 4, int(x.sum()) * 4)


def test_what_was_not_measured_is_not_known(record):
    net = perceptron().eval()

    def run():
        with torch.no_grad():
            net(torch.rand(2, 8))

    found = opjoule.rates(record(run, statistics="none"))
    assert found.totals["effective_macs"] is None and found.totals["activation_sparsity"] is None
    assert found.totals["dense"] == 8 * 12 + 12 * 6 + 6 * 2
    assert any("were not measured" in text for text in found.warnings)


def test_other_products_are_named(record):
    attention = nn.LSTM(4, 3)

    def run():
        with torch.no_grad():
            attention(torch.rand(2, 1, 4))

    found = opjoule.rates(record(run))
    assert found.products.is_empty()
    assert len(found.left_out) == 1  # the kernel of this device
    assert "no Linear, convolution or cell" in found.warnings[0]


def test_training_and_evaluation_together_are_told(stored):
    """The stored trace has an inference of 3 samples and a training step of 3."""
    told = [line for line in opjoule.rates(stored).warnings if "ran in eval mode" in line]
    assert told == [
        "3 of 6 samples ran in eval mode: rates are of evaluation and training together; ask for "
        "them apart, with --where label=..., step=... or training=..."
    ]
    for label in ("inference", "training"):
        alone = opjoule.rates(stored, where=f"label={label}")
        assert not [line for line in alone.warnings if "ran in eval mode" in line]


def test_samples_of_more_steps_weigh_more_in_the_deviation_as_in_the_mean(tmp_path):
    """Of 4 neurons: 8 of 8 outputs in two steps, 0 of 4 in one: 2/3 in all, and 1 and 0 about it.

    (8 * (1/3)^2 + 4 * (2/3)^2) / 12 * 2 / 1 = 4/9, so 2/3; about the mean of both rates, 1/2, it
    would be another.
    """
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    functional = pytest.importorskip("spikingjelly.activation_based.functional")
    net = nn.Sequential(neuron.IFNode()).eval()
    with opjoule.Recorder(tmp_path / "t", model=net) as recorder, torch.no_grad():
        for steps, drive in ((2, 2.0), (1, 0.25)):
            for _ in range(steps):
                net(torch.full((1, 4), drive))
            functional.reset_net(net)
    found = opjoule.rates(recorder.path)
    assert found.totals["rate"] == pytest.approx(2 / 3)
    assert found.deviations["rate"] == pytest.approx(2 / 3)
    assert found.layers["rate_std"].to_list() == [pytest.approx(2 / 3)]


class Analog(nn.Module):
    def forward(self, x):
        return torch.relu(x)


def test_neurons_that_give_other_values_than_spikes_are_named(tmp_path):
    """Half of the outputs are not zero; that is no firing rate."""
    net = nn.Sequential(Analog(), nn.ReLU()).eval()
    rules = [opjoule.NeuronRule(Analog)]
    with opjoule.Recorder(tmp_path / "t", model=net, neurons=rules), torch.no_grad():
        net(torch.tensor([[0.5, -1.0, 0.25, -2.0]]))
    found = opjoule.rates(tmp_path / "t")
    assert found.totals["rate"] == 0.5
    (text,) = [each for each in found.warnings if "no spikes" in each]
    assert text.startswith("Sequential.0 gives values that are no spikes")
