"""`opjoule conventions`: tables, and data for machines."""

from __future__ import annotations

import json


def test_tables_of_figures_and_definitions(answered, stored):
    found = answered("conventions", stored)
    assert found.startswith("per sample: the whole divided by 6 samples, forward passes")
    assert "the first layer once" in found and "what each counts" in found


def test_json_and_csv_have_the_same_figures(answered, stored):
    data = json.loads(answered("conventions", stored, "--per", "total", "--format", "json"))
    assert data["per"] == "total"
    lines = answered("conventions", stored, "--format", "csv").splitlines()
    assert lines[0].startswith("convention,figure,unit,value,total,kind,ratio,why,definition")
    assert len(lines) == 1 + len(data["rows"])


def test_a_trace_without_forward_passes_is_refused(refused, stored):
    assert "no forward pass" in refused("conventions", stored, "--where", "stage=backward")
