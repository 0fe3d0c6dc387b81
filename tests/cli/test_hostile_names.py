"""Names of modules, labels and scripts are text, whatever markup or escape codes they hold."""

from __future__ import annotations

import json

import pytest

from opjoule.cli.main import run

torch = pytest.importorskip("torch")

NAME = "[red]x[/red]\x1b[2J\x07|<img src=x>`*~&\u202e\n"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Record a network whose layer and label have a hostile name."""
    import opjoule

    folder = tmp_path_factory.mktemp("hostile") / "trace"
    net = torch.nn.Sequential()
    net.add_module(NAME, torch.nn.Linear(3, 2))
    net.eval()
    with opjoule.Recorder(folder, model=net) as recorder, torch.no_grad(), recorder.label(NAME):
        net(torch.ones(1, 3))
    return folder


VERBS = (
    ("info",),
    ("count",),
    ("count", "--by", "label"),
    ("coverage",),
    ("energy", "compute"),
    ("energy", "lemaire"),
)


@pytest.mark.parametrize("kind", ["table", "markdown"])
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_names_are_shown_as_text(verb, kind, hostile, capsys):
    assert run([*verb, str(hostile), "--format", kind]) == 0
    out, err = capsys.readouterr()
    for text in (out, err):
        assert all(c.isprintable() or c == "\n" for c in text)
    if verb[:1] == ("count",):
        assert ("\\\\x1b\\[2J" if kind == "markdown" else "[red]x[/red]\\x1b[2J") in out
        assert ("\\<img" if kind == "markdown" else "<img") in out


@pytest.mark.parametrize("kind", ["table", "markdown", "csv"])
def test_comparisons_too(kind, hostile, stored, capsys):
    words = ["compare", str(stored), str(hostile), "--by", "module", "--fail-on", "calls<-1%"]
    assert run([*words, "--format", kind]) == 1
    out, err = capsys.readouterr()
    assert "Linear" not in err or "\x1b" not in err
    assert all(c.isprintable() or c == "\n" for c in err)
    if kind != "csv":
        assert all(c.isprintable() or c == "\n" for c in out)
        assert "\\\\x1b" in out if kind == "markdown" else "\\x1b[2J" in out


def test_machines_get_the_names_unchanged(hostile, capsys):
    assert run(["count", str(hostile), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert f"Sequential.{NAME}" in {row["module"] for row in rows}


def test_a_hostile_path_is_one_line_of_text(tmp_path, capsys):
    assert run(["count", str(tmp_path / "\x1b[2J\nrm")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()


FORMULA = "=1+1\x1b[2J\n%_&$#{}\\input{x}"


@pytest.fixture(scope="module")
def formulas(tmp_path_factory):
    """Record a label that a spreadsheet would calculate and LaTeX would run."""
    import opjoule

    folder = tmp_path_factory.mktemp("formulas") / "trace"
    net = torch.nn.Linear(3, 2).eval()
    with opjoule.Recorder(folder, model=net) as recorder, torch.no_grad(), recorder.label(FORMULA):
        net(torch.ones(1, 3))
    return folder


def test_a_spreadsheet_calculates_no_name(formulas, answered):
    text = answered("count", formulas, "--by", "label", "--format", "csv")
    assert "'=1+1\\x1b[2J\\n%" in text and "\x1b" not in text
    assert text.count("\n") == 2  # a head and one row: the name's own line end is an escape


def test_latex_runs_no_name(formulas, answered):
    text = answered("count", formulas, "--by", "label", "--format", "latex")
    assert r"=1+1\textbackslash{}x1b{[}2J\textbackslash{}n\%\_\&\$\#\{\}" in text
    assert r"\input" not in text and "\x1b" not in text


def test_json_shows_no_control_character_and_keeps_the_name(formulas, answered):
    text = answered("count", formulas, "--by", "label", "--format", "json")
    assert all(c.isprintable() or c == "\n" for c in text)
    assert json.loads(text)["rows"][0]["label"] == FORMULA
