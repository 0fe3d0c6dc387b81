"""Results for machines: exact figures as JSON, CSV and Parquet."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..text import plain

if TYPE_CHECKING:
    import polars as pl

_FORMULA = ("=", "+", "-", "@")
"""What makes a spreadsheet calculate a text."""


def as_json(value: Any) -> str:
    """Return plain data as JSON; what is not finite becomes null."""
    text = json.dumps(plain_data(value), indent=2, ensure_ascii=False, allow_nan=False)
    safe = "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)
    return f"{safe}\n"


def as_csv(frame: pl.DataFrame) -> str:
    """Return a frame as CSV with exact figures; nested columns as JSON.

    Control characters in texts become visible escapes, and a text that a spreadsheet would
    calculate gets an apostrophe in front.
    """
    import polars as pl

    texts = [name for name, kind in frame.schema.items() if kind.is_nested() or _is_text(kind)]
    told = [pl.Series(name, [_text(value) for value in frame[name]], dtype=pl.String)
            for name in texts]  # fmt: skip
    named = {name: _text(name) or "" for name in frame.columns}
    return frame.with_columns(told).rename(named).write_csv()


def as_parquet(frame: pl.DataFrame, notes: Sequence[str] = ()) -> bytes:
    """Return a frame as the content of a Parquet file, whose metadata `opjoule` holds the notes."""
    content = io.BytesIO()
    frame.write_parquet(content, metadata={"opjoule": "\n".join(map(plain, notes))})
    return content.getvalue()


def plain_data(value: Any) -> Any:
    """Return nested data as dictionaries, lists, texts and finite numbers."""
    if isinstance(value, dict):
        return {str(key): plain_data(each) for key, each in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool) or value is None:
        return value
    if hasattr(value, "to_dicts"):
        return plain_data(value.to_dicts())
    if hasattr(value, "to_list"):
        return plain_data(value.to_list())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_data(each) for each in value]
    return str(value)


def _is_text(kind: Any) -> bool:
    return str(kind).startswith(("String", "Categorical", "Enum"))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return json.dumps(plain_data(value))
    shown = plain(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _escape(character: str) -> str:
    """Return a character that does not print as JSON escapes it, in UTF-16."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
