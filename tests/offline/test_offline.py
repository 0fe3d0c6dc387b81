"""A stored trace, counted and costed through the commands; runs where PyTorch is not installed.

The trace is one inference and one training step of a small spiking network (make_trace.py beside
it): 2 time steps of 3 images of 1x8x8, conv 1 -> 4 (3x3, padding 1, no bias), norm, IF, 2x2 max
pool, linear 64 -> 5, LIF.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import polars as pl
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.analyzers.counting.evaluate import COUNTERS
from opjoule.cli.main import run

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
INFERENCE = ["--where", "label=inference", "--where", "stage=forward"]

# 6 images, 4 x 8 x 8 outputs, 9 taps of 1 channel: 6 · 256 · 9
CONV_MACS = 13_824
# 6 rows of 64 by 64 x 5, a multiplication and an addition each, and a bias of 5 for 6 rows
LINEAR_FLOPS = 2 * 6 * 64 * 5 + 6 * 5


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command line answers."""
    assert run([*words, str(STORED)]) == 0
    return capsys.readouterr().out


def test_info(capsys):
    manifest = json.loads(asked(capsys, "info", "--format", "json"))
    assert manifest["status"] == "complete"
    assert manifest["rows"]["calls"] == count(open_trace(STORED), by="total").frame["calls"][0]
    assert "torch 2.13.0" in asked(capsys, "info")


def test_counts_by_op(capsys):
    found = json.loads(asked(capsys, "count", "--by", "op", *INFERENCE, "--format", "json"))
    assert (found["rules"], found["spikes"]) == ("full", "binary")
    rows = {row["op"]: row for row in found["rows"]}
    conv = rows["aten.convolution.default"]
    assert (conv["macs"], conv["flops"], conv["synops"]) == (CONV_MACS, 2 * CONV_MACS, 0)
    linear = rows["aten.addmm.default"]
    calls = open_trace(STORED).where("op=aten.addmm.default", "stage=forward").calls.collect()
    spikes = calls.filter(pl.col("label") == "inference")["in1_nonzero"].sum()
    assert linear["flops"] == LINEAR_FLOPS
    assert (linear["macs"], linear["synops"]) == (0, spikes * 5)


def test_global_is_the_total(capsys):
    rows = json.loads(asked(capsys, "count", "--by", "module", "--format", "json"))["rows"]
    (total,) = json.loads(asked(capsys, "count", "--by", "total", "--format", "json"))["rows"]
    (everything,) = [row for row in rows if row["module"] == "Global"]
    assert {k: everything[k] for k in ("flops", "bytes", "synops", "macs", "acs")} == {
        k: total[k] for k in ("flops", "bytes", "synops", "macs", "acs")
    }


def test_figures_do_not_depend_on_the_format(capsys, tmp_path):
    words = ["count", "--by", "op", "--by", "stage"]
    rows = json.loads(asked(capsys, *words, "--format", "json"))["rows"]
    assert pl.DataFrame(rows)["flops"].sum() > 0
    file = tmp_path / "counts.parquet"
    asked(capsys, *words, "--format", "parquet", "-o", str(file))
    assert pl.read_parquet(file).to_dicts() == rows
    listed = list(csv.DictReader(io.StringIO(asked(capsys, *words, "--format", "csv"))))
    assert [int(row["flops"]) for row in listed] == [row["flops"] for row in rows]


def test_every_op_is_covered(capsys):
    found = json.loads(asked(capsys, "coverage", "--format", "json"))
    assert {row["how"] for row in found["rows"]} <= {"rule", "class", "free"}


def test_compute_energy(capsys):
    """Its own arithmetic: MACs at 4.6 pJ and ACs at 0.9 pJ."""
    words = ["energy", "compute", *INFERENCE, "--format", "json"]
    report = json.loads(asked(capsys, *words))
    mac_pj = report["counts"]["mac"] * 4.6
    ac_pj = report["counts"]["ac"] * 0.9
    assert report["counts"]["mac"] >= CONV_MACS
    assert report["total_pj"] == pytest.approx(mac_pj + ac_pj)
    assert report["breakdown_pj"] == {
        "mac_pj": pytest.approx(mac_pj),
        "ac_pj": pytest.approx(ac_pj),
    }
    assert report["config"]["e_mac_pj"] == 4.6
    assert {"estimator", "revision", "rows", "warnings", "coverage"} <= set(report)


def test_a_trace_compared_with_itself(capsys):
    words = ["compare", str(STORED), str(STORED), "--energy", "compute", "--fail-on", "flops>+0%"]
    assert run([*words, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    counted = count(open_trace(STORED)).total
    totals = {row["figure"]: row for row in found["totals"]}
    for figure in COUNTERS:
        expected = counted[figure]
        assert (totals[figure]["base"], totals[figure]["head"]) == (expected, expected)
    assert {row["mark"] for row in found["rows"]} == {"equal"}


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
@pytest.mark.parametrize("words", [["record", "-o", "DIR", "SCRIPT"], ["demo"]], ids=lambda w: w[0])
def test_what_needs_pytorch_says_so(words, capsys, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print('ran')")
    places = {"DIR": str(tmp_path / "trace"), "SCRIPT": str(script)}
    assert run([places.get(word, word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "torch" in err.lower() and "not installed: pip install" in err
    assert not (tmp_path / "trace").exists()
