"""The simple energy: SpikingJelly 2.0's figures, and small networks counted by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from torch import nn

import opjoule as oj
from opjoule import Recorder, open_trace, record
from opjoule.analyzers.energy import estimate_compute, estimate_simple
from opjoule.schemas import ConfigError, TraceError
from opjoule.schemas.costs import SimpleConfig
from opjoule.tracer import NeuronRule

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
GOLDEN = json.loads((REFERENCE / "golden-2.0.0.json").read_text())["cases"]
CASES = sorted(GOLDEN)
INFERENCES = [name for name in CASES if not name.startswith("train")]
BYTE_PJ = 24.96


def _cases():
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE / "cases.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return a function that records the forward pass of a reference case once."""
    folder, known = tmp_path_factory.mktemp("simple"), {}

    def recorded(name):
        if name not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case = _cases().build(name)
                known[name] = open_trace(record(case.model, case.inputs, folder / name))
        return known[name]

    return recorded


@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name, traces):
    report = estimate_simple(traces(name), revision="spikingjelly-2.0")
    theirs = GOLDEN[name]["energies"]["simple"]
    assert report.counts == theirs["counts"]
    assert report.breakdown_pj == pytest.approx(theirs["breakdown_pj"], rel=1e-9)
    assert report.total_pj == pytest.approx(theirs["energy_total_pj"], rel=1e-9)
    assert list(report.warnings) == theirs["warnings"]


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0"])
@pytest.mark.parametrize("name", INFERENCES)
def test_rows_add_up(name, revision, traces):
    report = estimate_simple(traces(name), revision=revision)
    assert report.rows["energy_pj"].sum() == pytest.approx(report.total_pj, rel=1e-12)
    for part, energy in report.by("component").select("component", "energy_pj").iter_rows():
        assert energy == pytest.approx(report.breakdown_pj[f"{part}_pj"], rel=1e-12)
    assert sum(report.breakdown_pj.values()) == pytest.approx(
        report.total_pj + report.breakdown_pj["memory_pj"], rel=1e-12
    )


@pytest.mark.parametrize("name", INFERENCES)
def test_source_leaves_out_what_the_tool_adds(name, traces):
    """MACs, ACs as compute counts them; of memory nothing depends on the revision here."""
    source = estimate_simple(traces(name))
    release = estimate_simple(traces(name), revision="spikingjelly-2.0")
    compute = estimate_compute(traces(name))
    assert source.counts["ac"] == compute.counts["ac"]
    assert source.counts["mac"] == compute.counts["mac"]
    counted = GOLDEN[name]["counts"]["acs"]["total"]
    assert release.details["tool_acs"] == release.counts["ac"] - counted
    assert source.details["tool_acs"] == 0
    assert "come from SpikingJelly 2.0, there is no other publication" in source.warnings[-1]
    memory = "weight_read_bytes", "bias_read_bytes", "neuron_state_read_bytes"
    assert [source.counts[n] for n in memory] == [release.counts[n] for n in memory]


@pytest.mark.parametrize(
    ("name", "additions"),
    # One sum a convolution with spike input, of a tensor of batch * groups * output positions.
    [
        # Conv1d: 2 * 10 positions; Conv3d: 2 * 5 * 6 * 7 = 420: 19 + 419
        ("conv1d_and_conv3d", 438),
        # 2 * 4 groups * 9 * 9 = 648, and 2 * 8 groups * 81 = 1296: 647 + 1295
        ("grouped_convs", 1942),
        # 3 images of 13*11, 7*6, 9*7, 13*11 and 13*4 positions: 3 * 443 - 5
        ("spiking_conv_variants", 1324),
        ("dense_linear", 0),
    ],
)
def test_what_the_tool_adds(name, additions, traces):
    report = estimate_simple(traces(name), revision="spikingjelly-2.0")
    assert report.details["tool_acs"] == additions
    assert "also those with which SpikingJelly itself" in report.statement()


class Net(nn.Module):
    """Dense into a convolution, spikes into a linear layer, a neuron between."""

    def __init__(self):
        from spikingjelly.activation_based import neuron

        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, bias=False, dtype=torch.float64)
        self.fire = neuron.IFNode(v_threshold=0.5)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.fire(self.conv(x)).flatten(1).float())


@pytest.fixture
def net():
    model = Net().eval()
    model.conv.weight.data[:] = 0.25
    return model


@pytest.fixture
def x():
    x = torch.full((1, 1, 3, 3), 0.25, dtype=torch.float64)
    x[0, 0, 0, 0] = 4.0
    return x


# conv: 2 * 4 outputs * 4 = 32 MACs, each reads a weight of 8 B: 256 B; no bias.
# fire: 8 potentials of 8 B, read and written once: 64 B each way. The sum around the large pixel,
#   0.25 * (4 + 3 * 0.25) = 1.1875, fires in both channels, the others (0.25) do not: 2 spikes.
# out: 2 spikes read 3 weights of 4 B each: 24 B, and 3 biases: 12 B. ACs 6.
# IF also adds: v + x (8), the comparison's v - threshold (8), and the reset.
MEMORY = {
    "weight_read_bytes": 256 + 24,
    "bias_read_bytes": 12,
    "neuron_state_read_bytes": 64,
    "neuron_state_write_bytes": 64,
    "memory_access_bytes": 420,
}


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0"])
def test_by_hand(revision, net, x, tmp_path):
    report = estimate_simple(open_trace(record(net, x, tmp_path / "t")), revision=revision)
    assert {name: report.counts[name] for name in MEMORY} == MEMORY
    assert (report.counts["mac"], report.counts["synop"]) == (32, 6)
    assert report.breakdown_pj["parameter_memory_pj"] == pytest.approx(292 * BYTE_PJ)
    assert report.breakdown_pj["neuron_state_memory_pj"] == pytest.approx(128 * BYTE_PJ)
    by = {row[:2]: row[2] for row in report.by("module", "component").iter_rows()}
    assert by["Net.conv", "mac"] == pytest.approx(32 * 4.6)
    assert by["Net.conv", "parameter_memory"] == pytest.approx(256 * BYTE_PJ)
    assert by["Net.fire", "neuron_state_memory"] == pytest.approx(128 * BYTE_PJ)
    assert by["Net.out", "parameter_memory"] == pytest.approx(36 * BYTE_PJ)
    assert by["Net.out", "ac"] == pytest.approx(6 * 0.9)


def test_spikingjelly_gives_the_same(net, x, tmp_path):
    """Runtime sizes and a state in double precision, in the same process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import functional, op_counter
    report = estimate_simple(
        open_trace(record(net, x, tmp_path / "t")), revision="spikingjelly-2.0"
    )
    functional.reset_net(net)
    theirs = op_counter.estimate_simple_energy(net, x)
    assert report.counts == theirs.counts
    assert report.total_pj == pytest.approx(theirs.energy_total_pj, rel=1e-12)


def test_prices_of_ones_own(net, x, tmp_path):
    trace = open_trace(record(net, x, tmp_path / "t"))
    free = SimpleConfig(e_mac_pj=0.0, e_ac_pj=0.0, e_memory_pj_per_byte=2.0)
    report = estimate_simple(trace, free)
    assert report.total_pj == 840.0
    assert report.rows["energy_pj"].sum() == 840.0


def test_constants_are_spikes_by_values_in_the_release_alone(tmp_path):
    # All ones: 6 spikes meet 4 outputs: 24 weights. Dense: 2 * 4 outputs * 3 = 24 MACs and weights.
    layer = nn.Linear(3, 4, bias=False).eval()
    trace = open_trace(record(layer, torch.ones(2, 3), tmp_path / "t"))
    release = estimate_simple(trace, revision="spikingjelly-2.0").counts
    source = estimate_simple(trace).counts
    assert (release["ac"], release["mac"]) == (24, 0)
    assert (source["ac"], source["mac"]) == (0, 24)
    assert release["weight_read_bytes"] == source["weight_read_bytes"] == 96


def test_a_transposed_convolution_is_left_out_by_name(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (1, 4)), nn.ConvTranspose1d(1, 2, 3))
    trace = open_trace(record(model.eval(), torch.rand(2, 4), tmp_path / "t"))
    report = estimate_simple(trace)
    said = "no memory of ConvTranspose1d: parameters of Sequential.2 left out"
    assert said in report.warnings[0]
    # 2 * 4 outputs: 32 weights and 8 biases of 4 B
    assert report.counts["memory_access_bytes"] == 160
    with pytest.raises(TraceError, match=said):
        estimate_simple(trace, strict=True)


class Rows(nn.Module):
    """A linear layer that holds its weight by rows of inputs, as GPT-2's do."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(inputs, outputs))

    def forward(self, x):
        return x @ self.weight


def test_weights_of_modules_that_are_no_layers_are_left_out_by_name(tmp_path):
    """2 · 8 · 4 MACs in each of two steps run in Rows, 2 · 4 · 4 in Linear: two thirds."""
    model = nn.Sequential(Rows(8, 4), nn.Linear(4, 4)).eval()
    with Recorder(tmp_path / "t", model=model) as recorder:
        for _ in range(2):
            model(torch.rand(2, 8))
            recorder.step()
    trace = open_trace(tmp_path / "t")
    said = "no memory of Rows: weights of Sequential.0 left out, where 66.7% of the MACs run"
    for report in (estimate_simple(trace), oj.energy(trace, machine="simple")):
        assert said in report.warnings[0]
    for options in ({"estimator": "simple"}, {"machine": "simple"}):
        with pytest.raises(TraceError, match=said):
            oj.energy(trace, strict=True, **options)
    assert not any("Rows" in text for text in estimate_compute(trace).warnings)


class Held(nn.Module):
    """A product with a parameter of 4 x 8 x 16, or a part of it, and a layer of 6 * 8 * 2 MACs."""

    def __init__(self, way):
        super().__init__()
        self.weight, self.way = nn.Parameter(torch.rand(4, 8, 16)), way
        self.layer = nn.Linear(8, 2, bias=False)
        self.members = nn.ModuleList(nn.Linear(8, 2, bias=False) for _ in range(4))

    def product(self, x, index):
        if self.way == "view":
            return x @ self.weight[0]
        if self.way == "cast":
            return x.double() @ self.weight[0].double()
        if self.way == "mean":
            return x @ self.weight.mean(0)
        if self.way == "index":  # a mixture of experts
            return torch.bmm(x[:, None], self.weight[index])
        if self.way == "stacked":  # an ensemble
            stacked, _ = torch.func.stack_module_state(list(self.members))
            called = partial(torch.func.functional_call, self.members[0])
            return torch.vmap(called, (0, None))(stacked, x)
        if self.way == "activation":
            return self.layer(x) @ self.layer(x).T
        return (x + self.weight[0, 0, :8]) @ x.T

    def forward(self, x, index):
        return self.product(x, index).sum() + self.layer(x).sum()


@pytest.mark.parametrize(
    ("way", "module", "macs"),
    [
        ("view", "Held", 6 * 8 * 16),
        ("cast", "Held", 6 * 8 * 16),
        ("mean", "Held", 6 * 8 * 16),
        ("index", "Held", 6 * 8 * 16),
        ("stacked", "Held.members.0", 4 * 6 * 8 * 2),
        ("activation", None, 0),
        ("sum with an input", None, 0),
    ],
)
def test_weights_are_followed_to_their_parameter(way, module, macs, tmp_path):
    """What was viewed, cast, reduced, chosen or stacked of parameters alone is weights."""
    inputs = torch.rand(6, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    trace = open_trace(record(Held(way).eval(), inputs, tmp_path / "t"))
    told = [text for text in estimate_simple(trace).warnings if "no memory of" in text]
    if module is None:
        assert told == []
        return
    share = f"{macs / (macs + 6 * 8 * 2):.1%}"
    (text,) = told
    assert f"weights of {module} left out, where {share} of the MACs run" in text
    with pytest.raises(TraceError, match="no memory of"):
        estimate_simple(trace, strict=True)


def test_weights_of_a_fused_encoder_are_left_out_by_name(tmp_path):
    """In eval mode PyTorch runs the layer as one op, whose weights no layer reads."""
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    trace = open_trace(record(model, torch.rand(2, 10, 32), tmp_path / "t"))
    report = estimate_simple(trace)
    assert report.breakdown_pj["parameter_memory_pj"] == 0
    assert (
        "the model has no memory of TransformerEncoderLayer: weights of TransformerEncoderLayer "
        "left out, where 100.0% of the MACs run" in report.warnings
    )


@pytest.mark.parametrize(
    ("layer", "kind"), [(nn.LSTM(3, 4), "LSTM"), (nn.MultiheadAttention(4, 2), "Attention")]
)
def test_weights_of_recurrent_and_attention_layers_too(layer, kind, tmp_path):
    width = 3 if kind == "LSTM" else 4
    inputs = (torch.rand(2, 1, width),) * (1 if kind == "LSTM" else 3)
    trace = open_trace(record(layer.eval(), inputs, tmp_path / "t"))
    assert any(f"{kind}: weights of" in text for text in estimate_simple(trace).warnings)


def test_time_steps(x, tmp_path):
    """A neuron's state is read and written once a step: 3 steps of 2 * 5 potentials of 4 B."""
    from spikingjelly.activation_based import neuron

    fire = neuron.LIFNode(step_mode="m").eval()
    trace = open_trace(record(fire, torch.rand(3, 2, 5), tmp_path / "t"))
    for revision in ("source", "spikingjelly-2.0"):
        counts = estimate_simple(trace, revision=revision).counts
        assert counts["neuron_state_read_bytes"] == 3 * 40
        assert counts["neuron_state_write_bytes"] == 3 * 40


class Leaky(nn.Module):
    def __init__(self):
        super().__init__()
        self.v = torch.zeros(2, 5)

    def forward(self, x):
        self.v = self.v * 0.5 + x.sum(0)
        return (self.v > 1).float()


def leaky(path, **rule):
    rules = [NeuronRule(Leaky, states=("v",), **rule)]
    return open_trace(record(Leaky().eval(), torch.rand(3, 2, 5), path, neurons=rules))


def test_neurons_of_ones_own(tmp_path):
    """As their rule says: one step a call, or the size of a dimension."""
    one = estimate_simple(leaky(tmp_path / "one")).counts
    assert one["neuron_state_read_bytes"] == one["neuron_state_write_bytes"] == 40
    three = estimate_simple(leaky(tmp_path / "three", time_dim=0)).counts
    assert three["neuron_state_read_bytes"] == three["neuron_state_write_bytes"] == 3 * 40


def test_time_steps_that_the_trace_does_not_know_are_asked_for(tmp_path):
    trace = leaky(tmp_path / "t", time_dim=3)  # its input has no such dimension
    with pytest.raises(TraceError, match=r"Leaky: its time steps were not recorded: give"):
        estimate_simple(trace)
    assert estimate_simple(trace, time_steps=6).counts["neuron_state_read_bytes"] == 6 * 40


def test_nothing_counted(tmp_path):
    trace = open_trace(record(nn.ReLU().eval(), torch.rand(2, 3), tmp_path / "t"))
    report = estimate_simple(trace, revision="spikingjelly-2.0")
    assert report.total_pj == 0
    assert report.warnings[0].startswith("nothing was counted")
    with pytest.raises(TraceError, match="nothing was counted"):
        estimate_simple(trace, revision="spikingjelly-2.0", strict=True)


@pytest.mark.parametrize("steps", [2, 300])
def test_steps_are_told_apart(steps, tmp_path):
    layer = nn.Linear(3, 4, bias=False).eval()
    dense, spikes = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[0.0, 1.0, 0.0]])
    with Recorder(tmp_path / "t", model=layer) as recorder, torch.no_grad():
        for step in range(steps):
            layer(spikes if step % 2 else dense)
            recorder.step()
    report = estimate_simple(open_trace(recorder.path))
    assert (report.rows["step"].null_count() == 0) == (steps == 2)
    # dense: 12 MACs and 12 weights of 4 B; spikes: 4 ACs and 4 weights
    each = [12 * 4.6 + 48 * BYTE_PJ, 4 * 0.9 + 16 * BYTE_PJ]
    by_step = dict(report.by("step").select("step", "energy_pj").iter_rows())
    assert by_step == pytest.approx({step: each[step % 2] for step in range(steps)})


def test_training_mode_is_refused_by_the_source_alone(tmp_path):
    trace = open_trace(record(nn.Linear(3, 4), torch.rand(2, 3), tmp_path / "t"))
    with pytest.raises(TraceError, match=r"call model\.eval\(\)"):
        estimate_simple(trace)
    assert estimate_simple(trace, revision="spikingjelly-2.0").counts["mac"] == 24


def test_the_other_revision_has_no_such_estimator(traces):
    with pytest.raises(ConfigError, match=r"of simple: choose from source, spikingjelly-2\.0$"):
        estimate_simple(traces("dense_linear"), revision="spikingjelly-2026-08")
