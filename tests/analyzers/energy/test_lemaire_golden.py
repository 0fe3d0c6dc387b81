"""Lemaire as SpikingJelly's two revisions compute it, on every reference case and field."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_lemaire
from opjoule.schemas import TraceError

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
FILES = {"spikingjelly-2.0": "golden-2.0.0", "spikingjelly-2026-08": "golden-2026-08"}
GOLDEN = {
    revision: json.loads((REFERENCE / f"{file}.json").read_text())["cases"]
    for revision, file in FILES.items()
}
CASES = sorted(GOLDEN["spikingjelly-2.0"])
SEVERAL_NEURONS = (
    "active_multi_step",
    "active_single_step",
    "multi_step_snn",
    "single_step_lif",
    "train_spiking_convs",
)
"""In the figures of August 2026 only the first neuron of these is counted: that revision's rules
ran on other neurons than its own."""
OF_NEURONS = ("potential", "state", "ops", "memory", "total")
"""What a neuron that is not counted takes part in."""


def _cases():
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE / "cases.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return a function that records a case once: one pass without gradients, in its own mode."""
    from opjoule.tracer import record

    folder, known = tmp_path_factory.mktemp("lemaire"), {}

    def recorded(name):
        if name not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case = _cases().build(name)
                path = record(case.model, case.inputs, folder / name)
            known[name] = open_trace(path)
        return known[name]

    return recorded


@pytest.fixture(scope="module")
def reports(traces):
    """Return a function that estimates a case once as a revision does."""
    return cache(lambda name, revision: estimate_lemaire(traces(name), revision=revision))


def _figures(report):
    return {
        ("total_pj",): report.total_pj,
        **{("breakdown_pj", name): value for name, value in report.breakdown_pj.items()},
        **{("counts", name): value for name, value in report.counts.items()},
        **{("buffer", name): n for name, n in report.details["buffer_sizes_bytes"].items()},
    }


def _theirs(answer):
    return {
        ("total_pj",): answer["total_pj"],
        **{("breakdown_pj", name): value for name, value in answer["breakdown_pj"].items()},
        **{("counts", name): value for name, value in answer["counts"].items()},
        **{("buffer", name): n for name, n in answer["buffer_sizes_bytes"].items()},
    }


def _different(mine, theirs):
    assert mine.keys() == theirs.keys()
    return {
        path: (mine[path], wanted)
        for path, wanted in theirs.items()
        if abs(mine[path] - wanted) > 1e-9 * abs(wanted)
    }


@pytest.mark.parametrize("revision", FILES)
@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name, revision, reports):
    report = reports(name, revision)
    found = _different(_figures(report), _theirs(GOLDEN[revision][name]["energies"]["lemaire"]))
    if revision == "spikingjelly-2026-08" and name in SEVERAL_NEURONS:
        assert all(any(word in path[-1] for word in OF_NEURONS) for path in found)
        assert all(mine > theirs for mine, theirs in found.values())
    else:
        assert not found


@pytest.mark.parametrize("revision", FILES)
@pytest.mark.parametrize("name", CASES)
def test_rows_add_up(name, revision, reports):
    report = reports(name, revision)
    whole = pytest.approx(report.total_pj, rel=1e-12)
    assert report.rows["energy_pj"].sum() == whole
    assert report.details["layers"]["total_pj"].sum() == whole
    parts = report.breakdown_pj
    assert parts["ops_pj"] + parts["addressing_pj"] + parts["memory_pj"] == whole


@pytest.mark.parametrize("name", CASES)
def test_warns_of_what_golden_warns_of(name, reports):
    """2.0 names each class that it has no formulas for; August 2026 transposed convolutions."""
    for revision in FILES:
        warned = reports(name, revision).warnings
        mine = " ".join(warned)
        theirs = GOLDEN[revision][name]["energies"]["lemaire"]["warnings"]
        named = [re.findall(r"(?:support|for) (\w+)[;.]", line)[0] for line in theirs]
        assert len(named) == len(warned)
        assert all(f" {each}" in mine for each in named)


def test_strict_refuses_where_2_0_refuses(traces):
    """2.0 refuses modules that it has no formulas for: those that the golden warnings name."""
    for name in CASES:
        warned = GOLDEN["spikingjelly-2.0"][name]["energies"]["lemaire"]["warnings"]
        if warned:
            with pytest.raises(TraceError, match="strict"):
                estimate_lemaire(traces(name), revision="spikingjelly-2.0", strict=True)
        else:
            estimate_lemaire(traces(name), revision="spikingjelly-2.0", strict=True)
