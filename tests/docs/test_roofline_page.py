"""docs/roofline.md: its table of devices is the presets, its answer that of its example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opjoule.cli.main import run
from opjoule.schemas.roofs import load_roof, roof_names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "roofline.md").read_text()


def test_the_table_of_devices_is_the_presets():
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0].strip("`") for row in rows] == list(roof_names())
    for name, title, bandwidth, *peaks, _ in rows:
        roof = load_roof(name.strip("`"))
        assert (title, bandwidth) == (roof.title, f"{roof.bytes_per_s / 1e12:g} TB/s")
        for precision, peak in zip(("fp32", "tf32", "fp16", "fp8", "int8"), peaks, strict=True):
            told = roof.peak_per_s(precision)
            assert peak == ("" if told is None else f"{told / 1e12:g}")


def test_the_answer_is_that_of_the_example(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    exec(compile(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], "roofline.md", "exec"), {})
    assert run(["roofline", "runs/images", "--device", "h100"]) == 0
    shown = re.search(r"```text\n(.*?)\.\.\.\n```", PAGE, re.DOTALL)[1]
    assert capsys.readouterr().out.startswith(shown)
