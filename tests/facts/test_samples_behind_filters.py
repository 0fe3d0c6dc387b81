"""Samples are numbered, by counts and by energies alike, once filters have chosen."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import opjoule as oj  # noqa: E402


@pytest.mark.parametrize("where", ["step=2", "label=late"])
def test_a_filter_on_steps_speaks_of_steps(tmp_path, where):
    """Four batches of 1, 2, 3 and 4 spikes on Linear(8, 2); the third is labelled."""
    layer = nn.Sequential(nn.Linear(8, 2, bias=False)).eval()
    inputs = [(torch.arange(8) < spikes).float()[None] for spikes in (1, 2, 3, 4)]
    with oj.Recorder(tmp_path / "trace") as recorder, torch.no_grad():
        for place, each in enumerate(inputs):
            with recorder.label("late" if place == 2 else "early"):
                layer(each)
    counted = oj.count(tmp_path / "trace", by="sample", where=where).frame
    found = oj.energy(tmp_path / "trace", "compute", where=where).by("sample")
    assert counted.select("sample", "acs").rows() == [(0, 3 * 2)]
    assert found.select("sample", "energy_pj").rows() == [(0, pytest.approx(0.9 * 3 * 2))]
