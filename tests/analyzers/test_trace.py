"""Reading what is whole, and what is left of a recording that was not finished."""

from __future__ import annotations

import signal
import textwrap

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.schemas import ADDED_COLUMNS, STATIC_TABLES, TABLES, TraceError


def test_the_tables_are_those_of_the_format_with_a_rank(stored):
    trace = open_trace(stored)
    for name, columns in TABLES.items():
        frame = getattr(trace, name).lazy().collect()
        assert frame.columns == [*(each.name for each in columns), "rank"]
        assert frame["rank"].unique().to_list() == [0]
        assert frame.height == trace.manifest.rows[name] > 0


def test_the_rows_are_those_that_plain_readers_read(stored):
    """Pyarrow and Polars open each file by itself: no private encoding, nothing of ours.

    Columns that older versions wrote and nothing reads any more are passed over; those that were
    added later are null.
    """
    trace = open_trace(stored)
    for name in TABLES:
        pattern = f"{name}.parquet" if name in STATIC_TABLES else f"{name}-*.parquet"
        files = sorted(stored.glob(pattern))
        rows = getattr(trace, name).lazy().drop("rank").collect().to_dicts()
        added = set(ADDED_COLUMNS.get(name, ())) - set(pq.read_schema(files[0]).names)
        assert all(row.pop(column) is None for row in rows for column in added)
        columns = [each.name for each in TABLES[name] if each.name not in added]
        tables = [pq.read_table(f, columns=columns) for f in files]
        assert pa.concat_tables(tables).to_pylist() == rows
        assert pl.concat([pl.read_parquet(f, columns=columns) for f in files]).to_dicts() == rows
        metadata = pq.read_schema(files[0]).metadata
        assert metadata[b"opjoule.format_version"] == b"1"
        assert metadata[b"opjoule.table"] == name.encode()


def test_a_path_may_be_text(stored):
    assert open_trace(str(stored)).path == stored


def test_an_aborted_recording(edit, refusal):
    failure = {"type": "ValueError\x1b[2J", "message": "no"}
    trace = edit(status="aborted", failure=failure)
    assert refusal(trace) == (
        f"{trace} is incomplete: its recording ended with 'ValueError\\x1b[2J'. "
        "What was recorded can be read with --partial (partial=True)."
    )
    opened = open_trace(trace, partial=True)
    assert opened.manifest.failure.message == "no"
    assert opened.calls.collect().height == opened.manifest.rows["calls"]


def test_damage_is_refused_in_an_aborted_recording_too(edit, copied, refusal):
    trace = edit(status="aborted")
    (copied / "values-00000.parquet").unlink()
    assert "values-00000.parquet is missing" in refusal(trace, partial=True)


def test_what_a_killed_recording_left(copied, stored, refusal):
    """Without a manifest there are no checksums: what can be decoded is read, the rest is told."""
    (copied / "trace.json").unlink()
    (copied / "recording.json").write_text('{"format_version": 1}')
    assert "was never finished: its recording was killed or still runs" in refusal(copied)
    whole = open_trace(stored)
    opened = open_trace(copied, partial=True)
    assert (opened.manifest.status, opened.manifest.notes) == ("unfinished", [])
    assert count(opened, by="op").frame.equals(count(whole, by="op").frame)
    half = copied / "values-00000.parquet"
    half.write_bytes(half.read_bytes()[:1000])
    (copied / "calls-00001.parquet.part").write_bytes(b"PAR1")
    opened = open_trace(copied, partial=True)
    assert opened.values.collect().is_empty()
    assert opened.left_out == (
        f"partial: 276 calls read, left out: {half} is damaged: it is not a Parquet file.; what "
        "followed, in its last step too (its recording was not finished)"
    )
    assert count(opened, by="op").frame.equals(count(whole, by="op").frame)
    (copied / "signatures.parquet").write_bytes(b"")
    with pytest.raises(TraceError, match="is of signature 0, which it does not tell"):
        count(open_trace(copied, partial=True))


KILLED = """
    import os, signal, sys, torch
    from torch import nn
    from opjoule.tracer import Recorder, session
    session._PART_CELLS = 20 * session.CALL_WIDTH
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with Recorder(sys.argv[1], model=model):
        with torch.no_grad():
            for _ in range(100):
                model(torch.rand(2, 3))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_recording_that_was_really_killed_can_be_counted(tmp_path, refusal, python):
    pytest.importorskip("torch")
    path = tmp_path / "trace"
    assert python(["-c", textwrap.dedent(KILLED), path]).returncode == -signal.SIGKILL
    refusal(path)
    ops = count(open_trace(path, partial=True), by="op").frame
    linear = ops.row(by_predicate=pl.col("op") == "aten.addmm.default", named=True)
    assert 90 <= linear["calls"] <= 100
    # Each pass a product of 2x3 by 3x4, 2 · 2·3·4, and 2x4 of the bias.
    assert linear["flops"] == linear["calls"] * (2 * 24 + 8)
