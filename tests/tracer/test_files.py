"""The files of a trace: plain Parquet that any reader opens, small on repetitive work."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from opjoule.schemas import FORMAT_VERSION, PART_TABLES, STATIC_TABLES, TABLES
from opjoule.schemas.arrow import SCHEMAS
from opjoule.tracer import Recorder


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """A training run of 40 steps."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    path = tmp_path_factory.mktemp("files") / "trace"
    with Recorder(path, model=model) as recorder:
        for k in range(40):
            with recorder.label(f"part {k % 2}"):
                optimizer.zero_grad()
                model(torch.rand(4, 8)).square().sum().backward()
                optimizer.step()
    return path


@pytest.mark.parametrize("table", TABLES)
def test_every_file_names_its_format_units_and_encoding(trace, table):
    files = [f for f in trace.iterdir() if f.name.split(".")[0].rsplit("-", 1)[0] == table]
    if table == "call_operands":
        assert not files
        return
    (file,) = files
    assert file.name == (f"{table}.parquet" if table in STATIC_TABLES else f"{table}-00000.parquet")
    schema = pq.read_schema(file)
    assert schema.metadata[b"opjoule.format_version"] == str(FORMAT_VERSION).encode()
    assert schema.metadata[b"opjoule.table"] == table.encode()
    assert schema.equals(SCHEMAS[table])
    for field, known in zip(schema, SCHEMAS[table], strict=True):
        assert field.metadata[b"unit"] == known.metadata[b"unit"]
    assert table in {**STATIC_TABLES, **PART_TABLES}


def encodings(file):
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(k) for k in range(group.num_columns)]
    return {c.path_in_schema: (c.compression, c.encodings) for c in columns}


def test_ids_are_deltas(trace):
    found = encodings(trace / "calls-00000.parquet")
    assert {compression for compression, _ in found.values()} == {"LZ4"}
    for name in ("seq", "in0_value", "out0_value", "module_call_id", "forward_seq"):
        assert "DELTA_BINARY_PACKED" in found[name][1], name


def test_a_large_table_is_made_smaller(tmp_path):
    """Words are dictionaries there, and all is compressed more: some bytes a call."""
    x = torch.ones(3)
    with Recorder(tmp_path / "trace") as recorder:
        for _ in range(5000):
            x + 1
    found = encodings(recorder.path / "calls-00000.parquet")
    assert {compression for compression, _ in found.values()} == {"ZSTD"}
    assert "DELTA_BINARY_PACKED" in found["seq"][1]
    for name in ("stage", "label", "signature_id", "in0_class"):
        assert "RLE_DICTIONARY" in found[name][1], name


def test_no_private_types(trace):
    """Only types that every Parquet reader knows."""

    def plain(kind):
        if pa.types.is_list(kind):
            return plain(kind.value_type)
        if pa.types.is_struct(kind):
            return all(plain(field.type) for field in kind)
        if pa.types.is_dictionary(kind):
            return plain(kind.value_type)
        return (
            pa.types.is_integer(kind) or pa.types.is_string(kind)
            or pa.types.is_boolean(kind) or pa.types.is_floating(kind)
        )  # fmt: skip

    for file in trace.glob("*.parquet"):
        assert all(plain(field.type) for field in pq.read_schema(file)), file


def test_polars_reads_it_too(trace):
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(trace / "calls-*.parquet")
    assert frame["seq"].to_list() == list(range(frame.height))
    assert set(frame["label"].unique().drop_nulls()) == {"part 0", "part 1"}


def test_a_system_that_takes_a_few_bytes_at_a_time_gets_all_of_them(tmp_path, read, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: real(handle, content[:1000]))
    with Recorder(tmp_path / "trace"):
        torch.ones(3).exp()
    assert (tmp_path / "trace" / "calls-00000.parquet").stat().st_size > 1000
    assert [call["seq"] for call in read(tmp_path / "trace").calls] == [0, 1]
