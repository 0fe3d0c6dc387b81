"""Lemaire, revision source, against its authors' own code run on random networks.

The code is `EnergyEstimationMetric` of the Qualia plugin SNN 2.6.0, run as it is on networks of
SpikingJelly's and torch's layers. It needs qualia-plugin-snn, qualia-core, qualia-codegen-core,
qualia-codegen-plugin-snn, lightning and what they import; without them nothing here runs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import random
import warnings
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from opjoule import Recorder
from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_lemaire
from opjoule.schemas.costs import LemaireConfig


@contextlib.contextmanager
def quietly():
    """Their packages print, log and warn."""
    logging.disable(logging.CRITICAL)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
    finally:
        logging.disable(logging.NOTSET)


try:
    with quietly():
        from qualia_core.learningmodel.pytorch.layers.Add import Add
        from qualia_plugin_snn.learningframework.SpikingJelly import SpikingJelly
        from qualia_plugin_snn.learningmodel.pytorch.layers.spikingjelly.Add import Add as StepAdd
        from qualia_plugin_snn.learningmodel.pytorch.SNN import SNN
        from qualia_plugin_snn.postprocessing import EnergyEstimationMetric
except ImportError as missing:
    pytest.skip(f"the authors' package does not import: {missing}", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

PUBLISHED = {
    "conv_address_every_output": False,
    "linear_address_every_spike": False,
    "respect_groups": False,
    "sum_every_element": False,
    "neurons_behind_others": False,
    "spikes_by_provenance": False,
}
"""Every correction off."""

THEIRS = {
    "potentials_pj": "mem_pot", "weights_pj": "mem_weights", "bias_pj": "mem_bias",
    "in_out_pj": "mem_io", "ops_pj": "ops", "addressing_pj": "addr", "total_pj": "total",
}  # fmt: skip


def _built(network, steps):
    """Add modules, and what each takes in: "x" or the names of earlier ones."""
    for name, (module, _) in steps.items():
        network.add_module(name, module)
    network.program = [(name, sources) for name, (_, sources) in steps.items()]


def _run(network, x):
    made = {"x": x}
    for name, sources in network.program:
        made[name] = getattr(network, name)(*(made[source] for source in sources))
    return made[network.program[-1][0]]


class Formal(nn.Module):
    def __init__(self, shape, steps):
        super().__init__()
        self.input_shape = (*shape[1:], shape[0])  # channels last, as they have it
        _built(self, steps)

    forward = _run

    def infer(self, x):
        self(x[0])


class Spiking(SNN):
    def __init__(self, shape, steps, time_steps, mode):
        kind = {"kind": "IFNode", "params": {"step_mode": mode}}
        super().__init__((*shape[1:], shape[0]), (1,), time_steps, kind)
        _built(self, steps)
        functional.set_step_mode(self, mode)

    forward = _run

    def infer(self, x):
        """Run [T, B, ...] at once or step by step."""
        functional.reset_net(self)
        for each in [x] if self.step_mode == "m" else x:
            self(each)


class Once(SpikingJelly):
    """Their framework without a trainer: predicting is one inference of a batch."""

    def __init__(self):
        pass

    def predict(self, model, dataset, **options):
        with torch.no_grad():
            model.infer(dataset)


def authors(network, x, bits=32, fifo=1000):
    """Return their columns by module, and under "Total"."""
    metric = EnergyEstimationMetric(bits, fifo)
    result = SimpleNamespace(
        model=network, framework=Once(), testset=x, batch_size=1, dataaugmentations=[]
    )

    def e(words):
        return metric._e_ram(words, bits)

    with quietly():
        graph, *seen = metric._process_model(result)
        if seen[0] is None:
            found = metric._compute_model_energy_fnn(graph, e, e)
        else:
            found = metric._compute_model_energy_snn(graph, *seen, network.timesteps, e, e)
    # A layer's name has those of the neurons behind it at its end: l1_l2_.
    return {
        em.name.split("_")[0]: {ours: getattr(em, name) for ours, name in THEIRS.items()}
        for em in found
    }


def ours(network, x, folder, **options):
    """Return our columns by module, a sample each, and the report."""
    with torch.no_grad(), Recorder(folder / "trace", model=network):
        network.infer(x)
    config = LemaireConfig(**{**PUBLISHED, **options})
    report = estimate_lemaire(open_trace(folder / "trace"), config)
    table = {
        row.pop("layer").split(".")[-1].rstrip("_"): {
            name: energy / report.samples for name, energy in row.items()
        }
        for row in report.details["layers"].iter_rows(named=True)
    }
    return table, report


def assert_equal(network, x, folder, **options):
    wanted = authors(network, x)
    found, report = ours(network, x, folder, **options)
    total = wanted.pop("Total")["total_pj"]
    assert report.total_pj / report.samples == pytest.approx(total, rel=1e-9)
    for name, columns in wanted.items():
        mine = found.get(name, dict.fromkeys(columns, 0))
        assert mine == pytest.approx(columns, rel=1e-9, abs=1e-12), name


class Draw:
    """A random network of convolutions, residual sums, pooling and linear layers.

    Args:
        seed: decides everything.
        spiking: SpikingJelly's layers and neurons, or torch's and ReLU.
    """

    def __init__(self, seed, spiking):
        self.r = random.Random(seed)
        torch.manual_seed(seed)
        self.spiking, self.of = spiking, layer if spiking else nn
        self.dims = self.r.choice([1, 2])
        self.first = [self.r.choice([1, 2, 4]), *self.r.choices(range(5, 9), k=self.dims)]
        self.shape, self.steps, self.last = list(self.first), {}, "x"
        for _ in range(self.r.randint(1, 3)):
            self.block()
        self.head()

    def put(self, module, *sources):
        self.last = f"l{len(self.steps)}_"
        self.steps[self.last] = module, sources
        return self.last

    def chance(self, share):
        return self.r.random() < share

    def node(self):
        if not self.spiking:
            return self.put(nn.ReLU(), self.last)
        kind = self.r.choice([neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode])
        options = {} if kind is neuron.IFNode else {"decay_input": self.chance(0.5)}
        threshold, reset = self.r.choice([0.05, 0.3, 1.0]), self.r.choice([None, 0.0])
        return self.put(kind(v_threshold=threshold, v_reset=reset, **options), self.last)

    def conv(self, channels, kernel, stride, padding):
        padded = [*self.shape]
        sizes = zip(padded[1:], kernel, stride, padding, strict=True)
        space = [(n + 2 * p - k) // s + 1 for n, k, s, p in sizes]
        if min(space) < 1:
            return
        groups = 2 if self.shape[0] % 2 == 0 and self.chance(0.3) else 1
        modes = ["circular", "replicate", *(["reflect"] if min(padded[1:]) > 1 else [])]
        mode = self.r.choice(modes) if self.chance(0.3) else "zeros"
        cls = getattr(self.of, f"Conv{self.dims}d")
        self.put(
            cls(self.shape[0], channels, kernel, stride, padding, groups=groups,
                bias=self.chance(0.7), padding_mode=mode),
            self.last,
        )  # fmt: skip
        self.shape = [channels, *space]

    def block(self):
        each = range(self.dims)
        kernel, stride = [self.r.randint(1, 3) for _ in each], [self.r.randint(1, 2) for _ in each]
        padding = [self.r.randint(0, 1) for _ in each]
        self.conv(self.r.choice([2, 4, 6]), kernel, stride, padding)
        if self.last == "x":
            return
        if self.chance(0.2):
            self.put(getattr(self.of, f"BatchNorm{self.dims}d")(self.shape[0]), self.last)
        if self.chance(0.85):
            self.node()
        for _ in range(self.r.choice([0, 0, 1, 2])):
            self.residual()
        if self.chance(0.3) and min(self.shape[1:]) > 1:
            pool = getattr(self.of, f"{self.r.choice(['Avg', 'Max'])}Pool{self.dims}d")
            self.put(pool(2), self.last)
            self.shape = [self.shape[0], *(n // 2 for n in self.shape[1:])]

    def residual(self):
        start, each = self.last, [1] * self.dims
        self.conv(self.shape[0], [3] * self.dims, each, each)
        self.node()
        self.put(StepAdd() if self.spiking else Add(), start, self.last)
        if self.chance(0.7):
            self.conv(self.shape[0], each, each, [0] * self.dims)
            self.node()

    def head(self):
        if self.last == "x" or isinstance(self.steps[self.last][0], Add):
            # A sum that Flatten hands on is no sum to them: see the test of that.
            self.conv(2, [1] * self.dims, [1] * self.dims, [0] * self.dims)
        self.put(self.of.Flatten(), self.last)
        size = self.shape[0]
        for n in self.shape[1:]:
            size *= n
        for place in range(self.r.randint(1, 2)):
            outs = self.r.randint(2, 6)
            self.put(self.of.Linear(size, outs), self.last)
            if place == 0 or self.chance(0.5):
                self.node()
            size = outs

    def made(self):
        """Return the network and [T, B, ...] to run it on."""
        steps, batch = self.r.randint(1, 5), self.r.randint(1, 3)
        x = torch.rand(steps, batch, *self.first)
        kind = self.r.choice(["spikes", "dense", "sparse"])
        if kind != "dense":
            x = (x < 0.3).float() if kind == "spikes" else x * (x < 0.4)
        if self.spiking:
            return Spiking(self.first, self.steps, steps, self.r.choice("sm")).eval(), x
        return Formal(self.first, self.steps).eval(), x


@pytest.mark.parametrize("seed", range(40))
def test_spiking_networks(seed, tmp_path):
    assert_equal(*Draw(seed, spiking=True).made(), tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_formal_networks(seed, tmp_path):
    assert_equal(*Draw(seed, spiking=False).made(), tmp_path)


def _sew(behind):
    """IF + IF, and what is behind the sum."""
    torch.manual_seed(0)
    nodes = [neuron.IFNode(0.2) for _ in range(3)]
    steps = {
        "a_": (layer.Conv2d(2, 4, 3, padding=1), ["x"]),
        "b_": (nodes[0], ["a_"]),
        "c_": (layer.Conv2d(4, 4, 3, padding=1), ["b_"]),
        "d_": (nodes[1], ["c_"]),
        "e_": (StepAdd(), ["b_", "d_"]),
        **behind,
    }
    return Spiking((2, 5, 5), steps, 3, "s").eval(), (torch.rand(3, 2, 2, 5, 5) < 0.4).float()


def test_a_convolution_behind_a_sum_takes_spikes(tmp_path):
    network, x = _sew({"f_": (layer.Conv2d(4, 3, 3), ["e_"]), "g_": (neuron.IFNode(), ["f_"])})
    assert_equal(network, x, tmp_path)
    dense, _ = ours(network, x, tmp_path / "again", sums_of_spikes=False)
    assert dense["f"]["total_pj"] < authors(network, x)["f"]["total_pj"]


def test_a_sum_that_flatten_hands_on(tmp_path):
    """No sum of spikes to them, as Flatten is between; one here, unless sums are no spikes."""
    network, x = _sew({"f_": (layer.Flatten(), ["e_"]), "g_": (layer.Linear(100, 5), ["f_"])})
    wanted = authors(network, x)["g"]["ops_pj"]
    one, _ = ours(network, x, tmp_path / "one")
    assert one["g"]["ops_pj"] != pytest.approx(wanted)
    assert_equal(network, x, tmp_path, sums_of_spikes=False)


def test_two_layers_added_into_one_neuron(tmp_path):
    """To them the sum has no neuron behind it, and each layer has potentials of its own."""
    steps = {
        "a_": (layer.Conv2d(2, 4, 3, padding=1), ["x"]),
        "b_": (layer.Conv2d(2, 4, 1), ["x"]),
        "c_": (StepAdd(), ["a_", "b_"]),
        "d_": (neuron.LIFNode(v_threshold=0.2), ["c_"]),
    }
    torch.manual_seed(0)
    network = Spiking((2, 5, 5), steps, 3, "s").eval()
    x = (torch.rand(3, 2, 2, 5, 5) < 0.4).float()
    assert_equal(network, x, tmp_path)
    once, _ = ours(network, x, tmp_path / "once", neurons_behind_others=True)
    wanted = authors(network, x)
    twice = sum(wanted[name]["potentials_pj"] for name in "ab")
    mine = sum(once[name]["potentials_pj"] for name in "ab")
    # 3 steps of 100 outputs, read and written
    words = 3 * 100 * 2
    assert twice - mine == pytest.approx(words * (13.2 + 1.09e-5 * 100 * 32))
