"""Tables of many small parts, read as a trace is opened: answers and refusals are the same."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.analyzers.trace import held
from opjoule.schemas import PART_TABLES, TraceError
from opjoule.schemas.arrow import SCHEMAS

FILES = [f"{name}-00000.parquet" for name in PART_TABLES]


@pytest.fixture
def hold(monkeypatch):
    """Return a function that says whether parts are held from now on."""

    def said(parts: bool) -> None:
        monkeypatch.setattr(held, "_FEW_ROWS", 1 << 30 if parts else -1)

    return said


def test_tables_and_counts_are_the_same(copied, hold):
    hold(False)
    read = open_trace(copied)
    known = count(read, strict=False).to_dict()
    hold(True)
    kept = open_trace(copied)
    for name in PART_TABLES:
        assert getattr(kept, name).collect().equals(getattr(read, name).collect())
    for file in FILES:
        (copied / file).unlink()
    assert count(kept, strict=False).to_dict() == known  # nothing is read again
    with pytest.raises(TraceError, match="was replaced while it was read"):
        count(read, by="op", strict=False)


def edited(stored, name, last=False, **columns):
    """Return a part of the stored trace with other values in one row."""
    schema = SCHEMAS[name.split("-")[0]]
    rows = pq.read_table(stored / name).to_pylist()
    rows[-1 if last else 0].update(columns)
    return pa.Table.from_pylist(rows, schema=schema)


WRONG = [
    ("calls", {"signature_id": None}),
    ("calls", {"stage": None}),
    ("calls", {"step": -1}),
    ("calls", {"seq": 1 << 40, "last": True}),
    ("calls", {"in0_nonzero": -3}),
    ("values", {"bytes": -1}),
    ("values", {"numel": None}),
    ("call_operands", {"slot": None}),
    ("module_calls", {"module_id": 1 << 30, "first_seq": -1}),
    ("module_calls", {"sample": None}),
]


@pytest.mark.parametrize(("table", "columns"), WRONG)
def test_refusals_are_the_same(stored, resign, refusal, hold, table, columns):
    file = f"{table}-00000.parquet"
    path = resign(file, edited(stored, file, **columns))
    hold(False)
    known = refusal(path)
    assert "is damaged: " in known
    hold(True)
    assert refusal(path) == known


@pytest.mark.parametrize("table", PART_TABLES)
def test_columns_of_every_part_are_checked(stored, resign, refusal, hold, table):
    """One part is right; the columns of the other one are not."""
    file = f"{table}-00000.parquet"
    rows = pq.read_table(stored / file)
    path = resign(file, rows.drop_columns([rows.column_names[0]]))
    hold(True)
    assert f"column {rows.column_names[0]} is missing" in refusal(path)


def test_numbers_are_checked_that_no_footer_tells(stored, copied, resign, refusal, hold):
    """A part without statistics: only who reads it sees what it holds."""
    file = "values-00000.parquet"
    table = edited(stored, file, bytes=-1)
    pq.write_table(table, copied / file, write_statistics=False)
    path = resign(file, (copied / file).read_bytes())
    hold(True)
    assert refusal(path) == f"{path} is damaged: bytes of values is -1 to {top(table, 'bytes')}."


def top(table, name):
    return max(table[name].to_pylist())
