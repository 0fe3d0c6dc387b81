"""Relations that hold for every network, on a hundred small ones; counts beside SpikingJelly's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import opjoule  # noqa: E402
from opjoule import op_counter as ours  # noqa: E402
from opjoule.analyzers import count, energy, open_trace  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402

_SPEC = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
networks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(networks)

ESTIMATORS = ("compute", "simple", "lemaire", "neuromc", "spikesim")
BY_SAMPLE = ("compute", "simple", "lemaire", "spikesim")
"""Those whose energy of a sample does not depend on the batch: NeuroMC reads weights by call.

Nor do `compute` and `simple` where there are batch norms: each call of one has operations for each
channel, however many samples and time steps it works on.
"""

COUNTERS = ("FlopCounter", "MemoryAccessCounter", "SynOpCounter", "MACCounter", "ACCounter")

pytestmark = pytest.mark.slow


def estimated(trace, name):
    """Return the report of an estimator; None where it has nothing to charge."""
    try:
        return getattr(energy, f"estimate_{name}")(trace)
    except TraceError:
        return None


def recorded(path, run, *args):
    with opjoule.Recorder(path, model=args[0]), torch.no_grad():
        run(*args)
    return open_trace(path)


def reports_of(trace, estimators=ESTIMATORS):
    found = {name: estimated(trace, name) for name in estimators}
    return {name: report for name, report in found.items() if report is not None}


def check_account(trace, reports):
    """Charged and left out are all products, in dense MACs, in every estimator."""
    whole = count(trace).total["dense_macs"]
    for name, report in reports.items():
        account = report.account
        assert account.charged_macs + account.left_out_macs == whole, name


def check_modules(reports):
    """What modules have of their own adds up to all; with what is below, to what is above."""
    for name, report in reports.items():
        own = report.by("module", exclusive=True)
        assert own["energy_pj"].sum() == pytest.approx(report.total_pj), name
        rows = dict(report.by("module").select("module", "energy_pj").iter_rows())
        assert rows["Global"] == pytest.approx(report.total_pj), name
        alone = dict(own.select("module", "energy_pj").iter_rows())
        for path, energy_pj in rows.items():
            below = [n for p, n in alone.items() if p and (p == path or p.startswith(f"{path}."))]
            if path != "Global":
                assert energy_pj == pytest.approx(sum(below)), (name, path)


@pytest.mark.parametrize("seed", range(60))
def test_a_spiking_network_costs_the_same_however_it_is_run(seed, tmp_path):
    net, x = networks.spiking(seed)
    # A batch of one is run one sample at a time already.
    runs = networks.RUNS if x.shape[1] > 1 else networks.RUNS[:2]
    traces = {run.__name__: recorded(tmp_path / run.__name__, run, net, x) for run in runs}
    # NeuroMC, which is compared with nothing here, estimates one of the runs, each in its turn.
    third = list(traces)[seed % len(traces)]
    reports = {
        how: reports_of(trace, ESTIMATORS if how == third else BY_SAMPLE)
        for how, trace in traces.items()
    }
    for how, trace in traces.items():
        check_account(trace, reports[how])
        check_modules(reports[how])
    norms = any(isinstance(module, torch.nn.BatchNorm2d) for module in net)
    for name in BY_SAMPLE[2:] if norms else BY_SAMPLE:
        found = [each.get(name) for each in reports.values()]
        if not any(found):
            continue
        assert all(found), name
        assert {report.samples for report in found} == {x.shape[1]}, name
        each = [report.per_sample_pj for report in found]
        assert each == [pytest.approx(each[0])] * len(each), name


@pytest.mark.parametrize("seed", range(60, 100))
def test_an_ordinary_network_has_one_account(seed, tmp_path):
    name, net, inputs = networks.ordinary(seed)
    trace = recorded(tmp_path / name, lambda model, *given: model(*given), net, *inputs)
    reports = reports_of(trace)
    assert reports
    check_account(trace, reports)
    check_modules(reports)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_counters_equal_spikingjellys_in_the_same_process(seed):
    from spikingjelly.activation_based import op_counter as theirs

    net, x = networks.spiking(seed)
    counts = []
    for module in (theirs, ours):
        counters = [getattr(module, name)() for name in COUNTERS]
        with torch.no_grad(), module.DispatchCounterMode(counters):
            networks.one_step_at_a_time(net, x)
        counts.append([by_scope(each) for each in counters])
    assert counts[0] == counts[1]


def by_scope(counter):
    return {
        scope: {str(op): n for op, n in ops.items()} for scope, ops in counter.get_counts().items()
    }


@pytest.mark.parametrize("make", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_the_order_of_dimensions_and_a_bias_change_no_mac(make, tmp_path):
    """4 samples of 20 steps, as (4, 20, 8) or (20, 4, 8); a bias adds additions, no MAC."""
    found = []
    for first in (True, False):
        for bias in (True, False):
            torch.manual_seed(0)
            net, x = make(8, 6, batch_first=first, bias=bias).eval(), torch.rand(4, 20, 8)
            given = x if first else x.transpose(0, 1).contiguous()
            trace = recorded(tmp_path / f"{first}{bias}", lambda n, t: n(t), net, given)
            report = energy.estimate_compute(trace)
            assert report.samples == 4
            found.append((count(trace).total["dense_macs"], count(trace).total["macs"]))
    assert len(set(found)) == 1
