"""Frames into text: golden tables, exact figures for machines, nothing that steers a terminal."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest

from opjoule.analyzers.answers import data, markdown
from opjoule.analyzers.answers.page import Column, Page, Sheet
from opjoule.analyzers.units import bytes_text, count_text, share_text
from opjoule.cli import tables
from opjoule.cli.main import run

FRAME = pl.DataFrame(
    {
        "module": ["Net", "Net.[red]conv[/red]", "a|b\x1b[2J"],
        "flops": [1_820_000_000, 7, None],
        "bytes": [1_572_864, 512, 0],
        "share": [1.0, 0.25, 0.0],
    }
)
COLUMNS = (
    Column("module", "module", left=True, style="bold"),
    Column("flops", "FLOP", count_text),
    Column("bytes", "bytes", bytes_text),
    Column("share", "share", share_text),
)
PAGE = Page((Sheet(FRAME, COLUMNS),))


def test_a_table_is_golden():
    assert tables.written(PAGE, "table") == (
        "module                  FLOP      bytes     share\n"
        "─────────────────────────────────────────────────\n"
        "Net                   1.82 G   1.50 MiB   100.0 %\n"
        "Net.[red]conv[/red]        7      512 B    25.0 %\n"
        "a|b\\x1b[2J                 ?          0     0.0 %\n"
    )


def test_markdown_is_golden():
    assert markdown.written(PAGE) == (
        "| module | FLOP | bytes | share |\n"
        "| :-- | --: | --: | --: |\n"
        "| Net | 1.82 G | 1.50 MiB | 100.0 % |\n"
        "| Net.\\[red]conv\\[/red] | 7 | 512 B | 25.0 % |\n"
        "| a\\|b\\\\x1b\\[2J | ? | 0 | 0.0 % |\n"
    )


def test_csv_is_exact():
    rows = data.as_csv(FRAME.head(2)).splitlines()
    assert rows == [
        "module,flops,bytes,share",
        "Net,1820000000,1572864,1.0",
        "Net.[red]conv[/red],7,512,0.25",
    ]


def test_json_is_exact_and_strict():
    value = {"rows": FRAME, "total": float("inf"), "big": 2**60 + 1, "keys": ("a", "b")}
    found = json.loads(data.as_json(value))
    assert found["rows"] == FRAME.to_dicts()
    assert found["total"] is None
    assert found["big"] == 2**60 + 1
    assert found["keys"] == ["a", "b"]


def test_parquet_comes_back():
    content = data.as_parquet(FRAME, ["a note"])
    assert pl.read_parquet(io.BytesIO(content)).equals(FRAME)
    assert pl.read_parquet_metadata(io.BytesIO(content))["opjoule"] == "a note"


def test_nested_columns_go_to_csv_as_json():
    frame = pl.DataFrame({"op": ["mm"], "shape": [[2, 3]]})
    assert data.as_csv(frame).splitlines() == ["op,shape", 'mm,"[2, 3]"']


@pytest.mark.parametrize("kind", tables.FORMATS)
def test_every_format_takes_an_empty_frame(kind):
    empty = FRAME.head(0)
    page = Page((Sheet(empty, COLUMNS),))
    machines = {"json": data.as_json, "csv": data.as_csv, "parquet": data.as_parquet}
    assert machines[kind](empty) if kind in machines else tables.written(page, kind)


def test_an_answer_goes_to_stdout_or_a_file(tmp_path, capsys):
    tables.text("figures\n")
    assert capsys.readouterr() == ("figures\n", "")
    tables.text("figures\n", tmp_path / "new" / "out.txt")
    assert (tmp_path / "new" / "out.txt").read_text() == "figures\n"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("out.json", "{"),
        ("out.csv", "op,calls,flops,"),
        ("out.MD", "| op | calls | FLOP |"),
        ("out.markdown", "| op | calls | FLOP |"),
        ("out.tex", "% needs "),
        ("out.parquet", "PAR1"),
        ("out.txt", "op  "),
        ("out", "op  "),
    ],
)
def test_a_file_gets_the_format_that_its_name_ends_in(name, starts, answered, stored, tmp_path):
    file = tmp_path / name
    assert answered("count", stored, "--by", "op", "-o", file) == ""
    assert file.read_bytes().startswith(starts.encode())


def test_a_format_that_is_named_wins_over_the_name(answered, stored, tmp_path):
    file = tmp_path / "out.json"
    answered("count", stored, "-o", file, "--format", "csv")
    assert file.read_text().startswith("module,calls,")
    answered("count", stored, "--format", "table", "-o", file)
    assert file.read_text().startswith("module  ")


@pytest.mark.parametrize("verb", [("count",), ("energy", "compute"), ("compare",)], ids=" ".join)
def test_a_key_that_is_named_twice_counts_once(verb, answered, stored):
    traces = [stored, stored] if verb == ("compare",) else [stored]
    for kind in ("table", "csv"):
        once = answered(*verb, *traces, "--by", "module", "--format", kind)
        assert answered(*verb, *traces, *["--by", "module"] * 2, "--format", kind) == once


def test_markdown_keeps_the_lines_of_a_tree():
    """Renderers drop blanks at the start of a cell and join them inside: entities stay."""
    frame = pl.DataFrame({"module": ["Net", "├─ a b", "│  └─ c", "   └─ d"]})
    page = Page((Sheet(frame, COLUMNS[:1]),))
    assert markdown.written(page).splitlines()[2:] == [
        "| Net |",
        "| ├─&nbsp;a b |",
        "| │&nbsp;&nbsp;└─&nbsp;c |",
        "| &nbsp;&nbsp;&nbsp;└─&nbsp;d |",
    ]


@pytest.mark.parametrize("name", ["ops.xlsx", "ops.CSVX"])
def test_an_ending_without_a_format_is_refused(name, stored, tmp_path, refused):
    file = tmp_path / name
    said = refused("count", stored, "-o", file)
    assert f"ends in {file.suffix}: write .txt, .json, .csv, .md, .markdown, .tex, .parquet" in said
    assert not file.exists()


def test_a_told_format_goes_into_any_file(stored, tmp_path, answered):
    for name in ("ops.xlsx", "ops"):
        answered("count", stored, "--format", "csv", "-o", tmp_path / name)
        assert (tmp_path / name).read_text().startswith("module,calls,")
    answered("count", stored, "-o", tmp_path / "table.txt")
    assert "Global" in (tmp_path / "table.txt").read_text()


@pytest.mark.parametrize("kind", tables.FORMATS)
@pytest.mark.parametrize("words", [("count",), ("energy", "lemaire"), ("rates",)], ids=" ".join)
def test_every_format_carries_coverage_and_warnings(words, kind, stored, tmp_path, capsys):
    file = tmp_path / f"out.{kind}"
    assert run([*words, str(stored), "--format", kind, "-o", str(file)]) == 0
    beside = tmp_path / f"out.{kind}.notes.txt"
    assert beside.exists() == (kind == "csv")
    said = file.read_text() if kind not in ("csv", "parquet") else ""
    said += beside.read_text() if kind == "csv" else ""
    if kind == "parquet":
        said = pl.read_parquet_metadata(file)["opjoule"]
    said = said.replace("\\%", "%").replace("\\_", "_")
    expected = {
        "count": "of 276 calls 74.3 % by rule",
        "energy": "32.0% of the MACs of the products are charged",
        "rates": "effective MAC 3,872",
    }
    assert expected[words[0]] in said
    if words[0] == "energy":
        assert "Lemaire does not cover BatchNorm2d, MaxPool2d; left out" in said


@pytest.mark.parametrize("kind", ["json", "csv"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["count", "--by", "module", "--top", "2", "--wide"], "--wide, --top"),
        (["table", "--columns", "flops", "--rows", "figures"], "--rows"),
        (["count", "--by", "module"], None),
    ],
)
def test_options_of_tables_that_data_do_not_follow_are_told(words, told, kind, stored, capsys):
    verb, *options = words
    assert run([verb, str(stored), *options, "--format", kind]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "of tables alone" in line]
    whole = f"opjoule: {told}: of tables alone, {kind} holds every row as it is"
    assert said == ([whole] if told else [])
