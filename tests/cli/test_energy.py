"""`opjoule energy`: the paragraph for a paper, what it goes with, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest

import opjoule as oj
from opjoule.analyzers import open_trace
from opjoule.analyzers.answers.markdown import escaped
from opjoule.analyzers.energy import ESTIMATORS, estimate_compute
from opjoule.analyzers.energy.revisions import revisions_of
from opjoule.cli import choosing

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
INFERENCE = ("--where", "label=inference")


@pytest.fixture
def report(stored):
    return estimate_compute(open_trace(stored), where="label=inference")


def test_the_statement_is_the_reports(answered, stored, report, tmp_path):
    words = ("energy", "compute", stored, *INFERENCE, "--statement")
    assert answered(*words) == f"{report.statement()}\n"
    answered(*words, "-o", tmp_path / "paper.md")
    assert (tmp_path / "paper.md").read_text() == f"{escaped(report.statement())}\n"


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
def test_the_others_refuse_spikes_that_their_models_do_not_have(name, refused, stored):
    said = refused("energy", name, stored, "--spikes", "ternary")
    assert "is not available in this model and revision" in said


@pytest.fixture
def two_ranks(tmp_path):
    """Return the stored trace as that of two ranks."""
    for rank in (0, 1):
        folder = Path(shutil.copytree(STORED, tmp_path / "ranks" / f"rank={rank:05}"))
        file = folder / "trace.json"
        manifest = json.loads(file.read_text()) | {"rank": rank, "world_size": 2}
        file.write_text(json.dumps(manifest))
    return tmp_path / "ranks"


def test_every_format_has_the_same_modules_and_energies(answered, two_ranks, stored):
    """Each module once, whichever ranks it is in, with those below it; Global is the total."""
    words = ("energy", "compute", two_ranks, *INFERENCE, "--by", "module")
    rows = json.loads(answered(*words, "--format", "json"))["rows"]
    energies = {row["module"]: row["energy_pj"] for row in rows}
    assert len(energies) == len(rows)
    one = json.loads(answered("energy", "compute", stored, *INFERENCE, "--format", "json"))
    assert energies["Global"] == pytest.approx(2 * one["total_pj"])
    assert energies["Sequential"] == pytest.approx(energies["Global"])
    listed = list(csv.DictReader(io.StringIO(answered(*words, "--format", "csv"))))
    assert {row["module"]: float(row["energy_pj"]) for row in listed} == energies
    table = answered(*words).split("\n\n")[0]
    names = [re.sub(r"^[ │├└─]+", "", line).split()[0] for line in table.splitlines()[2:]]
    assert sorted(names) == sorted(name.removeprefix("Sequential.") for name in energies)


def test_each_modules_own_energy_on_request(answered, stored):
    words = ("energy", "compute", stored, *INFERENCE, "--by", "module", "--exclusive")
    rows = json.loads(answered(*words, "--format", "json"))["rows"]
    assert "Global" not in {row["module"] for row in rows}
    whole = json.loads(answered("energy", "compute", stored, *INFERENCE, "--format", "json"))
    assert sum(row["energy_pj"] for row in rows) == pytest.approx(whole["total_pj"])
    assert "Global" not in answered(*words)
    counted = ("count", stored, *INFERENCE, "--by", "module", "--format", "json")
    own = json.loads(answered(*counted, "--exclusive"))["rows"]
    (everything,) = (r for r in json.loads(answered(*counted))["rows"] if r["module"] == "Global")
    assert sum(row["flops"] or 0 for row in own) == everything["flops"]


def test_the_words_of_the_command_line_are_those_of_the_estimators():
    assert tuple(choosing.ESTIMATORS) == ESTIMATORS
    known = {name for estimator in ESTIMATORS for name in revisions_of(estimator)}
    assert set(choosing.REVISIONS) == known


def test_a_trace_without_a_name_is_estimated_by_all_that_apply(answered, stored):
    """The same figures as each estimator gives alone, and as the Python front."""
    found = json.loads(answered("energy", stored, "--format", "json"))
    assert list(found["estimates"]) == list(ESTIMATORS) and not found["refused"]
    alone = json.loads(answered("energy", "lemaire", stored, "--format", "json"))
    assert found["estimates"]["lemaire"]["total_pj"] == alone["total_pj"]
    assert oj.energy(stored)["lemaire"].total_pj == alone["total_pj"]
    text = answered("energy", "--where", "label=inference", stored)
    for name in ESTIMATORS:
        assert f"\n{name}, revision source: " in text
    assert "do not compare their energies" in text


def test_rows_of_all_estimators_are_told_apart(answered, stored):
    rows = list(csv.DictReader(io.StringIO(answered("energy", stored, "--by", "stage", "--format",
                                                    "csv"))))  # fmt: skip
    assert {row["estimator"] for row in rows} == set(ESTIMATORS)
    (forward,) = (r for r in rows if (r["estimator"], r["stage"]) == ("compute", "forward"))
    assert float(forward["energy_pj"]) == pytest.approx(oj.energy(stored, "compute").total_pj)


def test_a_misspelt_estimator_is_no_trace(refused):
    assert "did you mean compute?" in refused("energy", "comptue", "nowhere")
    assert "nowhere: trace not found" in refused("energy", "nowhere")


def test_a_trace_before_the_estimator_is_answered_with_the_order(refused, stored):
    said = refused("energy", stored, "compute", "--per", "sample")
    assert f"the estimator comes before the trace: opjoule energy compute {stored}" in said
