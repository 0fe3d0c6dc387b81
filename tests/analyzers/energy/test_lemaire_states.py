"""Neuron state as SpikingJelly's revision of August 2026 accounts for it, op by op."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from opjoule import Recorder
from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_lemaire
from opjoule.analyzers.energy.spikingjelly import neuron_state
from opjoule.schemas.costs import LemaireConfig, NeuronOperations

REVISION = "spikingjelly-2026-08"


@pytest.fixture
def run(tmp_path):
    def recorded(model, *inputs, reset=False):
        path = tmp_path / f"trace-{len(list(tmp_path.iterdir()))}"
        with torch.no_grad(), Recorder(path, model=model.eval()):
            for x in inputs:
                model(x)
                if reset:
                    functional.reset_net(model)
        return open_trace(path)

    return recorded


def state(report):
    names = ("state_acc_like", "state_mac_like", "read_potential_bytes", "write_potential_bytes")
    return [report.counts[name] for name in names]


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        # Additions, multiplications, reads and writes of an element, as the golden cases have them
        # (there with 6 spikes: 8n + 6 and 9n read, 5n + 6 and 6n written by LIF neurons).
        (lambda: neuron.IFNode(v_threshold=1e9), (4, 1, 5, 3)),
        (lambda: neuron.LIFNode(v_threshold=1e9, v_reset=None), (6, 1, 8, 5)),
        (lambda: neuron.LIFNode(v_threshold=1e9), (6, 2, 9, 6)),
    ],
)
def test_one_neuron(run, node, wanted):
    """30 elements, no spikes, 4 bytes each."""
    model = nn.Sequential(nn.Linear(8, 10), node())
    report = estimate_lemaire(run(model, torch.rand(3, 8)), revision=REVISION)
    adds, muls, reads, writes = wanted
    n = 30
    assert report.counts["state_acc_like"] == adds * n
    assert report.counts["state_mac_like"] == muls * n
    assert report.counts["read_potential_bytes"] == reads * n * 4
    assert report.counts["write_potential_bytes"] == writes * n * 4
    assert report.details["buffer_sizes_bytes"]["potential_buffer_bytes"] == n * 4


@pytest.mark.parametrize("node", [neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode])
def test_every_neuron_counts(run, node):
    """Two neurons in one run do what each does in a run of its own."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(8, 6), node(v_threshold=0.3))
    second = nn.Sequential(nn.Linear(6, 9), node(v_threshold=0.1))
    x = torch.rand(4, 8)
    with torch.no_grad():
        between = first.eval()(x)
    functional.reset_net(first)
    alone = [
        state(estimate_lemaire(run(model, given), revision=REVISION))
        for model, given in ((first, x), (second, between))
    ]
    functional.reset_net(first)
    functional.reset_net(second)
    both = state(estimate_lemaire(run(nn.Sequential(first, second), x), revision=REVISION))
    assert both == [one + other for one, other in zip(*alone, strict=True)]
    assert all(both)


def test_state_that_lasts(run):
    """In later steps the state is what the neuron holds: the same work as in the first, but for
    what makes the state."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), neuron.LIFNode(v_threshold=1e9))
    x = torch.rand(4, 8)
    once = state(estimate_lemaire(run(model, x), revision=REVISION))
    functional.reset_net(model)
    three = state(estimate_lemaire(run(model, x, x, x), revision=REVISION))
    assert three == [3 * n for n in once]


@pytest.mark.filterwarnings("ignore:neurons carried their state")  # which is meant here
def test_long_runs_are_read_in_chunks(run, monkeypatch):
    """Chunks of any size give the same: state goes from one to the next."""
    torch.manual_seed(0)
    model = nn.Sequential(
        layer.Linear(8, 6), neuron.LIFNode(v_threshold=0.4), layer.Linear(6, 7), neuron.IFNode()
    )
    functional.set_step_mode(model, "m")
    trace = run(model, *(torch.rand(5, 2, 8) for _ in range(4)))
    whole = estimate_lemaire(trace, revision=REVISION)
    for size in (1, 37, 100):
        monkeypatch.setattr(neuron_state, "CALLS_AT_ONCE", size)
        again = estimate_lemaire(trace, revision=REVISION)
        assert again.counts == whole.counts
        assert again.total_pj == pytest.approx(whole.total_pj, rel=1e-12)


def test_a_neuron_with_operations_of_its_own(run):
    """24 elements: 2 MACs and 3 additions each, all of the state read and written once."""
    model = nn.Sequential(nn.Linear(8, 6), neuron.QIFNode(v_threshold=1e9))
    trace = run(model, torch.rand(4, 8))
    own = NeuronOperations(macs_per_step=2, acs_per_step=3)
    report = estimate_lemaire(trace, LemaireConfig(neurons={"QIFNode": own}), revision=REVISION)
    assert state(report) == [72, 48, 96, 96]
    assert state(estimate_lemaire(trace, revision=REVISION)) != [72, 48, 96, 96]


def test_outputs_that_were_not_measured_are_named(run):
    """They are taken as dense: of 3 rows of 10 elements, one nonzero each, all are written."""
    net, x = nn.Linear(8, 10, bias=False).eval(), torch.zeros(3, 8)
    x[:, 0] = 1
    with torch.no_grad():
        net.weight.copy_(torch.eye(10, 8))
    trace = run(net, x)
    measured = estimate_lemaire(trace, revision=REVISION)
    assert measured.counts["write_out_bytes"] == 3 * 4
    assert not [each for each in measured.warnings if "not measured" in each]
    unknown = [pl.lit(None).cast(t).alias(n) for n, t in trace.calls.collect_schema().items()
               if n in ("out0_class", "out0_nonzero")]  # fmt: skip
    blank = [pl.lit(None).cast(t).alias(n) for n, t in trace.values.collect_schema().items()
             if n in ("class", "nonzero")]  # fmt: skip
    keep = pl.col("value_id").is_in(
        trace.calls.select("in0_value").collect()["in0_value"].to_list()
    )
    values = pl.concat([trace.values.filter(keep), trace.values.filter(~keep).with_columns(blank)])
    found = estimate_lemaire(
        replace(trace, calls=trace.calls.with_columns(unknown), values=values), revision=REVISION
    )
    assert found.counts["write_out_bytes"] == 3 * 10 * 4
    assert any("the outputs of 1 of 1 layer calls were not measured" in w for w in found.warnings)
