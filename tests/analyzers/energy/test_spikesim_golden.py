"""SpikeSim as SpikingJelly's two revisions compute it, on every reference case and field."""

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
from opjoule.analyzers.energy.spikesim.report import estimate_spikesim
from opjoule.schemas import TraceError
from opjoule.schemas.costs.spikesim import SpikeSimConfig

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
FILES = {"spikingjelly-2.0": "golden-2.0.0", "spikingjelly-2026-08": "golden-2026-08"}
GOLDEN = {
    revision: json.loads((REFERENCE / f"{file}.json").read_text())["cases"]
    for revision, file in FILES.items()
}
CASES = sorted(GOLDEN["spikingjelly-2.0"])


def _cases():
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE / "cases.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return a function that records a case once, in eval mode and without gradients."""
    from opjoule.tracer import record

    folder, known = tmp_path_factory.mktemp("spikesim"), {}

    def recorded(name):
        if name not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case = _cases().build(name)
                path = record(case.model.eval(), case.inputs, folder / name)
            known[name] = open_trace(path)
        return known[name]

    return recorded


@pytest.fixture(scope="module")
def reports(traces):
    """Return a function that estimates a case once as a key of the golden figures says."""

    @cache
    def estimated(name, revision, key):
        _, mode, device, size = key.split("-")
        config = SpikeSimConfig(activity_mode=mode, device=device, xbar_size=int(size))
        return estimate_spikesim(traces(name), config, revision=revision)

    return estimated


def _leaves(tree, path=()):
    if isinstance(tree, dict) and tree:
        for name, branch in tree.items():
            yield from _leaves(branch, (*path, name))
    elif isinstance(tree, list) and tree:
        for place, branch in enumerate(tree):
            yield from _leaves(branch, (*path, place))
    else:
        yield path, tree


def _answer(report):
    names = ("energy_by_stage", "energy_by_component", "event_stats_by_stage", "stage_metadata")
    return {
        "energy_total_pj": report.total_pj,
        "breakdown_pj": report.breakdown_pj,
        "counts": report.counts,
        **{name: report.details[name] for name in names},
    }


def _differences(mine, theirs):
    mine, theirs = dict(_leaves(mine)), dict(_leaves(theirs))
    for path in mine.keys() | theirs.keys():
        one, other = mine.get(path), theirs.get(path)
        if isinstance(other, float) and isinstance(one, float | int):
            if abs(one - other) > 1e-9 * abs(other):
                yield path, one, other
        elif one != other:
            yield path, one, other


@pytest.mark.parametrize("revision", FILES)
@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name, revision, reports):
    configs = {k: v for k, v in GOLDEN[revision][name]["energies"].items() if "spikesim" in k}
    assert len(configs) == 8  # dense and event, rram and sram, 32 and 64
    for key, theirs in configs.items():
        report = reports(name, revision, key)
        theirs = {k: v for k, v in theirs.items() if k != "warnings"}
        assert not sorted(_differences(_answer(report), theirs))


@pytest.mark.parametrize("revision", FILES)
@pytest.mark.parametrize("name", CASES)
def test_warns_of_what_golden_warns_of(name, revision, reports):
    """Every module that a golden warning names, the empty estimate, and the event mode."""
    for key, theirs in GOLDEN[revision][name]["energies"].items():
        if "spikesim" not in key:
            continue
        mine = " ".join(reports(name, revision, key).warnings)
        named = [n for line in theirs["warnings"] for n in re.findall(r": ([\w.]+)\.$", line)]
        assert all(module in mine for module in named)
        empty = any("No supported" in line for line in theirs["warnings"])
        assert ("finds no convolution" in mine) == empty
        assert ("event mode" in mine) == any(
            "event" in line and "dense" in line for line in theirs["warnings"]
        )
        assert bool(mine) == bool(theirs["warnings"])


@pytest.mark.parametrize("revision", FILES)
@pytest.mark.parametrize(
    "name", ["grouped_convs", "conv1d_and_conv3d", "transposed_conv", "dense_linear"]
)
def test_strict_refuses_where_spikingjelly_refuses(name, revision, traces):
    with pytest.raises(TraceError, match="SpikeSim"):
        estimate_spikesim(traces(name), revision=revision, strict=True)


@pytest.mark.parametrize("name", ["grouped_convs", "dense_linear", "spiking_attention"])
def test_source_refuses_a_trace_without_a_fitting_part(name, traces):
    with pytest.raises(TraceError, match="finds no convolution"):
        estimate_spikesim(traces(name))
