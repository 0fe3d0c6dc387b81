"""`opjoule check`: exit codes, the culprits on stderr, and every format."""

from __future__ import annotations

import json

import polars as pl
import pytest

from opjoule.cli.main import run


def asked(stored, capsys, *words):
    code = run(["check", str(stored), *words])
    return code, *capsys.readouterr()


def test_a_limit_that_holds(stored, capsys):
    code, out, err = asked(stored, capsys, "--max", "flops=1G", "--max", "energy.compute=1J/sample")
    assert code == 0
    assert out.count("within") == 2 and "coverage: of 276 calls" in out
    assert "failed" not in err


def test_a_limit_that_does_not_names_the_heaviest_modules(stored, capsys):
    code, out, err = asked(stored, capsys, "--max", "flops=1k", "--max", "synops=1@Sequential.*")
    assert code == 1 and out.count(" over\n") == 2
    assert "opjoule: failed: flops=1k: " in err and "; most by Sequential.0: " in err
    assert "opjoule: failed: synops=1@Sequential.*: over it is Sequential.5: " in err


@pytest.mark.parametrize("kind", ["json", "csv", "markdown", "parquet"])
def test_every_format_has_the_verdicts_and_the_coverage(kind, stored, tmp_path, capsys):
    file = tmp_path / f"answer.{kind}"
    code, _, err = asked(stored, capsys, "--max", "flops=1k", "--format", kind, "-o", str(file))
    assert code == 1 and "failed: flops=1k" in err
    if kind == "parquet":
        assert pl.read_parquet(file)["verdict"].to_list() == ["over"]
    elif kind == "json":
        assert json.loads(file.read_text())["limits"][0]["verdict"] == "over"
    else:
        assert "over" in file.read_text()
    said = err if kind in ("csv", "parquet") else file.read_text()
    assert "coverage: of 276 calls" in said


def test_constants_are_those_of_the_options(stored, capsys):
    words = ("--max", "energy.compute=1pJ/sample", "--set", "e_mac_pj=0", "--set", "e_ac_pj=0")
    assert asked(stored, capsys, *words)[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Missing option '--max'"),
        (("--max", "flop=1"), "did you mean flops?"),
        (("--max", "flops=1J"), "'J' is not a unit of flops"),
        (("--max", "flops=1@nothing"), "no module of"),
        (("--max", "flops=1", "--set", "e_mac_pj=1"), 'needs --max "energy.ESTIMATOR=..."'),
        (("--max", "energy.compute=1", "--set", "lemaire.e_add_pj=1"), "energy.lemaire=..."),
        (("--max", "energy.compute=1", "--revision", "mine"), "'mine' is not one of source"),
        (("--max", "flops=1", "--where", "stage=sideways"), "sideways"),
    ],
)
def test_a_wrong_question_is_refused(words, says, stored, refused):
    assert says in refused("check", stored, *words)
