"""`opjoule count`: what is not known is marked, whatever people or machines read."""

from __future__ import annotations

import json

import polars as pl
import pytest

from opjoule.analyzers.answers.shares import with_shares
from opjoule.analyzers.counting.pages import as_texts
from opjoule.cli.main import run


def frame_of(at_least, intensity=0.5):
    """Return counts of one row: 10 k FLOP and so on, some of them lower bounds."""
    figures = {"flops": 10_000, "bytes": 20_480, "synops": 0, "macs": None, "acs": 7}
    return pl.DataFrame(
        {"calls": 3, **figures, "intensity": intensity, "at_least": at_least},
        schema_overrides={"macs": pl.Int64, "at_least": pl.String},
    )


@pytest.mark.parametrize(
    ("at_least", "texts"),
    [
        (None, ("10.0 k", "20.0 KiB", "0", "?", "7", "0.500")),
        ("flops synops", ("≥ 10.0 k", "20.0 KiB", "≥ 0", "?", "7", "≥ 0.500")),
        # more bytes than are known: fewer FLOP for each
        ("bytes", ("10.0 k", "≥ 20.0 KiB", "0", "?", "7", "≤ 0.500")),
        ("flops bytes acs", ("≥ 10.0 k", "≥ 20.0 KiB", "0", "?", "≥ 7", "~ 0.500")),
    ],
)
def test_lower_bounds_have_a_sign(at_least, texts):
    row = as_texts(frame_of(at_least)).row(0, named=True)
    names = ("flops", "bytes", "synops", "macs", "acs", "intensity")
    assert tuple(row[name] for name in names) == texts
    assert row["calls"] == "3"


def test_a_ratio_that_is_unknown_has_no_sign():
    assert as_texts(frame_of("flops", None))["intensity"].to_list() == ["?"]


def test_shares_of_what_nobody_knows_are_unknown():
    frame = frame_of(None)
    assert with_shares(frame, "flops", 40_000)["share"].to_list() == [0.25]
    assert with_shares(frame, "macs", 40_000)["share"].to_list() == [None]
    assert with_shares(frame, "flops", None)["share"].to_list() == [None]
    assert with_shares(frame, "flops", 0)["share"].to_list() == [0.0]


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    """Record a module that calls an op which no rule covers, and one that calls nothing else."""
    torch = pytest.importorskip("torch")
    import opjoule

    with torch.library._scoped_library("opjoule_cli", "DEF") as library:
        library.define("twist(Tensor x) -> Tensor")
        library.impl("twist", lambda x: x * 2, "CPU")

        class Twist(torch.nn.Module):
            def forward(self, x):
                return torch.ops.opjoule_cli.twist(x)

        net = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), Twist()).eval()
        folder = tmp_path_factory.mktemp("partly") / "trace"
        opjoule.record(net, torch.full((2, 4), 0.5), folder)
    return folder


def test_a_trace_with_an_op_that_no_rule_covers(partly, answered):
    # the layer: 2 samples by 4x4 weights, 2 * 2 * 16 = 64 FLOP, and a view of them; of the other
    # op nobody knows
    rows = json.loads(answered("count", partly, "--format", "json"))["rows"]
    bounds = {row["module"]: row["at_least"] for row in rows}
    everything = "flops bytes synops macs acs dense_macs"
    assert bounds["Global"] == everything and bounds["Sequential.0"] is None
    table = answered("count", partly)
    assert table.splitlines()[2].split()[:4] == ["Global", "3", "≥", "64"]
    assert "at_least" not in table
    text = answered("count", partly, "--format", "markdown")
    assert "| Global |  | 3 | ≥ 64 | ≥ " in text and "at_least" not in text
    assert "at_least" in answered("count", partly, "--format", "csv").splitlines()[0]
    (twist,) = (line for line in table.splitlines() if "─ 1 " in line)
    assert twist.split()[3:9] == ["1", "?", "?", "?", "?", "?"]


def test_the_bytes_of_coverage_say_what_they_are(answered, stored):
    assert answered("coverage", stored).splitlines()[0].endswith("calls   operands + results")
    assert "dense, whatever the rules say" in " ".join(answered("coverage", "--help").split())


def test_comparisons_mark_lower_bounds_too(partly, answered, capsys):
    text = answered("compare", partly, partly, "--figure", "flops")
    rows = [line.split() for line in text.splitlines() if line.startswith("equal ")]
    assert ["equal", "FLOP", "≥", "64", "≥", "64", "0", "equal"] in rows
    assert ["equal", "calls", "3", "3", "0", "equal"] in rows
    assert text.splitlines()[1] == "FLOP equal: ≥ 64 -> ≥ 64"
    assert run(["compare", str(partly), str(partly), "--fail-on", "flops>1"]) == 1
    assert "failed: flops>1: ≥ 64 -> ≥ 64 (equal)" in capsys.readouterr().err


def test_tables_mark_lower_bounds_too(partly, stored, answered, tmp_path):
    """A half of 64 FLOP and 32 MACs a sample, and no samples, which are counted for certain."""
    words = ("table", f"net={partly}", f"whole={stored}", "--columns",
             "samples,flops,macs,dense_macs,ratio.macs,energy.compute")  # fmt: skip
    text = answered(*words, "--format", "markdown")
    (head,) = (line for line in text.splitlines() if line.startswith("| net |"))
    assert [cell.strip() for cell in head.split("|")[2:7]] == [
        "2", "≥ 0.0320", "≥ 16", "≥ 16", "1.00",
    ]  # fmt: skip
    (other,) = (line for line in text.splitlines() if line.startswith("| whole |"))
    assert "≥" not in other and other.split("|")[6].strip().startswith("≤ ")
    assert r"$\geq$ 16" in answered(*words, "--format", "latex")
    rows = json.loads(answered(*words, "--format", "json"))["rows"]
    assert [row["at_least"] for row in rows] == [
        "flops macs dense_macs energy.compute", None,
    ]  # fmt: skip
    csv = answered(*words, "--format", "csv").splitlines()
    assert csv[0].endswith(",at_least") and csv[1].endswith(",flops macs dense_macs energy.compute")
    exact = answered("table", f"whole={stored}", "--columns", "flops", "--format", "csv")
    assert exact.splitlines()[0] == "network,flops"


def test_a_page_marks_lower_bounds_too(partly, answered, tmp_path):
    """Cards, stages and the totals beside a base, as in the tree of modules."""
    answered("report", partly, partly, "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for start in ('data-card="flops"', 'data-table="stages"', 'data-table="totals"'):
        part = page[page.index(start) :].split("</table>" if "table" in start else "data-card", 2)
        assert part[0 if "table" in start else 1].count("≥ 32") >= 1, start
    cards = page[page.index('data-card="flops"') : page.index('data-card="energy.')]
    assert cards.count("≥ ") >= 4 and "~ 1" in cards  # FLOP, bytes, MACs, and those of the base


def test_a_limit_of_what_is_known_says_so(partly, answered):
    words = ("check", partly, "--max", "flops=1k", "--allow-unknown")
    assert "flops=1k ≥ 64 within" in " ".join(answered(*words).split())
    (row,) = json.loads(answered(*words, "--format", "json"))["limits"]
    assert (row["value"], row["at_least"], row["verdict"]) == (64, True, "within")


@pytest.mark.parametrize("kind", ["table", "markdown"])
def test_a_table_of_one_sample_says_so(answered, stored, kind):
    """The stored trace has two batches of 3; 179,658 FLOP in all."""
    found = answered(
        "count", stored, "--by", "total", "--per", "sample", "--spread", "--format", kind
    )
    lines = [line.removeprefix("- ") for line in found.splitlines()]
    assert lines[0] == "per sample: the whole divided by 6 samples"
    assert "± is the standard deviation over the means of 2 batches of 3" in lines
    assert "29.9 k ± " in found  # 179,658 / 6 = 29,943


def test_one_batch_has_no_deviation(answered, tmp_path):
    torch = pytest.importorskip("torch")
    import opjoule

    trace = tmp_path / "trace"
    opjoule.record(torch.nn.Linear(2, 3).eval(), torch.ones(4, 2), trace)
    found = answered("count", trace, "--by", "total", "--per", "sample", "--spread")
    assert "there is one batch of 4, and so no standard deviation" in found.splitlines()


def test_json_has_the_whole_and_one_sample(answered, stored):
    found = json.loads(answered("count", stored, "--format", "json"))
    assert found["total"]["flops"] == 179_658
    assert (found["samples"], found["steps"]) == (6, 2)
    assert found["per_sample"]["flops"] == 29_943
    row = json.loads(
        answered("count", stored, "--by", "total", "--per", "sample", "--format", "json")
    )["rows"][0]
    assert (row["flops"], row["flops_per_sample"]) == (179_658, 29_943)
