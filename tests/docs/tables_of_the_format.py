"""The column tables of docs/trace-format.md, made from the schemas."""

from __future__ import annotations

import pyarrow as pa

from opjoule.schemas.arrow import SCHEMAS


def column_rows(table: str) -> list[str]:
    """Return the Markdown rows of a table's columns: name, type, unit and meaning."""
    return [
        f"| `{field.name}` | {_kind(field.type)} | {_text(field, b'unit')} "
        f"| {_text(field, b'meaning')} |"
        for field in SCHEMAS[table]
    ]


def _text(field: pa.Field, key: bytes) -> str:
    return (field.metadata or {}).get(key, b"").decode().replace("|", "\\|")


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "string"
    if pa.types.is_list(kind):
        return f"list of {_kind(kind.value_type)}"
    return "struct" if pa.types.is_struct(kind) else str(kind)
