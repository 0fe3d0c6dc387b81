"""Damaged, exchanged and made-up parts are refused by name, never with a library's words."""

from __future__ import annotations

import math
import random
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.schemas import (
    ADDED_COLUMNS,
    PART_TABLES,
    STATIC_TABLES,
    OpjouleError,
    TraceError,
)
from opjoule.schemas.arrow import SCHEMAS

PARTS = [*(f"{name}.parquet" for name in STATIC_TABLES),
         *(f"{name}-00000.parquet" for name in PART_TABLES)]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(copied, part, refusal):
    (copied / part).unlink()
    assert refusal(copied) == f"{copied / part} is missing."


@pytest.mark.parametrize("part", PARTS)
def test_a_truncated_part_is_named(copied, part, refusal):
    whole = (copied / part).read_bytes()
    (copied / part).write_bytes(whole[:-1])
    says = f"{copied / part} is truncated: {len(whole) - 1} bytes instead of {len(whole)}."
    assert refusal(copied) == says


@pytest.mark.parametrize("part", PARTS)
def test_one_flipped_bit_is_noticed(copied, part, refusal):
    content = bytearray((copied / part).read_bytes())
    content[len(content) // 3] ^= 1
    (copied / part).write_bytes(content)
    says = f"{copied / part} is damaged: its content is not what was recorded."
    assert refusal(copied) == says


def test_a_part_that_is_a_directory(copied, refusal):
    (copied / "modules.parquet").unlink()
    (copied / "modules.parquet").mkdir()
    assert refusal(copied) == f"{copied / 'modules.parquet'} is not a regular file."


def test_exchanged_parts_are_noticed(copied, refusal):
    first, second = copied / "calls-00000.parquet", copied / "values-00000.parquet"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert str(first) in refusal(copied) or str(second) in refusal(copied)


def test_foreign_content_is_told_though_its_checksum_fits(resign, refusal):
    assert "is damaged: it is not a Parquet file" in refusal(
        resign("modules.parquet", b"a,b\n1,2\n")
    )
    table = pa.table({"module_id": pa.array([0], pa.int64())})
    line = refusal(resign("modules.parquet", table))
    assert "is not a part of modules: module_id is Int64, not Int32" in line


def changed(stored, name, **columns):
    """Return a table of the stored trace with other values in the first row."""
    schema = SCHEMAS[name.split("-")[0].split(".")[0]]
    rows = pq.read_table(stored / name).to_pylist()
    rows[0].update(columns)
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.mark.parametrize(
    ("name", "columns", "says"),
    [
        ("calls-00000.parquet", {"signature_id": 9999}, "is of signature 9999"),
        ("calls-00000.parquet", {"signature_id": None}, "signature_id is null in 1 rows"),
        ("signatures.parquet", {"signature_id": 1}, "signature_id repeats"),
        ("signatures.parquet", {"operands": None}, "operands is null"),
        ("signatures.parquet", {"arguments": "{"}, "is no JSON dict"),
        ("signatures.parquet", {"arguments": "[" * 100_000}, "is no JSON dict"),
    ],
)
def test_tables_that_do_not_fit_together(stored, resign, name, columns, says):
    path = resign(name, changed(stored, name, **columns))
    with pytest.raises(OpjouleError, match=says) as caught:
        count(open_trace(path), by=["op", "module"])
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700


def test_sizes_beyond_64_bits_are_refused(stored, resign):
    """A convolution of 2^51 images: 2^51 * 8 * 6 * 6 results of 9 products each fit no column."""
    rows = pq.read_table(stored / "signatures.parquet").to_pylist()
    (conv,) = [row for row in rows if row["op"] == "aten.convolution.default"]
    for operand in conv["operands"]:
        if len(operand["shape"]) == 4 and operand["name"] != "weight":
            operand["shape"] = [2**51, *operand["shape"][1:]]
            operand["numel"] = math.prod(operand["shape"])
            operand["bytes"] = 4 * operand["numel"]
    table = pa.Table.from_pylist(rows, schema=SCHEMAS["signatures"])
    with pytest.raises(TraceError, match=r"convolution.default is said to count more than 2\*\*63"):
        count(open_trace(resign("signatures.parquet", table)))


@pytest.mark.parametrize("held", [-1, 20_000])
def test_whatever_the_bytes_a_library_never_speaks(stored, resign, copied, held, monkeypatch):
    """Random damage under a checksum that fits it: read or refused, never a library's error.

    Whether tables of so many rows are held in memory or read as they are asked for.
    """
    monkeypatch.setattr("opjoule.analyzers.trace.held._FEW_ROWS", held)
    dice = random.Random(7)
    refused = 0
    for _ in range(60):
        name = dice.choice(PARTS)
        content = bytearray((stored / name).read_bytes())
        for _ in range(dice.choice((1, 3, 20))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        try:
            count(open_trace(resign(name, bytes(content))), by=["module", "op", "stage"])
        except OpjouleError as error:
            assert str(copied) in str(error) and str(error).isprintable()
            refused += 1
        shutil.copy(stored / name, copied / name)
        shutil.copy(stored / "trace.json", copied / "trace.json")
    assert refused > 20


ADDED = [(table, name) for table, names in ADDED_COLUMNS.items() for name in names]


@pytest.mark.parametrize(("table", "column"), ADDED)
def test_traces_from_before_a_column_was_added_are_read(stored, resign, table, column):
    """The column is null then; all others are what they were."""
    (file,) = stored.glob(f"{table}*.parquet")
    whole = pq.read_table(file)
    older = whole.drop_columns([column]) if column in whole.column_names else whole
    trace = open_trace(resign(file.name, older))
    found = getattr(trace, table).lazy().collect()
    assert found[column].null_count() == found.height > 0
    known = getattr(open_trace(stored), table).lazy().collect()
    assert found.drop(column).equals(known.drop(column))
    assert count(trace).total == count(open_trace(stored)).total


@pytest.mark.parametrize(("table", "column"), [("modules", "path"), ("module_calls", "batch")])
def test_columns_that_were_always_there_are_missed(stored, resign, refusal, table, column):
    (file,) = stored.glob(f"{table}*.parquet")
    path = resign(file.name, pq.read_table(file).drop_columns([column]))
    assert f"column {column} is missing" in refusal(path)


def test_an_added_column_has_its_type(stored, resign, refusal):
    """A text is no module number."""
    (file,) = stored.glob("modules*.parquet")
    table = pq.read_table(file)
    if "same_as" in table.column_names:
        table = table.drop_columns(["same_as"])
    wrong = table.append_column("same_as", pa.array(["0"] * table.num_rows))
    assert "same_as is String, not Int32" in refusal(resign(file.name, wrong))


@pytest.mark.parametrize("wrong", [[], [-1], [None]])
def test_parameters_are_numbered_one_by_one(stored, resign, refusal, wrong):
    """A number of nothing, none, or fewer than there are parameters."""
    (file,) = stored.glob("modules*.parquet")
    table = pq.read_table(file)
    if "parameter_ids" in table.column_names:
        table = table.drop_columns(["parameter_ids"])
    numbers = [[0] * len(each) for each in table["parameters"].to_pylist()]
    place = next(k for k, each in enumerate(numbers) if len(each) == 1)
    numbers[place] = wrong
    kind = pa.list_(pa.int64())
    path = resign(file.name, table.append_column("parameter_ids", pa.array(numbers, kind)))
    assert "parameter_ids" in refusal(path)
