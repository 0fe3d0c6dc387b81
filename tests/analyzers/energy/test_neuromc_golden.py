"""NeuroMC as SpikingJelly's two revisions compute it, on every reference case and field."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy.neuromc.report import estimate_neuromc
from opjoule.schemas import TraceError

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
FILES = {"spikingjelly-2.0": "golden-2.0.0", "spikingjelly-2026-08": "golden-2026-08"}
GOLDEN = {
    revision: json.loads((REFERENCE / f"{file}.json").read_text())["cases"]
    for revision, file in FILES.items()
}
CASES = [
    (revision, name, kind)
    for revision, cases in GOLDEN.items()
    for name in sorted(cases)
    for kind in ("neuromc-forward", "neuromc-train")
    if kind in cases[name]["energies"]
]
REFUSED = [each for each in CASES if "refused" in GOLDEN[each[0]][each[1]]["energies"][each[2]]]


def _cases():
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE / "cases.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return a function that records a case once: a forward pass, or a training step."""
    from opjoule.tracer import record

    folder, known = tmp_path_factory.mktemp("neuromc"), {}

    def recorded(name, kind):
        if (name, kind) not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case = _cases().build(name)
                training = (
                    {"loss_fn": case.loss_fn, "target": case.target, "optimizer": case.optimizer}
                    if kind == "neuromc-train"
                    else {}
                )
                path = record(case.model, case.inputs, folder / f"{name}-{kind}", **training)
            known[name, kind] = open_trace(path)
        return known[name, kind]

    return recorded


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
    return {"energy_total_pj": report.total_pj, "warnings": list(report.warnings), **report.details}


@pytest.mark.parametrize(("revision", "name", "kind"), [c for c in CASES if c not in REFUSED])
def test_every_field_of_every_case(traces, revision, name, kind):
    golden = GOLDEN[revision][name]["energies"][kind]
    report = estimate_neuromc(traces(name, kind), revision=revision, strict=True)
    answer = {field: _answer(report)[field] for field in golden}
    found, wanted = dict(_leaves(answer)), dict(_leaves(golden))
    assert found.keys() == wanted.keys()
    for path, value in wanted.items():
        if isinstance(value, float):
            assert found[path] == pytest.approx(value, rel=1e-9, abs=1e-12), path
        else:
            assert found[path] == value, path
            assert type(found[path]) is type(value), path


@pytest.mark.parametrize(("revision", "name", "kind"), REFUSED)
def test_refusals_name_the_same_ops(traces, revision, name, kind):
    refused = GOLDEN[revision][name]["energies"][kind]["refused"]
    ops = set(re.findall(r"aten\.[\w.]+ \(calls=\d+\)", refused))
    with pytest.raises(TraceError) as caught:
        estimate_neuromc(traces(name, kind), revision=revision, strict=True)
    if ops:
        assert set(re.findall(r"aten\.[\w.]+ \(calls=\d+\)", str(caught.value))) == ops
    else:
        # ValueError: ... does not support nn.Conv3d yet.
        assert "Conv3d" in refused
        assert "aten.convolution.default (3-d) (calls=1)" in str(caught.value)
    report = estimate_neuromc(traces(name, kind), revision=revision)
    assert report.total_pj > 0
    assert any(text.startswith("left out: NeuroMC has no fragment for") for text in report.warnings)


def test_all_cases_are_there():
    """Nineteen cases, two revisions; eight refusals in the files, 3 of 2.0 and 5 of 2026-08."""
    assert len(CASES) == 38
    assert len(REFUSED) == 8
