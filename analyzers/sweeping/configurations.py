"""Configurations by the thousand: a grid of values, and tables of them from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from ...schemas import ConfigError
from ...schemas.costs import CostConfig, changed
from ...schemas.toml import path_text, toml_data, toml_text

NAME = "name"
"""Column of a table of configurations that is a label and no field."""

MOST = 1_000_000
"""Configurations of one sweep; more are probably a mistake."""


def combinations(
    vary: Mapping[str, Iterable[Any]] | None, table: pl.DataFrame | None
) -> list[dict[str, Any]]:
    """Return every row of a table with every combination of the varied values, in that order.

    Args:
        vary: field -> values; dots lead into tables and lists.
        table: a configuration in each row, fields as columns; null leaves a field as it is. The
            column `name` is a label.

    Raises:
        ConfigError: nothing is varied, a field has no values or is varied twice, or there are more
            than a million combinations.
    """
    rows = table.to_dicts() if table is not None else [{}]
    axes = {field: _values(field, values) for field, values in (vary or {}).items()}
    if not axes and table is None:
        raise ConfigError("a sweep needs something to vary, or a table of configurations")
    if not rows:
        raise ConfigError("the table of configurations has no row")
    if twice := sorted(axes.keys() & rows[0].keys()):
        raise ConfigError(f"{twice[0]}: it is varied and stands in the table of configurations")
    many = len(rows)
    for values in axes.values():
        many *= len(values)
    if many > MOST:
        raise ConfigError(f"{many:,} configurations: a sweep takes at most {MOST:,}")
    return [
        {**row, **dict(zip(axes, point, strict=True))}
        for row in rows
        for point in product(*axes.values())
    ]


def _values(field: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        kind = "text" if isinstance(values, str | bytes) else type(values).__name__
        raise ConfigError(f"{field}: give a list of values, not the {kind} {values!r}")
    # NumPy's and Polars' numbers become Python's.
    found = [each.item() if hasattr(each, "item") else each for each in values]
    if not found:
        raise ConfigError(f"{field}: no values to vary over")
    return found


def configured(base: CostConfig, rows: Sequence[Mapping[str, Any]]) -> list[CostConfig]:
    """Return the configuration of each row of `combinations`.

    Raises:
        ConfigError: a field or value that is not allowed; tells the row.
    """
    return list(_configured(base, rows))


def _configured(base: CostConfig, rows: Sequence[Mapping[str, Any]]) -> Iterator[CostConfig]:
    for place, row in enumerate(rows, start=1):
        changes = {key: value for key, value in row.items() if key != NAME and value is not None}
        try:
            yield changed(base, changes)
        except ConfigError as error:
            raise ConfigError(f"configuration {place}: {error}") from None


def read_configs(file: str | os.PathLike[str]) -> pl.DataFrame:
    """Read a table of configurations: a row each, fields as columns.

    Args:
        file: CSV or Parquet; or TOML, where each `[[config]]` is one and tables inside it are
            columns with dots.

    Raises:
        ConfigError: it cannot be read, or is no such table.
    """
    path = Path(path_text(file, "configs"))
    if path.suffix.lower() not in _READERS:
        raise ConfigError(f"{path}: a table of configurations is a {', '.join(_READERS)} file")
    try:
        path.open("rb").close()  # so that the system says what is wrong, not a library
        table = _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: not a table of configurations ({reason})") from None
    if table.is_empty():
        raise ConfigError(f"{path}: it holds no configuration")
    return table


def _from_toml(path: Path) -> pl.DataFrame:
    data = toml_data(str(path), toml_text(str(path)))
    tables = data.get("config")
    if set(data) != {"config"} or not isinstance(tables, list):
        raise ConfigError(f"{path}: write each configuration under its own [[config]]")
    rows = [dict(_flat(table, ())) for table in tables]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
    ".toml": _from_toml,
}


def _flat(data: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _flat(value, (*path, key))
    else:
        yield ".".join(path), data


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return a column of whatever it holds; where kinds do not go together, of Python objects."""
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        numbers = all(isinstance(v, int | float) or v is None for v in values)
        kind = pl.Float64 if numbers else pl.String
        return pl.Series(name, [v if numbers or v is None else str(v) for v in values], kind)


def columns(rows: Sequence[Mapping[str, Any]]) -> list[pl.Series]:
    """Return rows as columns in the order of their keys; null where one is missing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [_series(name, [row.get(name) for row in rows]) for name in names]
