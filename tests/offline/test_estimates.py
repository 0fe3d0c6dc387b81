"""Every estimator, in every revision it has, on a stored trace where PyTorch is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opjoule.analyzers import energy, open_trace
from opjoule.cli.main import run

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
ESTIMATORS = energy.ESTIMATORS
REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")
KINDS = [
    (name, revision)
    for name in ESTIMATORS
    for revision in REVISIONS
    if (name, revision) != ("simple", "spikingjelly-2026-08")
]


def test_no_estimator_is_left_out():
    named = {name.removeprefix("estimate_") for name in energy.__all__ if "estimate_" in name}
    assert named == set(ESTIMATORS)


@pytest.mark.parametrize(("name", "revision"), KINDS)
def test_an_estimate_from_the_file_alone(name, revision, capsys):
    """The rows add up to the total, and the command says what the function says."""
    assert run(["energy", name, str(STORED), "--revision", revision, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["estimator"], answer["revision"]) == (name, revision)
    assert answer["total_pj"] > 0
    assert sum(row["energy_pj"] for row in answer["rows"]) == pytest.approx(answer["total_pj"])
    report = getattr(energy, f"estimate_{name}")(open_trace(STORED), revision=revision)
    assert report.total_pj == pytest.approx(answer["total_pj"], rel=1e-12)
    assert report.breakdown_pj == pytest.approx(answer["breakdown_pj"], rel=1e-12)
    assert report.rows["energy_pj"].sum() == pytest.approx(report.total_pj)
    own = report.by("module", exclusive=True)
    assert own["energy_pj"].sum() == pytest.approx(report.total_pj)
    (whole,) = report.by("module").filter(module="Global")["energy_pj"]
    assert whole == pytest.approx(report.total_pj)


def test_an_estimator_that_a_revision_lacks(capsys):
    words = ["energy", "simple", str(STORED), "--revision", "spikingjelly-2026-08"]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err.count("\n") == 1
        and "of simple: choose from source, spikingjelly-2.0" in err
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_statement_for_a_paper(name, capsys):
    assert run(["energy", name, str(STORED), "--statement"]) == 0
    text = capsys.readouterr().out
    words = ("source", "forward", "coverage", "batch")
    assert [word for word in words if word not in text.lower()] == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_sweep_meets_the_estimate_at_its_own_constants(name, capsys):
    """One constant as it is gives the estimate; twice as much at most doubles it."""
    assert run(["config", "show", name, "--format", "json"]) == 0
    constants = json.loads(capsys.readouterr().out)
    field, value = next(
        (key, value) for key, value in constants.items() if key.endswith("_pj") and value
    )
    words = ["sweep", name, str(STORED), "--vary", f"{field}={value},{2 * value}"]
    assert run([*words, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    total = getattr(energy, f"estimate_{name}")(open_trace(STORED)).total_pj
    once, twice = (row["total_pj"] for row in rows)
    assert once == pytest.approx(total, rel=1e-9)
    assert total <= twice <= 2 * total * (1 + 1e-9)
