"""The figures of other tools, told from a trace, beside the tools themselves: ten networks each."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import opjoule  # noqa: E402

_SPEC = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
networks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(networks)
nn = torch.nn

SEEDS = range(10)


def told(path, net, run, *args, **options):
    """Return the conventions of a run of a network, of all samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opjoule.Recorder(path, model=net), torch.no_grad():
            run(*args)
    return opjoule.conventions(path, per="total", **options)


@pytest.fixture(scope="module")
def spiking(tmp_path_factory):
    """Return a function that returns a network of spikes, its input and its conventions."""
    known = {}

    def made(seed):
        if seed not in known:
            net, x = networks.spiking(seed)
            path = tmp_path_factory.mktemp("networks") / "trace"
            known[seed] = net, x, told(path, net, networks.one_step_at_a_time, net, x)
        return known[seed]

    return made


def again(net, x):
    with torch.no_grad():
        networks.one_step_at_a_time(net, x)


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_of_differences_add_up(seed, spiking):
    """Of each figure that is known: opjoule's own, and what is said to make the difference."""
    _, _, found = spiking(seed)
    own = dict(found.frame.filter(convention="opjoule").select("kind", "value").rows())
    parts = {}
    for convention, figure, _, amount in found.differences.rows():
        parts[convention, figure] = parts.get((convention, figure), 0) + amount
    for row in found.frame.iter_rows(named=True):
        if row["value"] is not None:
            whole = own[row["kind"]] + parts.get((row["convention"], row["figure"]), 0)
            assert row["value"] == pytest.approx(whole, rel=1e-9, abs=1e-6), row


@pytest.mark.parametrize("seed", SEEDS)
def test_flop_counter_mode(seed, spiking):
    from torch.utils.flop_counter import FlopCounterMode

    net, x, found = spiking(seed)
    with FlopCounterMode(display=False) as counter:
        again(net, x)
    assert found.total["FlopCounterMode total FLOPs"] == counter.get_total_flops() > 0


def test_flop_counter_mode_of_ordinary_networks(tmp_path):
    """Attention, recurrent layers, encoders, vectors: what it has no formula for is 0 there."""
    from torch.utils.flop_counter import FlopCounterMode

    made = [networks.ordinary(seed) for seed in SEEDS]

    def run():
        for _, net, inputs in made:
            net(*inputs)

    model = nn.ModuleList(net for _, net, _ in made)
    found = told(tmp_path / "trace", model, run)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    assert found.total["FlopCounterMode total FLOPs"] == counter.get_total_flops()
    missing = found.differences.filter(convention="FlopCounterMode")["what"].to_list()
    assert "no formula for aten.mv.default" in missing


@pytest.mark.parametrize("seed", SEEDS)
def test_spikingjelly(seed, spiking):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import op_counter

    net, x, found = spiking(seed)
    names = ("FlopCounter", "MACCounter", "ACCounter", "SynOpCounter")
    counters = [getattr(op_counter, name)() for name in names]
    with op_counter.DispatchCounterMode(counters):
        again(net, x)
    for name, counter in zip(names, counters, strict=True):
        assert found.total[f"SpikingJelly 2.0 {name}"] == counter.get_total(), name


class Steps(nn.Module):
    """A network that NeuroBench calls: with a batch, over all time steps."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, batch):
        networks.one_step_at_a_time(self.net, batch.transpose(0, 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_neurobench(seed, spiking):
    models = pytest.importorskip("neurobench.models", reason="NeuroBench is not installed")
    from neurobench.hooks.layer import LayerHook
    from neurobench.metrics.workload import SynapticOperations

    net, x, found = spiking(seed)
    batch = x.transpose(0, 1)
    model = models.TorchModel(Steps(net))
    model.connection_hooks += [LayerHook(layer) for layer in model.connection_layers()]
    with torch.no_grad():
        model(batch)
    theirs = SynapticOperations()(model, None, (batch, None))
    model.close_hooks()
    for name, value in theirs.items():
        assert found.total[f"NeuroBench {name}"] / len(batch) == pytest.approx(value, rel=1e-12)


def norse_synops(layer, z):
    """Norse's definition: z.sum() times out_features, or out_channels * kH * kW / groups.

    Norse has it in its sources since June 2026; its release 1.1.0 does not.
    """
    if isinstance(layer, nn.Linear):
        return float(z.sum()) * layer.out_features
    height, width = layer.kernel_size
    return float(z.sum()) * layer.out_channels * height * width / layer.groups


def hooked(net, hook):
    """Return the handles of a hook before each Linear and Conv2d: hook(layer, (input,))."""
    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return [layer.register_forward_pre_hook(hook) for layer in layers]


def are_spikes(z):
    return bool(((z == 0) | (z == 1)).all())


@pytest.mark.parametrize("seed", SEEDS)
def test_norses_formula(seed, spiking):
    net, x, found = spiking(seed)
    sums = []

    def add(layer, inputs):
        sums.append(norse_synops(layer, inputs[0]) if are_spikes(inputs[0]) else 0)

    handles = hooked(net, add)
    again(net, x)
    for handle in handles:
        handle.remove()
    assert found.total["Norse SynOpsCounter"] == sum(sums)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_formula_of_papers(seed, spiking):
    """Rate x T x FLOPs: rates by hooks, FLOPs of one time step by FlopCounterMode, in MACs."""
    from torch.utils.flop_counter import FlopCounterMode

    net, x, found = spiking(seed)
    seen = {}

    def look(layer, inputs):
        seen.setdefault(layer, []).append(inputs[0])

    handles = hooked(net, look)
    again(net, x)
    for handle in handles:
        handle.remove()
    steps, sops, first = len(x), 0.0, 0
    for place, (layer, inputs) in enumerate(seen.items()):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(inputs[0])
        flops = counter.get_total_flops() // 2
        if place == 0 and not are_spikes(torch.stack(inputs)):
            first = flops
        else:
            rate = float((torch.stack(inputs) != 0).double().mean())
            sops += rate * steps * flops
    assert found.total["paper formula SOPs"] == pytest.approx(sops, rel=1e-6)
    assert found.total["paper formula energy"] == pytest.approx(0.9 * sops + 4.6 * first, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore")
def test_sinabs(seed, spiking):
    """Each call of a layer is a batch to its analyzer, of which it takes the mean over samples."""
    analyzers = pytest.importorskip("sinabs.synopcounter", reason="sinabs is not installed")
    net, x, found = spiking(seed)
    graded = set()

    def look(layer, inputs):
        if not are_spikes(inputs[0]):
            graded.add(layer)

    handles, analyzer = hooked(net, look), analyzers.SNNAnalyzer(net)
    again(net, x)
    for handle in handles:
        handle.remove()
    layers = [layer for layer in net if hasattr(layer, "accumulated_synops")]
    spikes = sum(float(layer.accumulated_synops) for layer in layers if layer not in graded)
    assert found.total["sinabs synops of spikes"] == pytest.approx(spikes * x.shape[1], rel=1e-6)
    mean = float(analyzer.get_model_statistics(average=True)["synops"])  # of a time step
    whole = None if graded else pytest.approx(mean * len(x) * x.shape[1], rel=1e-6)
    assert found.total["sinabs synops"] == whole
    analyzer.reset()
    del analyzer


@pytest.mark.filterwarnings("ignore")
def test_sinabs_neurons(tmp_path):
    """A network of sinabs, (batch * time, ...) through its layers: of a sample, all time steps."""
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    from sinabs.activation import SingleSpike
    from sinabs.synopcounter import SNNAnalyzer

    torch.manual_seed(0)
    options = {"batch_size": 3, "spike_threshold": 0.1, "spike_fn": SingleSpike}
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), layers.IAFSqueeze(**options),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 5), layers.IAFSqueeze(**options), nn.Linear(5, 2),
    ).eval()  # fmt: skip
    x = (torch.rand(3 * 5, 2, 8, 8) < 0.3).float()
    found = told(tmp_path / "trace", net, net, x, batch=3, time_steps=5)
    for neuron in (net[1], net[4]):
        neuron.reset_states()
    analyzer = SNNAnalyzer(net)
    with torch.no_grad():
        net(x)
    theirs = float(analyzer.get_model_statistics()["synops"])
    assert found.total["sinabs synops"] / 3 == pytest.approx(theirs, rel=1e-6)
    assert found.total["sinabs synops"] == found.total["opjoule SynOps"]
