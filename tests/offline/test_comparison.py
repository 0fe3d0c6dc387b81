"""Comparisons from files alone; runs where PyTorch is not installed."""

from __future__ import annotations

import json
from pathlib import Path

from opjoule.analyzers import compare, count, open_trace
from opjoule.analyzers.counting.evaluate import COUNTERS
from opjoule.cli.main import run

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"


def test_a_trace_equals_itself(capsys):
    conditions = ["--fail-on", "flops>+0%", "--fail-on", "energy.compute>+0%"]
    assert run(["compare", str(STORED), str(STORED), *conditions]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("nothing changed") and err == ""


def test_one_stage_against_all(capsys):
    """What a filter leaves out of one side is removed: its figures are the difference."""
    trace = open_trace(STORED)
    found = compare(trace, trace.where("stage=forward", "label=inference"), per="total")
    totals = count(trace).total, count(trace, where=["stage=forward", "label=inference"]).total
    for name in COUNTERS:
        assert found.totals[name].difference == totals[1][name] - totals[0][name]
        assert found.changes(name)["difference"].sum() == found.totals[name].difference
    backward = found.rows.filter(stage="backward")
    assert set(backward["mark"]) == {"removed"} and backward["flops_head"].sum() == 0
    assert "calls of the model in training mode 1 -> 0" in found.warnings


def test_json(capsys):
    assert run(["compare", str(STORED), str(STORED), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [total["mark"] for total in data["totals"]] == ["equal"] * 6
    assert data["failures"] == [] and data["warnings"] == []
