"""`opjoule table`: rows from NAME=TRACE, formats, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest


def test_every_format_has_the_row(answered, stored, tmp_path):
    words = ("table", f"net_1={stored}", "--columns", "samples,flops", "--columns", "accuracy",
             "--accuracy", "net_1=93%")  # fmt: skip
    assert "net_1" in answered(*words) and "93.0" in answered(*words)
    data = json.loads(answered(*words, "--format", "json"))
    assert data["rows"][0]["accuracy"] == 0.93 and data["footnotes"]
    assert "| net_1 | 3 | 16.6 | 93.0 |" in answered(*words, "--format", "markdown")
    answered(*words, "-o", tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"\toprule" in text and r"net\_1 & 3 & 16.6 & 93.0 \\" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX")
@pytest.mark.parametrize("encoding", ["", r"\usepackage[T1]{fontenc}"], ids=["OT1", "T1"])
def test_latex_can_be_set(answered, stored, tmp_path, encoding):
    name = r"\input{x} & 50% $x$ #1 a_b ^~ 'y' \"z\" <z> --"
    for words in ([], ["--rows", "figures"]):
        answered("table", f"{name}={stored}", *words, "-o", tmp_path / "t.tex")
        page = (
            rf"\documentclass{{article}}\usepackage{{booktabs}}{encoding}"
            r"\begin{document}\input{t.tex}\end{document}"
        )
        (tmp_path / "page.tex").write_text(page)
        run = subprocess.run(
            ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-1000:]
        assert "Missing character" not in (tmp_path / "page.log").read_text(errors="replace")


def test_figures_as_rows(answered, stored):
    words = ("table", f"net_1={stored}", "--columns", "samples,flops", "--rows", "figures")
    assert "| FLOP (k) | 16.6 |" in answered(*words, "--format", "markdown")
    data = json.loads(answered(*words, "--format", "json"))
    assert [row["network"] for row in data["rows"]] == ["net_1"]  # data have networks as rows


def test_columns_from_a_file(answered, stored, tmp_path):
    (tmp_path / "own.csv").write_text("network,chip\nnet,Loihi\n")
    found = answered("table", f"net={stored}", "--columns", "chip", "--add", tmp_path / "own.csv",
                     "--format", "csv")  # fmt: skip
    assert found == "network,chip\nnet,Loihi\n"


def test_constants_of_ones_own(answered, stored, tmp_path):
    """All at a price of 0 but MACs, which cost 2 pJ."""
    (tmp_path / "costs.toml").write_text("e_mac_pj = 2.0\ne_ac_pj = 1.0\n")
    words = ("table", f"net={stored}", "--format", "json", "--columns", "macs,energy.compute")
    given = ("--config", tmp_path / "costs.toml", "--set", "e_ac_pj=0")
    (row,) = json.loads(answered(*words, *given))["rows"]
    assert row["macs"] > 0 and row["energy.compute"] == pytest.approx(2 * row["macs"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net="], "write NAME=VALUE"),
        (["a=x", "a=y"], "a stands there twice"),
        (["a=x", "--accuracy", "a=2"], "write a share such as 0.93"),
        (["a=x", "--spread", "--no-spread"], "contradict each other"),
        (["{stored}", "--preset", "fp16"], "for which estimator? Write compute=fp16"),
        (["{stored}", "--columns", "macs", "--preset", "compute=fp16"], "--columns energy.compute"),
    ],
    ids=str,
)
def test_what_is_refused(refused, stored, words, says):
    assert says in refused("table", *(word.format(stored=stored) for word in words))
