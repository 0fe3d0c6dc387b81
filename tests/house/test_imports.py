"""What an import loads, seen in a fresh interpreter."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = (
    "schemas",
    "tracer",
    "analyzers",
    "analyzers.trace",
    "analyzers.workload",
    "analyzers.rules",
    "analyzers.counting",
    "analyzers.energy",
    "analyzers.checking",
    "analyzers.comparing",
    "analyzers.peers",
    "analyzers.sweeping",
    "analyzers.timing",
    "analyzers.plotting",
    "analyzers.reporting",
    "op_counter",
    "cli",
    "testing",
)
LOADED = "; import json, sys; print(json.dumps([*sys.modules]))"
STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"


def loaded_by(statement: str, *, whole: bool = False) -> set[str]:
    """Return the modules that a statement loads in a fresh interpreter: top or whole names."""
    done = subprocess.run(
        [sys.executable, "-c", statement + LOADED], capture_output=True, text=True, check=True
    )
    names = json.loads(done.stdout.splitlines()[-1])
    return {name if whole else name.partition(".")[0] for name in names}


def test_the_root_loads_nothing_heavy():
    heavy = {"torch", "polars", "pyarrow", "click", "numpy", "pytest"}
    assert not loaded_by("import opjoule") & heavy
    assert not loaded_by("import opjoule.analyzers; opjoule.analyzers.check") & {"torch", "pytest"}


def test_the_pytest_plugin_loads_nothing_heavy():
    """Every test run of an environment with opjoule loads it."""
    heavy = {"torch", "polars", "pyarrow", "numpy", "pydantic"}
    assert not loaded_by("import opjoule.testing.plugin") & heavy


def test_a_count_loads_what_it_needs():
    """The first answer on a small trace is mostly imports: these take longer than to count."""
    lines = ["import opjoule as oj", f"trace = oj.open_trace({str(STORED)!r})"]
    lines += ["repr(oj.count(trace, by='module'))", "repr(oj.rates(trace))"]
    lines += ["repr(oj.compare(trace, trace))", "repr(oj.check(trace, ['flops=1T']))"]
    assert not loaded_by("; ".join(lines)) & {"pyarrow", "numpy", "pydantic", "torch"}


def test_an_estimate_loads_its_own_configuration():
    """Each has many fields, of which pydantic makes a model as its file is loaded."""
    asked = f"import opjoule as oj; repr(oj.energy({str(STORED)!r}, 'compute'))"
    loaded = loaded_by(asked, whole=True)
    costs = "opjoule.schemas.costs"
    assert f"{costs}.compute" in loaded
    assert not loaded & {
        f"{costs}.{name}" for name in ("lemaire", "machine", "neuromc", "spikesim")
    }


def test_schemas_load_neither_torch_nor_polars():
    assert not loaded_by("import opjoule.schemas") & {"torch", "polars", "click"}


@pytest.mark.parametrize(
    "statement",
    [
        "import opjoule; opjoule.record",
        "import opjoule; opjoule.Recorder",
        "from opjoule import Recorder",
        "from opjoule.tracer import NeuronRule",
    ],
)
def test_recording_says_what_it_needs_where_torch_is_missing(statement):
    """One line, with what to type; analyzing does not ask."""
    lines = ["import sys", "sys.modules['torch'] = None", "import opjoule", "opjoule.open_trace"]
    lines += ["try:", f"    {statement}", "except opjoule.schemas.OpjouleError as error:"]
    lines += ["    print(type(error).__name__, error, sep=': ')"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "RecordError: recording needs PyTorch, which is not installed: "
        "pip install 'opjoule[torch]'\n"
    )


def test_analyzers_leave_torch_out():
    assert not loaded_by("import opjoule.analyzers, opjoule.analyzers.energy") & {"torch", "click"}


def test_recording_leaves_polars_out():
    pytest.importorskip("torch")
    assert not loaded_by("import opjoule.tracer") & {"polars", "click"}


def test_the_command_line_starts_light():
    assert not loaded_by("import opjoule.cli") & {"torch", "polars", "pyarrow", "numpy", "pydantic"}


def test_help_loads_nothing_heavy():
    statement = (
        "from opjoule.cli.main import run; "
        "codes = [run(a) for a in (['--help'], ['count', '--help'], ['record', '--help'])]; "
        "assert codes == [0, 0, 0], codes"
    )
    assert not loaded_by(statement) & {"torch", "polars", "pyarrow", "numpy", "pydantic"}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_all_is_true(name):
    """`__all__` names what is there, once, and nothing public is left unnamed."""
    if name in ("tracer", "op_counter"):
        pytest.importorskip("torch")
    package = importlib.import_module(f"opjoule.{name}")
    names = getattr(package, "__all__", [])
    assert len(names) == len(set(names))
    assert not [each for each in names if not hasattr(package, each)]


def test_every_all_of_a_module_is_true():
    """The same for modules below the packages that say what they hand on."""
    analyzers = importlib.import_module("opjoule.analyzers")
    for found in pkgutil.walk_packages(analyzers.__path__, "opjoule.analyzers."):
        module = importlib.import_module(found.name)
        assert not [each for each in getattr(module, "__all__", []) if not hasattr(module, each)]


def test_the_root_hands_on_what_it_names():
    root = importlib.import_module("opjoule")
    offline = {"__version__", "count", "coverage", "open_trace"}
    assert offline <= set(root.__all__)
    assert not [each for each in offline if not hasattr(root, each)]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = root.nonsense
