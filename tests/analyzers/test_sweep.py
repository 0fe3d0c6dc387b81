"""Sweeps against the estimators run one by one, and sensitivities against what prices buy."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from opjoule.analyzers import energy, open_trace, sensitivity, sweep  # noqa: E402
from opjoule.analyzers.energy import repricing  # noqa: E402
from opjoule.schemas import ConfigError, TraceError  # noqa: E402
from opjoule.schemas.costs import (  # noqa: E402
    CONFIGS,
    ComputeConfig,
    LemaireConfig,
    changed,
)
from opjoule.tracer import Recorder  # noqa: E402

GRIDS = {
    "compute": {"e_mac_pj": [0.0, 1.5, 4.6], "e_ac_pj": [0.4, 0.9]},
    "simple": {"e_mac_pj": [1.5, 4.6], "e_memory_pj_per_byte": [0.0, 24.96, 100.0]},
    "lemaire": {
        "e_add_pj": [0.05, 0.1],
        "memory": ["authors", "piecewise"],
        "word_bits": [8, 32],
        "memory_breakpoints.2.1": [2.5, 9.0],
        "snn_fifo_capacity_elements": [10, 1000],
    },
    "neuromc": {
        "e_add_pj": [0.1, 0.548],
        "memories.fp_conv_in_w.read_pj": [1.0, 5.302477904],
        "memories.sram_2mb.read_bits": [64, 256],
        "weight_reads": ["call", "sample"],
    },
    "spikesim": {
        "adc_pj": [1.0, 2.0],
        "neuron_pj": [0.0, 5.0],
        "device": ["rram", "sram"],
        "xbar_size": [8, 64],
        "activity_mode": ["dense", "event"],
    },
}
"""Prices and structural fields of each estimator."""


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Return the trace of a spiking network's inference: two time steps, batch 3."""
    from spikingjelly.activation_based import functional, layer, neuron
    from torch import nn

    torch.manual_seed(1)
    net = nn.Sequential(
        layer.Conv2d(2, 9, 3, padding=1, bias=False),
        neuron.IFNode(v_threshold=0.2),
        layer.Conv2d(9, 12, 3, stride=2),
        neuron.LIFNode(v_threshold=0.1),
        layer.Flatten(),
        layer.Linear(12 * 9, 5),
    ).eval()
    functional.set_step_mode(net, "m")
    path = tmp_path_factory.mktemp("sweep") / "trace"
    with Recorder(path, model=net), torch.no_grad():
        net(torch.rand(2, 3, 2, 8, 8))
    return open_trace(path)


def _alone(trace, estimator, config, **options):
    return getattr(energy, f"estimate_{estimator}")(trace, config, **options)


REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")
MODELS = [
    (estimator, revision)
    for estimator in energy.ESTIMATORS
    for revision in REVISIONS
    if (estimator, revision) != ("simple", "spikingjelly-2026-08")  # that revision has none
]


@pytest.mark.parametrize(("estimator", "revision"), MODELS)
def test_every_total_is_the_estimators_own(estimator, revision, trace):
    frame = sweep(trace, estimator, GRIDS[estimator], revision=revision).frame
    assert frame.height == np.prod([len(values) for values in GRIDS[estimator].values()])
    assert frame["total_pj"].n_unique() > 1
    for row in frame.to_dicts():
        config = changed(CONFIGS[estimator](), {name: row[name] for name in GRIDS[estimator]})
        report = _alone(trace, estimator, config, revision=revision)
        assert row["total_pj"] == pytest.approx(report.total_pj, rel=1e-12)
        assert row["per_sample_pj"] == pytest.approx(report.per_sample_pj, rel=1e-12)
        parts = {
            name.removeprefix("energy_"): value
            for name, value in row.items()
            if name.startswith("energy_") and value is not None
        }
        assert parts == pytest.approx(report.breakdown_pj, rel=1e-12)


def test_the_trace_is_read_once_for_all_that_count_alike(trace, monkeypatch):
    calls = Counter()
    original = repricing.measure

    def counting(estimator, *rest, **options):
        calls[estimator] += 1
        return original(estimator, *rest, **options)

    monkeypatch.setattr(sys.modules["opjoule.analyzers.sweeping.sweep"], "measure", counting)
    sweep(trace, "compute", {"e_mac_pj": np.linspace(0, 1, 50), "e_ac_pj": [1, 2]})
    sweep(trace, "spikesim", {"adc_pj": np.linspace(0, 1, 50), "xbar_size": [32, 64]})
    assert calls == {"compute": 1, "spikesim": 2}


def test_a_table_of_configurations(trace):
    table = pl.DataFrame({"name": ["a", "b"], "e_mac_pj": [1.0, None], "e_ac_pj": [None, 0.0]})
    frame = sweep(trace, "compute", {"e_ac_pj": [0.5]}, table.drop("e_ac_pj")).frame
    assert frame["name"].to_list() == ["a", "b"]
    frame = sweep(trace, "compute", configs=table, config=ComputeConfig(e_mac_pj=2.0)).frame
    expected = [ComputeConfig(e_mac_pj=1.0), ComputeConfig(e_mac_pj=2.0, e_ac_pj=0.0)]
    totals = [_alone(trace, "compute", config).total_pj for config in expected]
    assert frame["total_pj"].to_list() == pytest.approx(totals, rel=1e-12)
    assert frame.columns[:3] == ["name", "e_mac_pj", "e_ac_pj"]


def test_parts_that_only_some_configurations_have_are_null_elsewhere(trace):
    frame = sweep(
        trace, "spikesim", {"activity_mode": ["dense", "event"], "neuron_pj": [1.0]}
    ).frame
    assert frame["neuron_pj"].to_list() == [1.0, 1.0]
    assert frame["energy_neuron_pj"].is_null().to_list() == [True, False]
    assert frame["energy_pe_cycle_pj"].is_null().to_list() == [False, True]


def test_warnings_of_all_configurations_are_kept(trace):
    found = sweep(trace, "spikesim", {"device": ["rram", "sram"]})
    assert sum("area" in warning for warning in found.warnings) == 1


@pytest.mark.parametrize(
    ("estimator", "options", "said"),
    [
        ("magic", {"vary": {"e_mac_pj": [1]}}, "no estimator 'magic'"),
        ("compute", {}, "something to vary"),
        ("compute", {"vary": {"e_mca_pj": [1]}}, "did you mean e_mac_pj"),
        ("compute", {"vary": {"e_mac_pj": [1, -1]}}, "configuration 2: .*e_mac_pj = -1"),
        ("compute", {"vary": {"e_mac_pj": [1]}, "config": LemaireConfig()}, "a ComputeConfig, not"),
        ("compute", {"vary": {"e_mac_pj": [1]}, "revision": "v3"}, "unknown revision 'v3'"),
    ],
)
def test_nonsense_is_refused(estimator, options, said, trace):
    with pytest.raises(ConfigError, match=said):
        sweep(trace, estimator, **options)


def test_what_the_estimator_refuses_a_sweep_refuses(trace):
    with pytest.raises(TraceError, match="no calls were recorded under stage=backward"):
        sweep(trace.where("stage=backward"), "spikesim", {"adc_pj": [1, 2]})


def test_sensitivity_of_a_linear_model_is_the_share_that_a_price_buys(trace):
    report = _alone(trace, "compute", ComputeConfig())
    frame = sensitivity(trace, "compute").frame
    bought = {"e_mac_pj": report.breakdown_pj["mac_pj"], "e_ac_pj": report.breakdown_pj["ac_pj"]}
    order = sorted(bought, key=bought.get, reverse=True)
    assert frame["constant"].to_list() == order
    assert frame["energy_pj"].to_list() == pytest.approx([bought[n] for n in order], rel=1e-9)
    shares = [bought[name] / report.total_pj for name in order]
    assert frame["percent_per_percent"].to_list() == pytest.approx(shares, rel=1e-9)


@pytest.mark.parametrize("estimator", energy.ESTIMATORS)
def test_one_percent_more_of_a_constant_changes_the_total_as_told(estimator, trace):
    base = CONFIGS[estimator]()
    whole = _alone(trace, estimator, base).total_pj
    frame = sensitivity(trace, estimator).frame
    assert frame["percent_per_percent"].abs().is_sorted(descending=True)
    for constant, value, told, _ in frame.head(5).iter_rows():
        more = _alone(trace, estimator, changed(base, {constant: value * 1.01})).total_pj
        assert 100 * (more / whole - 1) == pytest.approx(told, rel=1e-6)


def test_constants_that_cost_nothing_come_last(trace):
    frame = sensitivity(trace, "spikesim").frame
    assert frame.row(-1) == ("sram_xbar_pj", 671.089, 0.0, 0.0)
    assert frame["energy_pj"].sum() == pytest.approx(
        _alone(trace, "spikesim", None).total_pj, rel=1e-9
    )
