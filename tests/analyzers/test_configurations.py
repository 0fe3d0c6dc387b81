"""Grids and tables of configurations, and what is wrong with them in one line."""

from __future__ import annotations

import polars as pl
import pytest

from opjoule.analyzers.sweeping.configurations import combinations, configured, read_configs
from opjoule.schemas import ConfigError
from opjoule.schemas.costs import ComputeConfig, LemaireConfig, SpikeSimConfig


def test_every_combination_the_last_fastest():
    found = combinations({"a": [1, 2], "b": ["x", "y", "z"]}, None)
    assert [tuple(row.values()) for row in found] == [
        (1, "x"),
        (1, "y"),
        (1, "z"),
        (2, "x"),
        (2, "y"),
        (2, "z"),
    ]


def test_each_row_of_a_table_with_every_combination():
    table = pl.DataFrame({"name": ["p", "q"], "a": [1.0, None]})
    found = combinations({"b": [3, 4]}, table)
    assert found == [
        {"name": "p", "a": 1.0, "b": 3},
        {"name": "p", "a": 1.0, "b": 4},
        {"name": "q", "a": None, "b": 3},
        {"name": "q", "a": None, "b": 4},
    ]


@pytest.mark.parametrize(
    ("vary", "table", "said"),
    [
        (None, None, "something to vary"),
        ({}, None, "something to vary"),
        ({"a": []}, None, "a: no values"),
        ({"a": "0.1"}, None, "a: give a list of values"),
        ({"a": [1]}, pl.DataFrame({"a": [2]}), "a: it is varied and stands in the table"),
        (None, pl.DataFrame({"a": []}), "has no row"),
        ({"a": range(2000), "b": range(2000)}, None, "4,000,000 configurations"),
    ],
)
def test_what_is_no_sweep(vary, table, said):
    with pytest.raises(ConfigError, match=said):
        combinations(vary, table)


def test_null_leaves_a_field_as_it_is_and_the_name_is_a_label():
    rows = [{"name": "p", "e_ac_pj": None}, {"name": "q", "e_ac_pj": 2.0}]
    base = ComputeConfig(e_ac_pj=7.0)
    assert configured(base, rows) == [base, ComputeConfig(e_ac_pj=2.0)]


def test_a_wrong_value_is_told_with_its_row():
    with pytest.raises(ConfigError, match=r"configuration 2: .*e_ac_pj = -1"):
        configured(ComputeConfig(), [{"e_ac_pj": 1.0}, {"e_ac_pj": -1.0}])


TOML = """
[[config]]
name = "small"
e_add_pj = 0.2

[[config]]
name = "wide"
word_bits = 8
neurons.LIF.acs_per_step = 2
memory_breakpoints = [[0, 0], [1, 1], [2, 2], [3, 3]]
"""


def _written(path, table):
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_from_files(suffix, tmp_path):
    table = pl.DataFrame({"name": ["a", "b"], "adc_pj": [1.5, 2.0], "device": ["sram", None]})
    path = _written(tmp_path / f"configs{suffix}", table)
    made = configured(SpikeSimConfig(), read_configs(path).to_dicts())
    assert made == [SpikeSimConfig(adc_pj=1.5, device="sram"), SpikeSimConfig(adc_pj=2.0)]


def test_a_table_from_toml_with_tables_and_lists(tmp_path):
    path = tmp_path / "configs.toml"
    path.write_text(TOML)
    table = read_configs(path)
    assert table["name"].to_list() == ["small", "wide"]
    small, wide = configured(LemaireConfig(), table.to_dicts())
    assert small == LemaireConfig(e_add_pj=0.2)
    assert (wide.e_add_pj, wide.neurons["LIF"].acs_per_step) == (0.03, 2.0)
    assert wide.memory_breakpoints[3] == (3.0, 3.0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.csv", None, "cannot be read"),
        ("configs.json", b"{}", "is a .csv, .parquet, .toml file"),
        ("configs.parquet", b"PAR1", "not a table of configurations"),
        ("configs.toml", b"a = ", "not TOML"),
        ("configs.toml", b"e_add_pj = 1", "its own [[config]]"),
        ("configs.toml", b"\xff", "not TOML"),
        ("configs.csv", b"", "not a table of configurations"),
        ("configs.csv", b"adc_pj\n", "holds no configuration"),
    ],
)
def test_what_is_no_table(name, content, said, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_configs(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
