"""Calls that an exception ended: what they ran is counted, but they are no samples."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

import opjoule as oj

torch = pytest.importorskip("torch")
nn = torch.nn

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"


class Limited(nn.Module):
    """Two layers, 8 x 16 and 16 x 4; between them no more than `most` rows fit."""

    def __init__(self, most=100):
        super().__init__()
        self.first, self.second, self.most = nn.Linear(8, 16), nn.Linear(16, 4), most

    def forward(self, x):
        x = self.first(x)
        if len(x) > self.most:
            raise MemoryError
        return self.second(x)


def recorded(tmp_path, run, most=100):
    net = Limited(most).eval()
    with oj.Recorder(tmp_path / "trace", model=net, batch_dim=0), torch.no_grad():
        run(net)
    return oj.open_trace(tmp_path / "trace")


def raised(trace):
    rows = trace.module_calls.sort("module_call_id").collect()
    paths = dict(trace.modules.select("module_id", "path").rows())
    return [paths[number] for number in rows.filter("raised")["module_id"]]


def test_a_wrong_shape_that_is_caught_is_no_sample(tmp_path):
    def run(net):
        for _ in range(3):
            net(torch.rand(5, 8))
        with suppress(RuntimeError):
            net(torch.rand(5, 9))

    trace = recorded(tmp_path, run)
    assert raised(trace) == ["Limited", "Limited.first"]
    found = oj.count(trace, per="sample", spread=True)
    assert found.sampled.samples == 15
    macs = 8 * 16 + 16 * 4  # of the failed call nothing ran
    row = found.frame.row(0, named=True)
    assert (row["macs_per_sample"], row["macs_std"]) == (macs, 0)
    assert found.warnings == (
        "1 inference ended with an exception: what ran of it is counted, its samples are not",
    )
    for estimator in ("compute", "lemaire"):
        report = oj.energy(trace, estimator)
        assert report.samples == 15 and any("an exception" in text for text in report.warnings)
    assert oj.energy(trace, "compute").per_sample_pj == pytest.approx(macs * 4.6)
    table = oj.table({"net": trace}, ["samples", "macs"])
    assert table.total["net"]["samples"] == 15
    assert any("ended with an exception" in line for line in table.footnotes)


def test_a_batch_that_runs_again_in_halves_counts_once(tmp_path):
    def run(net):
        x = torch.rand(8, 8)
        for size in (8, 4, 2):
            with suppress(MemoryError):
                for part in x.split(size):
                    net(part)
                break

    trace = recorded(tmp_path, run, most=2)
    found = oj.count(trace, per="sample")
    assert found.sampled.samples == 8
    whole = 8 * (8 * 16 + 16 * 4) + (8 + 4) * 8 * 16  # the first layer of 8 and of 4 rows too
    assert found.total["macs"] == whole
    assert found.each["macs"] == whole / 8
    assert found.warnings[0].startswith("2 inferences ended with an exception: what ran of them")
    by_sample = oj.count(trace, by="sample", per="sample").frame
    assert by_sample.drop_nulls("sample")["macs_per_sample"].to_list() == [8 * 16 + 16 * 4] * 4


def test_a_chain_whose_last_call_succeeds_is_a_sample(tmp_path):
    """State is carried through an exception: the sample goes on."""

    def run(net):
        state = net(torch.rand(2, 8))
        with suppress(MemoryError):
            net(torch.cat([state, state], 1).repeat(60, 1))
        net(torch.cat([state, state], 1))

    trace = recorded(tmp_path, run)
    assert raised(trace) == ["Limited"]
    found = oj.count(trace, per="sample")
    assert found.sampled.frame.height == 1 and not found.warnings


def test_older_traces_do_not_tell():
    trace = oj.open_trace(STORED)
    assert trace.module_calls.collect()["raised"].null_count() > 0
    assert not [t for t in oj.count(trace, per="sample").warnings if "exception" in t]
