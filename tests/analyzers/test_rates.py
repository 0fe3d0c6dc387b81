"""Firing rates and effective operations: by hand, and against NeuroBench."""

from __future__ import annotations

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
    assert "no Linear and no convolution" in found.warnings[0]
