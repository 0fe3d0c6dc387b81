"""Small tables, and those of many small parts: read as the trace is opened, and held.

A question asks a trace some twenty times, and Polars reads the footers of all parts each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ...schemas import PART_TABLES, Manifest, TraceError
from .files import (
    NEVER_NULL,
    Checked,
    Found,
    Source,
    checked_footer,
    read,
    scan,
    schema_of,
    within_limits,
)

_FEW_ROWS = 20_000
"""So many rows are held in any case: of some 250 bytes each in memory."""

_SMALL_ROWS, _MANY_PARTS, _MOST_ROWS = 4096, 32, 400_000
"""Rows of a small part on average; so many of them are held, if they have no more rows in all than
the last."""


def held_tables(manifests: Sequence[Manifest]) -> frozenset[str]:
    """Return the tables of a trace that are held, by what its manifests tell."""
    if not all(manifest.rows for manifest in manifests):  # a killed recording has not told
        return frozenset()
    found = []
    for name in PART_TABLES:
        rows = sum(manifest.rows.get(name, 0) for manifest in manifests)
        parts = sum(part.table == name for manifest in manifests for part in manifest.parts)
        many = parts >= _MANY_PARTS and rows <= min(parts * _SMALL_ROWS, _MOST_ROWS)
        if many or rows <= _FEW_ROWS:
            found.append(name)
    return frozenset(found)


def held(ranks: Mapping[int, Found], name: str, source: Source) -> pl.DataFrame:
    """Return a table with a `rank` column, its numbers checked; categories stay what they are.

    Of `calls`, the span of each rank is noted in what was found of it.

    Args:
        ranks: what was found, by rank.
        name: of the table.
        source: the trace.

    Raises:
        TraceError: a part cannot be read, or holds numbers that no recorder writes.
    """
    files = {rank: found.files[name] for rank, found in ranks.items()}
    rows = read(scan(files, name), source, "in-memory")
    _check_numbers(rows, name, [file for each in files.values() for file in each], source)
    if name == "calls":
        seq = pl.col("seq")
        spans = rows.group_by("rank").agg(pl.len(), seq.min(), seq.max().alias("last"))
        for rank, *span in spans.rows():
            ranks[rank].spans[:] = [tuple(span)]
    return rows


def _check_numbers(rows: pl.DataFrame, name: str, files: Sequence[Path], source: Source) -> None:
    """Check that numbers are not negative and that ids are there, as `checked_footer` does."""
    numbers = [each for each, kind in schema_of(name).items() if kind.is_integer()]
    told = rows.select(
        *(pl.col(each).null_count().alias(f"nulls {each}") for each in NEVER_NULL[name]),
        *(pl.col(each).min().alias(f"low {each}") for each in numbers),
        *(pl.col(each).max().alias(f"high {each}") for each in numbers),
    ).row(0, named=True)
    faults = [
        f"{each} of {name} is null in {nulls} rows"
        for each in NEVER_NULL[name]
        if (nulls := told[f"nulls {each}"])
    ]
    for each in numbers:
        low, high = told[f"low {each}"], told[f"high {each}"]
        if low is not None and not within_limits(each, low, high):
            faults.append(f"{each} of {name} is {low} to {high}")
    if faults:
        for file in files:
            checked_footer(file, name, Checked())  # says in which, where a footer tells
        raise TraceError(f"{source.path} is damaged: {faults[0]}.")
