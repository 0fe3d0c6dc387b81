"""The examples of docs/spikingjelly.md run, and print what stands beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opjoule import op_counter

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "spikingjelly.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def printed(original, capsys, monkeypatch):
    """Run every block of the page, one after the other; return the lines that were printed."""
    monkeypatch.setattr(op_counter, "revision", op_counter.revision)
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "docs/spikingjelly.md", "exec"), names)
    return capsys.readouterr().out.splitlines()


def test_the_page_prints_what_it_says(printed):
    said = re.findall(r"^ *print\(.*\)  # (.*)$", "".join(BLOCKS), re.MULTILINE)
    assert len(said) == "".join(BLOCKS).count("print(")
    assert printed == said


def test_the_figures_are_those_of_the_golden_cases(printed, golden):
    old, new = golden["spikingjelly-2.0"], golden["spikingjelly-2026-08"]

    def total(figures, case, counter):
        return str(figures[case]["counts"][counter]["total"])

    block = old["tutorial_snn"]
    assert printed[0] == total(old, "tutorial_snn", "flops")
    assert printed[1] == total(old, "tutorial_snn", "bytes")
    assert printed[2] == str(block["counts"]["flops"]["by_scope"]["Sequential.0"])
    assert printed[3] == total(old, "spiking_linear", "synops")
    assert printed[4] == total(old, "two_convs", "flops")
    assert printed[5] == total(old, "two_convs", "bytes")
    dense = new["dense_linear"]["energies"]
    assert float(printed[9]) == dense["compute-fp32"]["energy_total_pj"]
    assert printed[10] == "{mac} {ac}".format(**dense["compute-fp32"]["counts"])
    assert float(printed[11]) == dense["compute-fp16"]["energy_total_pj"]
    lemaire = block["energies"]["lemaire"]
    assert float(printed[12]) == lemaire["total_pj"]
    assert float(printed[13]) == lemaire["breakdown_pj"]["memory_pj"]
    assert printed[15] == total(new, "tutorial_snn", "flops")
    assert float(printed[16]) == lemaire["total_pj"]
    assert float(printed[17]) == block["energies"]["simple"]["energy_total_pj"]
    assert len(printed) == 18
