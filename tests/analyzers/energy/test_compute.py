"""Compute energy: both golden files, and small networks whose operations are counted by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from torch import nn

from opjoule import Recorder, open_trace, record
from opjoule.analyzers.energy import estimate_compute, estimate_simple
from opjoule.schemas import ConfigError, TraceError
from opjoule.schemas.costs import ComputeConfig, load_config

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
GOLDEN = {
    revision: json.loads((REFERENCE / f"{file}.json").read_text())["cases"]
    for revision, file in (
        ("spikingjelly-2.0", "golden-2.0.0"),
        ("spikingjelly-2026-08", "golden-2026-08"),
    )
}
CASES = sorted(GOLDEN["spikingjelly-2.0"])


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
    folder, known = tmp_path_factory.mktemp("compute"), {}

    def recorded(name):
        if name not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case = _cases().build(name)
                known[name] = open_trace(record(case.model, case.inputs, folder / name))
        return known[name]

    return recorded


@pytest.mark.parametrize("preset", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name, preset, traces):
    config = load_config("compute", preset=preset)
    report = estimate_compute(traces(name), config, revision="spikingjelly-2026-08")
    theirs = GOLDEN["spikingjelly-2026-08"][name]["energies"][f"compute-{preset}"]
    assert report.total_pj == pytest.approx(theirs["energy_total_pj"], rel=1e-9)
    assert report.breakdown_pj == pytest.approx(theirs["breakdown_pj"], rel=1e-9)
    assert report.counts == theirs["counts"]
    assert list(report.warnings) == theirs["warnings"]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("train")])
def test_counts_of_the_release_are_those_of_its_counters(name, traces):
    """2.0 has no compute energy; the golden counts of cases without training are of a forward."""
    report = estimate_compute(traces(name), revision="spikingjelly-2.0")
    counted = GOLDEN["spikingjelly-2.0"][name]["counts"]
    assert report.counts == {
        name.removesuffix("s"): counted[name]["total"]
        for name in ("macs", "acs", "synops", "flops")
    }


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0", "spikingjelly-2026-08"])
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("train")])
def test_rows_add_up(name, revision, traces):
    report = estimate_compute(traces(name), revision=revision)
    assert report.rows["energy_pj"].sum() == pytest.approx(report.total_pj, rel=1e-12)
    for part, energy in report.by("component").select("component", "energy_pj").iter_rows():
        assert energy == pytest.approx(report.breakdown_pj[f"{part}_pj"], rel=1e-12)


class Net(nn.Module):
    """A dense layer, and a layer that is fed with spikes."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 4, bias=False)
        self.spiking = nn.Linear(3, 5, bias=False)

    def forward(self, x, spikes):
        return self.dense(x), self.spiking(spikes)


@pytest.fixture
def inputs():
    x = torch.linspace(0.1, 0.9, 16).reshape(2, 8)
    spikes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    return x, spikes


# dense: 2 * 4 * 8 = 64 MACs at 4.6 pJ = 294.4 pJ
# spiking: 3 spikes meet 5 outputs each = 15 ACs at 0.9 pJ = 13.5 pJ
DENSE_PJ, SPIKING_PJ = 294.4, 13.5


def test_by_hand(inputs, tmp_path):
    report = estimate_compute(open_trace(record(Net().eval(), inputs, tmp_path / "t")))
    assert report.counts["mac"] == 64
    assert report.counts["ac"] == report.counts["synop"] == 15
    assert report.breakdown_pj == pytest.approx({"mac_pj": DENSE_PJ, "ac_pj": SPIKING_PJ})
    assert report.total_pj == pytest.approx(DENSE_PJ + SPIKING_PJ)
    own = {"Net.dense": DENSE_PJ, "Net.spiking": SPIKING_PJ}
    whole = dict.fromkeys(("Global", "Net"), DENSE_PJ + SPIKING_PJ)
    for exclusive, expected in ((True, own), (False, whole | own)):
        frame = report.by("module", exclusive=exclusive)
        assert dict(frame.select("module", "energy_pj").iter_rows()) == pytest.approx(expected)
    assert report.by("op").select("op").to_series().to_list() == ["aten.mm.default"]
    assert (report.batch, report.samples) == (2, 2)
    assert report.per_sample_pj == pytest.approx((DENSE_PJ + SPIKING_PJ) / 2)
    # 15 of the 2 * 5 * 3 = 30 products of a dense pass are left: half
    assert report.input_types.startswith("spikes into 1 of 2 products and convolutions")
    assert "50.0%" in report.input_types
    assert report.warnings == ()


def test_costs_of_ones_own(inputs, tmp_path):
    trace = open_trace(record(Net().eval(), inputs, tmp_path / "t"))
    report = estimate_compute(trace, ComputeConfig(e_mac_pj=0.0, e_ac_pj=2.0))
    assert report.total_pj == 30.0
    assert report.config == {"e_mac_pj": 0.0, "e_ac_pj": 2.0}
    assert "default constants but e_mac_pj = 0, e_ac_pj = 2" in report.statement()


def test_filters_narrow_the_estimate(inputs, tmp_path):
    trace = open_trace(record(Net().eval(), inputs, tmp_path / "t"))
    assert estimate_compute(trace, where="module=*.spiking").total_pj == pytest.approx(SPIKING_PJ)
    with pytest.raises(TraceError, match=r"no calls were recorded under step=3"):
        estimate_compute(trace.where("step=3"))
    with pytest.raises(ConfigError, match=r"no calls fit --where step=3: the trace has step 0"):
        estimate_compute(trace, where="step=3")


@pytest.fixture
def both_modes(inputs, tmp_path):
    """Return a trace of a training step and an inference of the same network."""
    net = Net()
    with Recorder(tmp_path / "both", model=net) as recorder:
        with recorder.label("training"):
            dense, spiking = net(*inputs)
            (dense.sum() + spiking.sum()).backward()
        net.eval()
        with torch.no_grad():
            net(*inputs)
    return open_trace(recorder.path)


def test_source_takes_the_inference_alone(both_modes):
    assert estimate_compute(both_modes).total_pj == pytest.approx(DENSE_PJ + SPIKING_PJ)
    with pytest.raises(
        TraceError, match=r"training mode under label=training: call model.eval\(\)"
    ):
        estimate_compute(both_modes, where="label=training")
    with pytest.raises(TraceError, match=r"no forward pass under stage=backward"):
        estimate_compute(both_modes, where="stage=backward")


def test_revisions_take_the_forward_pass_in_either_mode(both_modes):
    # The sums before backward are additions too: 2 * 4 - 1 + 2 * 5 - 1 = 16, and one more of both.
    report = estimate_compute(both_modes, revision="spikingjelly-2026-08")
    assert report.counts["mac"] == 2 * 64
    assert report.counts["ac"] == 2 * 15 + 17


@torch.library.custom_op("opjoule_tests::mystery", mutates_args=())
def mystery(x: torch.Tensor) -> torch.Tensor:
    return x * 2


class Mystery(nn.Module):
    def forward(self, x):
        return mystery(x)


def test_what_no_rule_covers_is_named(inputs, tmp_path):
    model = nn.Sequential(nn.Linear(8, 4, bias=False), Mystery()).eval()
    trace = open_trace(record(model, inputs[0], tmp_path / "t"))
    report = estimate_compute(trace)
    assert report.total_pj == pytest.approx(DENSE_PJ)
    assert report.warnings == ("no rule covers opjoule_tests.mystery.default: left out",)
    assert report.left_out.select("what", "calls").rows() == [("opjoule_tests.mystery.default", 1)]
    with pytest.raises(TraceError, match=r"no rule covers opjoule_tests\.mystery\.default.*strict"):
        estimate_compute(trace, strict=True)
    # SpikingJelly skips what it has no rule for, and says nothing
    assert estimate_compute(trace, revision="spikingjelly-2.0").warnings == ()


def test_a_silent_network_is_nothing_to_the_source_alone(tmp_path):
    """No spike, no AC; SpikingJelly calls it nothing if there was no FLOP either."""
    layer = nn.Linear(3, 4, bias=False).eval()
    with Recorder(tmp_path / "t", model=layer) as recorder, torch.no_grad():
        layer(recorder.spikes(torch.zeros(2, 3)))
    trace = open_trace(recorder.path)
    assert estimate_compute(trace).warnings[0].startswith("nothing was counted")
    report = estimate_compute(trace, revision="spikingjelly-2026-08", strict=True)
    assert (report.total_pj, report.warnings) == (0.0, ())


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0"])
def test_nothing_counted(revision, inputs, tmp_path):
    trace = open_trace(record(nn.ReLU().eval(), inputs[0], tmp_path / "t"))
    report = estimate_compute(trace, revision=revision)
    assert report.total_pj == 0.0
    assert "nothing was counted" in report.warnings[0]
    with pytest.raises(TraceError, match="nothing was counted"):
        estimate_compute(trace, revision=revision, strict=True)


@pytest.mark.parametrize("steps", [2, 300])
def test_steps_are_told_apart(steps, inputs, tmp_path):
    """Long runs too, whose rows do not tell them apart until they are asked for."""
    net = Net().eval()
    x, spikes = inputs
    one = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # 5 ACs, 10 fewer
    with Recorder(tmp_path / "t", model=net) as recorder, torch.no_grad():
        for step in range(steps):
            net(x, spikes if step % 2 else one)
            recorder.step()
    report = estimate_compute(open_trace(recorder.path))
    known = report.rows["step"].null_count() == 0
    assert known == (steps == 2)
    by_step = dict(report.by("step").select("step", "energy_pj").iter_rows())
    assert by_step == pytest.approx(
        {step: DENSE_PJ + (15 if step % 2 else 5) * 0.9 for step in range(steps)}
    )
    assert sum(by_step.values()) == pytest.approx(report.total_pj)


def test_an_unknown_revision_is_refused(inputs, tmp_path):
    trace = open_trace(record(Net().eval(), inputs, tmp_path / "t"))
    with pytest.raises(
        ConfigError, match="unknown revision 'spikingjelly-3' of compute: choose from so"
    ):
        estimate_compute(trace, revision="spikingjelly-3")


class Decaying(nn.Module):
    """A neuron by hand: of these operations the addition alone is an AC."""

    def forward(self, x, v):
        return ((v * 0.5 / 2 + x).exp() > 1).float()


def test_what_is_no_mac_and_no_ac_is_free_and_the_statement_says_so(tmp_path):
    inputs = (torch.full((2, 5), 0.3), torch.full((2, 5), 0.7))
    report = estimate_compute(open_trace(record(Decaying().eval(), inputs, tmp_path / "trace")))
    assert report.counts["mac"] == 0 and report.counts["ac"] == 2 * 5
    assert report.total_pj == pytest.approx(10 * 0.9)
    said = report.statement()
    for free in ("multiplications, divisions and comparisons by themselves", "such as exp"):
        assert free in said.partition("not charged: ")[2]


class Mixer(nn.Module):
    """A Fourier transform of complex numbers, and a layer of their real parts."""

    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(16, outputs, bias=False)

    def forward(self, x):
        return self.layer(torch.fft.fft(x).real.contiguous())


@pytest.mark.parametrize("estimate", [estimate_compute, estimate_simple])
def test_transforms_that_are_free_are_told_where_they_are_much(tmp_path, estimate):
    """5·64·log2(16) = 1280 FLOPs of a transform beside 2·64·4 = 512 of a layer, 71.4 %.

    Beside 2·64·400 they are 2.4 % and not worth a word. To charge no MAC for them is the rule:
    nothing that strict refuses.
    """
    x = torch.randn(4, 16, dtype=torch.complex64)
    told = {}
    for outputs in (4, 400):
        trace = open_trace(record(Mixer(outputs).eval(), x, tmp_path / f"mixer{outputs}"))
        report = estimate(trace, strict=True)
        assert report.counts["mac"] == 64 * outputs
        told[outputs] = [each for each in report.warnings if "Fourier" in each]
    assert told[400] == []
    assert told[4] == [
        "not charged: 71.4% of the FLOPs are Fourier transforms (aten._fft_c2c.default), "
        "which count no MACs and no ACs"
    ]
