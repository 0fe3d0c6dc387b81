"""docs/python-api.md and README.md say what one may call, and it is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python-api.md").read_text()


def options_of(function):
    """Return the keyword-only parameters of a function and their defaults as code."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def documented():
    """Return option -> default of the tables of the page, defaults evaluated."""
    found = {}
    for names, defaults in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (`.*?`) \|", PAGE, re.MULTILINE):
        keys, values = (re.findall(r"`(.+?)`", text) for text in (names, defaults))
        found |= {key: eval(value) for key, value in zip(keys, values, strict=True)}
    return found


def test_every_option_of_recording_is_documented_with_its_default():
    pytest.importorskip("torch")
    from opjoule import Recorder, record

    assert documented() == options_of(record) | options_of(Recorder)


def test_every_method_that_is_named_is_there():
    pytest.importorskip("torch")
    from opjoule import Recorder

    text = PAGE[PAGE.index("A recorder's methods") : PAGE.index("## Read")]
    methods = set(re.findall(r"^\| `(?:with )?(\w+)\(", text, re.MULTILINE))
    assert methods == {"step", "sample", "label", "suspend", "join", "spikes", "snapshot"}
    assert all(callable(getattr(Recorder, name)) for name in methods)


def test_the_snippet_of_the_readme_can_be_run_again(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (snippet,) = (block for block in blocks if not block.startswith("# train.py"))
    for _ in range(2):
        exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("coverage: of ") == 2


def test_the_table_of_names_is_the_front():
    import opjoule

    table = PAGE[: PAGE.index("Recording needs PyTorch")]
    named = set(re.findall(r"`oj\.(\w+)`", table)) | set(re.findall(r"`oj\.(\w*Error)`", PAGE))
    results = {
        "Breakeven",
        "Check",
        "Comparison",
        "Counts",
        "Coverage",
        "Conventions",
        "EnergyReport",
        "Memory",
        "Rates",
        "Report",
        "Roofline",
        "RecordingWarning",
        "Table",
        "Trace",
    }
    assert named == set(opjoule.__all__) - results - {"__version__"}


def test_the_readme_says_what_its_script_needs():
    """Of the extras, `demo` alone has SpikingJelly."""
    import tomllib

    readme = (ROOT / "README.md").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "from spikingjelly" in readme
    lacking = [name for name, needs in extras["optional-dependencies"].items()
               if not any(need.startswith("spikingjelly") for need in needs)]  # fmt: skip
    assert lacking == ["torch", "plots"]
    before = readme[: readme.index("# train.py")]
    assert "this one needs SpikingJelly: `pip install '.[demo]'`" in before
