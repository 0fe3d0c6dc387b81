"""`opjoule energy`: the paragraph for a paper, what it goes with, and what it refuses."""

from __future__ import annotations

import json

import pytest

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_compute
from opjoule.cli.tables import markdown_text

INFERENCE = ("--where", "label=inference")


@pytest.fixture
def report(stored):
    return estimate_compute(open_trace(stored), where="label=inference")


def test_the_statement_is_the_reports(answered, stored, report, tmp_path):
    words = ("energy", "compute", stored, *INFERENCE, "--statement")
    assert answered(*words) == f"{report.statement()}\n"
    answered(*words, "-o", tmp_path / "paper.md")
    assert (tmp_path / "paper.md").read_text() == f"{markdown_text(report.statement())}\n"


def test_the_statement_in_json_has_the_figures(answered, stored, report):
    words = ("energy", "compute", stored, *INFERENCE, "--statement", "--format", "json")
    found = json.loads(answered(*words))
    assert found["statement"] == report.statement()
    assert (found["total_pj"], found["samples"]) == (report.total_pj, report.samples)
    assert found["breakdown_pj"] == report.breakdown_pj
    assert found["config"] == {"e_mac_pj": 4.6, "e_ac_pj": 0.9}
    assert "rows" not in found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--by", "op"], "--statement is of the whole estimate: leave --by out"),
        (["--format", "csv"], "--statement is text, not csv"),
        (["-o", "out.parquet"], "--statement is text, not parquet"),
    ],
)
def test_what_a_statement_does_not_go_with(words, says, refused, stored):
    assert says in refused("energy", "compute", stored, "--statement", *words)


def test_help_says_how_to_ask_for_a_rank(answered):
    assert "--rank N" in answered("energy", "compute", "--help")


@pytest.mark.parametrize("name", ["compute", "simple"])
def test_spikes_are_an_option_of_the_two_that_know_kinds_of_them(name, answered, stored):
    words = ("energy", name, stored, *INFERENCE, "--format", "json")
    binary = json.loads(answered(*words))
    graded = json.loads(answered(*words, "--spikes", "graded"))
    assert (binary["details"]["spikes"], graded["details"]["spikes"]) == ("binary", "graded")
    assert "graded" not in binary["input_types"]
    assert graded["input_types"].startswith("graded spikes into ")


@pytest.mark.parametrize("name", ["lemaire", "neuromc", "spikesim"])
def test_the_others_have_no_such_option(name, refused, stored):
    assert "No such option" in refused("energy", name, stored, "--spikes", "ternary")
