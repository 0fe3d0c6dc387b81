"""What is not there or not covered: refused where SpikingJelly refuses, as its errors too."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from spikingjelly.activation_based import neuron  # noqa: E402
from torch import nn  # noqa: E402

import opjoule.op_counter as ours  # noqa: E402
from opjoule.op_counter.absent import ABSENT, SUBMODULES  # noqa: E402
from opjoule.schemas import OpjouleError  # noqa: E402

X = torch.linspace(0, 1, 8).reshape(2, 4)
IMAGES = torch.linspace(0, 1, 288).reshape(2, 4, 6, 6)


def convolution(node=neuron.IFNode, **options):
    return nn.Sequential(nn.Conv2d(4, 4, 3, **options), node()).eval()


def linear():
    return nn.Sequential(nn.Linear(4, 4), neuron.IFNode())


def spikesim(**config):
    return lambda m: m.estimate_spikesim_energy(
        convolution(), IMAGES, config=m.SpikeSimEnergyConfig(**config)
    )


def train(optimizer, **options):
    def run(m):
        net = linear()
        m.estimate_neuromc_runtime_energy(
            net, X, target=X, loss_fn=nn.functional.mse_loss,
            optimizer=optimizer(net.parameters(), lr=0.1, **options),
        )  # fmt: skip

    return run


def optimizer_alone(m):
    net = linear()
    m.estimate_neuromc_runtime_energy(net, X, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))


def profiled(run):
    def enter(m):
        profiler, net = m.NeuroMCEnergyProfiler(), linear()
        profiler.bind_model(net)
        with profiler:
            run(profiler, net)

    return enter


def nested(profiler, net):
    with profiler.stage("a"), profiler.stage("b"):
        net(X)


def phase(profiler, net):
    with profiler.stage("a", phase="sideways"):
        net(X)


def other_options(profiler, net):
    for reuse in (False, True):
        with profiler.stage("a", reuse_weights=reuse):
            net(X)


def no_optimizer(profiler, net):
    net(X)
    profiler.record_optimizer_step()


def outside(m):
    profiler = m.NeuroMCEnergyProfiler()
    profiler.bind_model(linear())
    with profiler.stage("a"):
        pass


def unbound(m):
    with m.NeuroMCEnergyProfiler():
        pass


def strict_counter(m):
    with m.DispatchCounterMode([m.FlopCounter()], strict=True):
        torch.relu(X)


def memory_missing(m):
    config = m.MemoryHierarchyConfig()
    config.memory_instances.pop("dram")
    config.validate()


REFUSED = {
    "lemaire, batch norm": lambda m: m.estimate_lemaire_energy(
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), neuron.IFNode()).eval(), X,
        config=m.LemaireEnergyConfig(strict=True),
    ),
    "lemaire, cost": lambda m: m.LemaireEnergyCostConfig(e_add_pj=-1.0),
    "lemaire, points": lambda m: m.LemaireEnergyCostConfig(memory_breakpoints=((0.0, 0.0),)),
    "lemaire, fifo": lambda m: m.LemaireEnergyConfig(snn_fifo_capacity_elements=0),
    "simple, cost": lambda m: m.SimpleEnergyCostConfig(e_mac_pj=-1.0),
    "simple, nothing": lambda m: m.estimate_simple_energy(
        nn.ReLU().eval(), X, config=m.SimpleEnergyConfig(strict=True)
    ),
    "spikesim, training": lambda m: m.estimate_spikesim_energy(convolution().train(), IMAGES),
    "spikesim, groups": lambda m: m.estimate_spikesim_energy(convolution(groups=2), IMAGES),
    "spikesim, 1-d": lambda m: m.estimate_spikesim_energy(
        nn.Sequential(nn.Conv1d(4, 4, 3)).eval(), IMAGES[..., 0]
    ),
    "spikesim, neuron": lambda m: m.estimate_spikesim_energy(
        convolution(neuron.IzhikevichNode), IMAGES
    ),
    "spikesim, nothing": lambda m: m.estimate_spikesim_energy(linear().eval(), X),
    "spikesim, size": spikesim(xbar_size=0),
    "spikesim, device": spikesim(device="dram"),
    "spikesim, cost": spikesim(adc_pj=-1.0),
    "spikesim, validate": lambda m: m.SpikeSimEnergyConfig(xbar_size=0).validate(),
    "neuromc, pooling": lambda m: m.estimate_neuromc_runtime_energy(
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.MaxPool2d(2)), IMAGES
    ),
    "neuromc, 3-d": lambda m: m.estimate_neuromc_runtime_energy(
        nn.Sequential(nn.Conv3d(4, 4, 3)), IMAGES[..., None].expand(2, 4, 6, 6, 4)
    ),
    "neuromc, nothing": lambda m: m.estimate_neuromc_runtime_energy(nn.Flatten(), X),
    "neuromc, no loss": optimizer_alone,
    "neuromc, nesterov": train(torch.optim.SGD, momentum=0.9, nesterov=True),
    "neuromc, optimizer": train(torch.optim.Adagrad),
    "neuromc, nested": profiled(nested),
    "neuromc, phase": profiled(phase),
    "neuromc, options": profiled(other_options),
    "neuromc, no optimizer": profiled(no_optimizer),
    "neuromc, no report": lambda m: m.NeuroMCEnergyProfiler().get_report(),
    "neuromc, outside": outside,
    "neuromc, unbound": unbound,
    "neuromc, memory": memory_missing,
    "strict counter": strict_counter,
}  # fmt: skip


@pytest.mark.parametrize("run", REFUSED.values(), ids=REFUSED)
def test_except_clauses_for_spikingjelly_hold(run, original):
    """SpikingJelly raises in the same process; ours is that error too, and opjoule's, in a line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, RuntimeError)) as theirs:
            run(original)
        with pytest.raises(theirs.type) as found:
            run(ours)
    assert isinstance(found.value, OpjouleError)
    assert "\n" not in str(found.value)


def test_an_error_before_anything_ran_is_not_hidden():
    """The context has recorded nothing then, and counts nothing."""
    counter = ours.FlopCounter()
    with pytest.raises(KeyError, match="mine"), ours.DispatchCounterMode([counter]):
        raise KeyError("mine")
    assert counter.get_total() == 0


def test_every_name_of_spikingjelly_is_there_or_told(original):
    """And none is called absent that is there."""
    public = {name for name in dir(original) if not name.startswith("_")}
    here = {name for name in public if hasattr(ours, name)}
    assert public - here == {*ABSENT, *SUBMODULES}


@pytest.mark.parametrize("name", [*ABSENT, *SUBMODULES])
def test_absent_names_say_what_to_use(name):
    with pytest.raises(AttributeError) as found:
        getattr(ours, name)
    text = str(found.value)
    assert text.startswith("opjoule.op_counter has no ") and name in text and "\n" not in text
    assert not hasattr(ours, name)
    words = set(re.findall(r"\w+", text)) - {name, "neuromc"}
    told = words & {"Recorder", "statement", "all"} | {
        word for word in words if word in ours.__all__
    }
    assert told, text


def test_other_names_are_missing_as_anywhere():
    with pytest.raises(AttributeError, match="has no attribute 'FlopCuonter'"):
        ours.FlopCuonter  # noqa: B018


def test_the_page_lists_them_all():
    page = (Path(__file__).resolve().parents[2] / "docs" / "spikingjelly.md").read_text()
    assert not [name for name in (*ABSENT, *SUBMODULES) if f"`{name}`" not in page]
