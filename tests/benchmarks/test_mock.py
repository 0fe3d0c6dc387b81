"""A mock-up trace is a valid one: its copies have numbers of their own that still fit together."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.schemas import TABLES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def written(python):
    """Return a function that writes a mock-up trace of so many calls, and returns its path."""

    def write(path: Path, calls: int) -> Path:
        done = python([ROOT / "benchmarks" / "mock.py", path, "--calls", calls])
        assert done.returncode == 0, done.stderr
        return path

    return write


@pytest.fixture(scope="module")
def mock(tmp_path_factory, written):
    return written(tmp_path_factory.mktemp("mock") / "trace", 5000)


def read(mock: Path, table: str) -> pl.DataFrame:
    parts = [pl.read_parquet(part) for part in sorted(mock.glob(f"{table}*.parquet"))]
    return pl.concat(part.with_columns(pl.col(pl.Categorical).cast(pl.String)) for part in parts)


def test_the_manifest_tells_the_rows(mock):
    manifest = json.loads((mock / "trace.json").read_text())
    assert manifest["rows"] == {name: read(mock, name).height for name in TABLES}
    assert manifest["rows"]["calls"] >= 5000


def test_numbers_are_unique_and_in_order(mock):
    calls, values = read(mock, "calls"), read(mock, "values")
    assert calls["seq"].to_list() == list(range(calls.height))
    assert values["value_id"].is_unique().all()
    assert read(mock, "module_calls")["module_call_id"].is_unique().all()


def test_references_lead_to_rows(mock):
    calls, values = read(mock, "calls"), read(mock, "values")["value_id"].implode()
    modules = read(mock, "module_calls")
    for column in ("in0_value", "in1_value", "in2_value", "out0_value"):
        assert calls[column].drop_nulls().is_in(values).all()
    inside = calls["module_call_id"].drop_nulls()
    assert inside.is_in(modules["module_call_id"].implode()).all()
    outputs = modules["outputs"].explode().drop_nulls().struct.field("value_id").drop_nulls()
    assert outputs.is_in(values).all()


def test_backward_calls_name_a_forward_call_of_their_own_copy(mock):
    calls = read(mock, "calls")
    named = calls.filter(pl.col("forward_seq").is_not_null())
    forward = named.join(calls, left_on="forward_seq", right_on="seq")
    assert forward.height == named.height
    assert (forward["step"] == forward["step_right"]).all()
    assert (forward["stage_right"] == "forward").all()


@pytest.mark.slow
def test_copies_count_as_many_times_as_there_are(tmp_path, written):
    """A tile is an inference and a training step; every counter is the tile's, k times."""
    trace = open_trace(written(tmp_path / "trace", 200_000))
    tile = count(trace, by=["module", "stage"], where="step=:2").frame
    whole = count(trace, by=["module", "stage"]).frame
    copies, rest = divmod(trace.manifest.rows["calls"], tile.filter(module="Global")["calls"].sum())
    assert rest == 0 and copies > 50
    figures = ["calls", "flops", "bytes", "synops", "macs", "acs", "dense_macs"]
    assert tile["synops"].sum() > 0
    assert whole.drop("intensity").equals(
        tile.drop("intensity").with_columns(pl.col(figures) * copies)
    )
