"""The tables of a trace as Arrow schemas; unit and meaning of a column are its metadata."""

from __future__ import annotations

import pyarrow as pa

from .tables import FORMAT_VERSION, TABLES, Kind

_KINDS = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "category": pa.dictionary(pa.int32(), pa.string()),
}


def _arrow(kind: Kind) -> pa.DataType:
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow(each)) for name, each in kind.items()])
    return pa.list_(_arrow(kind[0])) if isinstance(kind, list) else _KINDS[kind]


SCHEMAS: dict[str, pa.Schema] = {
    table: pa.schema(
        [
            pa.field(
                each.name, _arrow(each.kind), metadata=dict(unit=each.unit, meaning=each.meaning)
            )
            for each in columns
        ]
    )
    for table, columns in TABLES.items()
}
"""The schema of each table."""


def described(name: str) -> pa.Schema:
    """Return the schema of table `name` with format version and table name as file metadata."""
    return SCHEMAS[name].with_metadata(
        {"opjoule.format_version": str(FORMAT_VERSION), "opjoule.table": name}
    )
