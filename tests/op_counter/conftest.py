"""The reference cases, and SpikingJelly's own op_counter."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")
REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def _cases():
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE / "cases.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def pytest_generate_tests(metafunc):
    if "case_name" in metafunc.fixturenames:
        metafunc.parametrize("case_name", list(_cases().CASES))


@pytest.fixture(scope="session")
def build():
    """Return the function that builds a reference case by name."""
    return _cases().build


@pytest.fixture(scope="session")
def golden():
    """Return the figures of both revisions: golden["spikingjelly-2.0"][case]."""
    files = {"spikingjelly-2.0": "golden-2.0.0", "spikingjelly-2026-08": "golden-2026-08"}
    return {r: json.loads((REFERENCE / f"{f}.json").read_text())["cases"] for r, f in files.items()}


@pytest.fixture(scope="session")
def original():
    """Return spikingjelly.activation_based.op_counter."""
    pytest.importorskip("spikingjelly")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import op_counter
    return op_counter


@pytest.fixture
def revision(monkeypatch):
    """Return a function that sets `op_counter.revision` for one test."""
    from opjoule import op_counter

    return lambda name: monkeypatch.setattr(op_counter, "revision", name)
