"""`opjoule breakeven`: what it prints, in every format, and what it refuses."""

from __future__ import annotations

import json

import pytest

from opjoule.analyzers import breakeven


def test_layers_and_the_whole(stored, answered):
    out = answered("breakeven", stored)
    assert "breaks even at" in out and "Global" in out and "(no layer)" not in out
    text = " ".join(out.split())
    assert "2 time steps beside its twin with activations of 2 bits" in text
    assert "not in these energies: hops of spikes and activations between cores" in text


def test_json_has_everything(stored, answered):
    data = json.loads(answered("breakeven", stored, "--format", "json"))
    found = breakeven(stored)
    assert data["rows"] == found.frame.to_dicts() and data["wins"] == found.wins
    assert data["breakeven_rate"] == found.breakeven_rate and data["bits"] == 2


def test_a_result_like_the_others(stored):
    found = breakeven(stored)
    assert found.total == {k: v for k, v in found.frame.row(0, named=True).items() if k != "layer"}
    assert "breaks even at" in found.to_latex() and "<table" in found._repr_html_()
    assert len(repr(found).splitlines()) <= 20


def test_another_trace_and_machine(stored, answered):
    out = answered("breakeven", stored, stored, "--machine", "paper", "--format", "markdown")
    assert "recorded to compare with" in out and "does not know its bits" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--machine", "loihi"), "charges nothing of the quantized twin"),
        (("--machine", "yan-drm"), "did you mean yan-dram?"),
    ],
)
def test_a_wrong_question_is_refused(words, says, stored, refused):
    assert says in refused("breakeven", stored, *words)
