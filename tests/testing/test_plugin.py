"""The pytest plugin, in projects of its own: what passes, what fails, and who is named."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import opjoule as oj

pytest.importorskip("torch")
pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

# On five rows: first 5 * 16 * (2 * 8 + 1) = 1360 FLOP, ReLU 80, last 5 * 4 * (2 * 16 + 1) = 660:
# 2100, 420 a sample; MACs 5 * (8 * 16 + 16 * 4) = 960.
MODEL = """
import pytest, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.relu = torch.nn.Linear(8, 16), torch.nn.ReLU()
        self.last = torch.nn.Linear(16, 4)

    def forward(self, x, scale=None):
        return self.last(self.relu(self.first(x)))

NET, X = Net().eval(), torch.ones(5, 8)
"""


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Load what a project's tests need: they run in this process, which forgets what they load."""
    oj.energy(ROOT / "tests" / "data" / "spiking-1")
    assert oj.check and oj.record


@pytest.fixture
def project(pytester, monkeypatch):
    """Return a function that runs the tests of a new project with the plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("CI", "BUILD_NUMBER"):  # in CI, pytest does not cut the lines of its summary
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\naddopts = --strict-markers -p opjoule.testing.plugin\n")

    def run(*tests, **outcomes):
        pytester.makepyfile(MODEL + "\n".join(tests))
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
        result.assert_outcomes(**outcomes)
        return result.stdout.str()

    return run


def test_the_entry_point_is_the_plugin():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    module = importlib.import_module(points["pytest11"]["opjoule"])
    assert callable(module.pytest_runtest_setup)


def test_limits_that_hold(project):
    project(
        """
@pytest.mark.opjoule(max_flops=2100, max_energy={"compute": "1 uJ/sample"})
def test_whole(record):
    trace = record(NET, X)
    import opjoule as oj
    assert oj.count(trace).total["flops"] == 2100

@pytest.mark.opjoule(max_flops=["420/sample", "1360@first"], where="stage=forward")
def test_parts(record):
    record(NET, X)

@pytest.mark.opjoule(max_flops="4200")
def test_twice(record):
    record(NET, X)
    record(NET, {"x": torch.ones(10, 8)})

def test_without_limits(record):
    assert record(NET, X, None).manifest.status == "complete"
""",
        passed=4,
    )


def test_a_broken_limit_names_the_module(project):
    out = project(
        """
@pytest.mark.opjoule(max_flops=2099)
def test_whole(record):
    record(NET, X)
    raise AssertionError("it goes on")

@pytest.mark.opjoule(max_flops="100/sample@*")
def test_modules(record):
    record(NET, X)

@pytest.mark.opjoule(max_energy={"compute": "1 pJ/sample"})
def test_energy(record):
    record(NET, X)
""",
        failed=3,
    )
    assert "over budget: flops=2099: 2,100; most by Net.first: 1,360 (64.8 %), Net.last" in out
    assert "over budget: flops=100/sample@*: over it are Net: 420 a sample" in out
    assert "over budget: energy.compute=1 pJ/sample: " in out and "; most by Net.first: " in out
    assert "it goes on" not in out and "record(NET, X)" in out and "plugin.py" not in out


def test_a_mark_on_a_class_and_one_on_a_test_hold_both(project):
    out = project(
        """
@pytest.mark.opjoule(max_flops=2100)
class TestNet:
    def test_fine(self, record):
        record(NET, X)

    @pytest.mark.opjoule(max_macs=959)
    def test_macs(self, record):
        record(NET, X)

    @pytest.mark.opjoule(max_macs=960)
    def test_flops(self, record):
        record(NET, torch.ones(6, 8))
""",
        passed=1,
        failed=2,
    )
    assert "over budget: macs=959: 960" in out and "over budget: flops=2100: 2,520" in out


def test_a_test_that_records_nothing_fails(project):
    out = project(
        """
@pytest.mark.opjoule(max_flops=1)
def test_forgets(record):
    pass

@pytest.mark.opjoule(max_flops=1)
def test_does_not_ask():
    pass

@pytest.mark.opjoule(max_flops=1)
def test_fails_before(record):
    raise ValueError("by itself")
""",
        failed=3,
    )
    assert out.count("recorded nothing: call the fixture `record`") == 2
    assert "ValueError: by itself" in out


def test_marks_that_mean_nothing_are_refused_by_name(project):
    marks = {
        "max_flop=1": "unknown keyword 'max_flop': did you mean max_flops?",
        "max_flops='1J'": "'J' is not a unit of flops",
        "max_energy={'lemare': 1}": "no estimator 'lemare': did you mean lemaire?",
        "max_energy='1 uJ'": "by estimator",
        "'1G'": "takes keywords only, as max_flops='1G', not '1G'",
        "where='stage=forward'": "nothing to check",
    }
    out = project(
        *(
            f"@pytest.mark.opjoule({mark})\ndef test_{place}(record): raise SystemExit\n"
            for place, mark in enumerate(marks)
        ),
        errors=len(marks),
    )
    assert out.count("\nmark opjoule: ") == len(marks)
    assert not [says for says in marks.values() if says not in out]


def test_the_example_of_the_page(pytester, project):
    """The first test of docs/budgets.md passes; with its limit a tenth as large it fails."""
    page = (ROOT / "docs" / "budgets.md").read_text()
    (example,) = re.findall(r"```python\n# test_cost.py\n(.*?)```", page, re.DOTALL)
    project(example, passed=2)
    assert "Net.first" in project(example.replace('"3k"', '"300"'), passed=1, failed=1)


def test_unknown_figures_fail(project):
    out = project(
        """
@pytest.mark.opjoule(max_flops="1G@relu", where="module=last")
def test_elsewhere(record):
    record(NET, X)
""",
        failed=1,
    )
    assert "over budget: flops=1G@relu: not known: nothing ran in a module that fits" in out


def test_what_only_the_trace_can_refuse_is_one_line(project):
    """A glob that no module fits: known once something is recorded; no frame of ours is shown."""
    shown = project(
        """
@pytest.mark.opjoule(max_flops="1G@nowhere.*")
def test_nowhere(record):
    record(NET, X)
""",
        failed=1,
    )
    assert re.search(r"^mark opjoule: .*nowhere\.\*", shown, re.MULTILINE)
    assert "Traceback" not in shown and "plugin.py" not in shown and "analyzers" not in shown


def test_the_ratio_to_the_twin_has_limits_too(project):
    """Spikes of 0 and 1 into 8 x 16: by machine or on the usual one, of a layer or of all."""
    spiking = """
@pytest.mark.opjoule(max_twin_ratio={MOST}, time_steps=2)
def test_spiking(record):
    record(NET.first, torch.tensor([[1.0, 0.0] * 4] * 5))
"""
    project(spiking.replace("{MOST}", "1000"), passed=1)
    out = project(spiking.replace("{MOST}", '{"paper-int8": ["0.001@*", 1000]}'), failed=1)
    assert "over budget: twin_ratio.paper-int8=0.001@*: over it is Linear" in out
    refused = project(spiking.replace("{MOST}", '"1/sample"'), errors=1)
    assert "twin_ratio is of one sample already" in refused
