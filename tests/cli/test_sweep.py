"""`opjoule sweep`: grids, tables, sensitivities, every format, and one line for what is wrong."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_spikesim
from opjoule.schemas.costs import SpikeSimConfig

INFERENCE = ("--where", "label=inference")


def test_the_table_names_what_varies_and_the_energies(answered, stored):
    text = answered(
        "sweep", "spikesim", stored, "--vary", "adc_pj=1:3:3", "--vary", "device=rram", *INFERENCE
    )
    lines = text.splitlines()
    assert lines[0].split() == ["adc_pj", "device", "total", "per", "sample", "pe_cycle"]
    assert [line.split()[:2] for line in lines[2:5]] == [[n, "rram"] for n in "123"]
    assert "spikesim, revision source" in text


def test_json_holds_the_estimators_own_figures(answered, stored):
    words = ["--vary", "adc_pj=0.5,2", "--set", "mux_pj=1", *INFERENCE, "--format", "json"]
    found = json.loads(answered("sweep", "spikesim", stored, *words))
    trace = open_trace(stored)
    for row, adc in zip(found["rows"], (0.5, 2), strict=True):
        config = SpikeSimConfig(adc_pj=adc, mux_pj=1)
        report = estimate_spikesim(trace, config, where="label=inference")
        assert row["total_pj"] == pytest.approx(report.total_pj, rel=1e-12)
        assert row["adc_pj"] == adc
    assert (found["estimator"], found["revision"]) == ("spikesim", "source")
    assert found["config"]["mux_pj"] == 1


def test_csv_and_parquet_are_the_frame(answered, stored, tmp_path):
    words = ["sweep", "compute", stored, "--vary", "e_mac_pj=1:10:10:log", *INFERENCE]
    rows = list(csv.DictReader(io.StringIO(answered(*words, "--format", "csv"))))
    steps = [float(row["e_mac_pj"]) for row in rows]
    assert steps == pytest.approx([10 ** (place / 9) for place in range(10)])
    file = tmp_path / "sweep.parquet"
    answered(*words, "--format", "parquet", "-o", file)
    frame = pl.read_parquet(file)
    assert frame["total_pj"].to_list() == [float(row["total_pj"]) for row in rows]


def test_markdown_is_a_table(answered, stored):
    words = ["sweep", "compute", stored, "--vary", "e_mac_pj=1,2", "--format", "markdown"]
    assert answered(*words).startswith("| e_mac_pj | total | per sample | mac | ac |\n| --: |")


def test_configurations_from_a_file(answered, stored, tmp_path):
    file = tmp_path / "machines.toml"
    file.write_text('[[config]]\nname = "a"\ne_mac_pj = 1\n[[config]]\nname = "b"\ne_ac_pj = 2\n')
    words = ["--configs", file, "--preset", "fp16", *INFERENCE, "--format", "json"]
    rows = json.loads(answered("sweep", "compute", stored, *words))["rows"]
    assert [row["name"] for row in rows] == ["a", "b"]
    assert [row["e_mac_pj"] for row in rows] == [1, None]


def test_what_decides_the_result(answered, stored):
    words = ["sweep", "spikesim", stored, "--sensitivity", *INFERENCE]
    assert answered(*words).splitlines()[2].split()[0] == "tile_buffer_pj"
    rows = json.loads(answered(*words, "--format", "json"))["rows"]
    # 397 of a PE cycle with nine kernel positions: 828.4861472
    assert rows[0]["percent_per_percent"] == pytest.approx(397 / 828.4861472, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("xbar_size=32:128:4", [32, 64, 96, 128]),
        ("xbar_size=16,64", [16, 64]),
        ("adc_pj=0:1:3", [0, 0.5, 1]),
        ("adc_pj=0.1:0.4:2", [0.1, 0.4]),
        ("adc_pj=8:2:4", [8, 6, 4, 2]),
        ("adc_pj=0.25", [0.25]),
        ("device=rram, sram", ["rram", "sram"]),
        ("require_if_lif_neurons=true,false", [True, False]),
    ],
)
def test_values_to_vary_over(values, expected, answered, stored):
    words = ["--vary", values, *INFERENCE, "--format", "json"]
    rows = json.loads(answered("sweep", "spikesim", stored, *words))["rows"]
    assert [row[values.partition("=")[0]] for row in rows] == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --vary FIELD=VALUES, --configs FILE or --sensitivity"),
        (["--vary", "adc_pj"], "write FIELD=FIRST:LAST:COUNT"),
        (["--vary", "adc_pj="], "write FIELD=FIRST:LAST:COUNT"),
        (["--vary", "adc_pj=1:2"], "FIRST:LAST:COUNT or"),
        (["--vary", "adc_pj=1:x:3"], "all numbers"),
        (["--vary", "adc_pj=1:inf:3"], "all numbers"),
        (["--vary", "adc_pj=1:2:3:lin"], "all numbers"),
        (["--vary", "adc_pj=1:2:1"], "COUNT is from 2"),
        (["--vary", "adc_pj=1:2:999999999"], "COUNT is from 2 to 100000"),
        (["--vary", "adc_pj=0:2:5:log"], "above 0"),
        (["--vary", "adc_pj=1,2", "--vary", "adc_pj=3,4"], "varied twice"),
        (["--vary", "adc=1,2"], "did you mean adc_pj?"),
        (["--vary", "adc_pj=1,-2"], "configuration 2: SpikeSimConfig.adc_pj = -2"),
        (["--vary", "adc_pj=1,,2"], "adc_pj = ''"),
        (["--configs", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--preset", "cmos", "--vary", "adc_pj=1"], "no preset 'cmos'"),
        (["--sensitivity", "--vary", "adc_pj=1"], "without --vary"),
        (["--vary", "adc_pj=1", "--where", "stage=backward"], "no forward pass under"),
    ],
)
def test_what_is_wrong_is_one_line(words, said, refused, stored):
    assert said in refused("sweep", "spikesim", stored, *words)


def test_an_estimator_or_trace_that_is_none(refused, tmp_path):
    assert "'magic' is not one of" in refused("sweep", "magic", tmp_path)
    said = refused("sweep", "compute", tmp_path / "none", "--vary", "e_mac_pj=1")
    assert "trace not found" in said
