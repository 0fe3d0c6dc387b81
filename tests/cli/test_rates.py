"""`opjoule rates`: tables, and data for machines."""

from __future__ import annotations

import json


def test_tables_and_totals(answered, stored):
    found = answered("rates", stored)
    assert "rate" in found and "effective AC" in found
    assert "a sample: effective MAC" in found


def test_json_and_csv_have_the_same_rates(answered, stored):
    data = json.loads(answered("rates", stored, "--format", "json"))
    assert data["samples"] == 6
    lines = answered("rates", stored, "--format", "csv").splitlines()
    assert lines[0].startswith("module,kind,neurons,calls,elements,nonzero,nonzero_per_sample,rate")
    assert len(lines) == 1 + len(data["layers"])
    for row in data["layers"]:
        assert row["rate"] == row["nonzero"] / row["elements"]
        assert row["nonzero_per_sample"] == row["nonzero"] / 6


def test_rates_over_time_where_they_are_recorded(answered, stored):
    found = answered("rates", stored, "--of", "time")
    assert found.startswith(("layer", "no neuron was called once"))
