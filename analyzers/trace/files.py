"""The files of a trace: checked against the manifest and the format before anything is read."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ...schemas import (
    ADDED_COLUMNS,
    MANIFEST_NAME,
    STATIC_TABLES,
    TABLES,
    Manifest,
    Part,
    TraceError,
)
from .manifests import plain

_CHUNK = 1 << 22

Files = dict[str, list[Path]]
"""Paths of the parts of each table, in order."""


def files_of(folder: Path, manifest: Manifest) -> Files:
    """Return the parts of one rank, each checked for name, size, rows, columns and checksum.

    Raises:
        TraceError: a part is missing, damaged, truncated, foreign or badly named.
    """
    files: Files = {name: [] for name in TABLES}
    seen: set[str] = set()
    for part in manifest.parts:
        _check_name(folder, part, seen)
        _check_size(folder / part.name, part)
    _check_completeness(folder, manifest)
    _check_checksums(folder, manifest)
    for part in manifest.parts:
        if part.table in TABLES:
            _check_content(folder / part.name, part.table, rows=part.rows)
            files[part.table].append(folder / part.name)
    return files


def readable_files(folder: Path) -> tuple[Files, list[str]]:
    """Return what can be read of a recording without a manifest, and notes on what cannot."""
    files: Files = {name: [] for name in TABLES}
    notes: list[str] = []
    for name in TABLES:
        pattern = f"{name}.parquet" if name in STATIC_TABLES else f"{name}-*.parquet"
        for file in sorted(folder.glob(pattern)):
            try:
                _check_content(file, name, rows=None)
                collected(scan([file], name, 0), file)  # no checksum stands anywhere
            except TraceError as error:
                notes.append(f"left out: {error}")
            else:
                files[name].append(file)
    return files, notes


def scan(files: list[Path], name: str, rank: int) -> pl.LazyFrame:
    """Return a table of one rank with a `rank` column.

    Dictionary columns stay categorical, so that conditions on them reach the reader of the parts:
    it decodes the other columns of rows that fit only. `collected` makes strings of them.
    """
    empty = pl.DataFrame(pl.from_arrow(TABLES[name].empty_table()))
    if files:
        frame = pl.scan_parquet(
            files, glob=False, extra_columns="ignore", missing_columns="insert", schema=empty.schema
        )
    else:
        frame = empty.lazy()
    return frame.with_columns(rank=pl.lit(rank, dtype=pl.Int32))


def collected(frame: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Return the rows of a frame over the parts of the trace at `path`; categories as strings.

    Raises:
        TraceError: a part cannot be decoded, though its checksum may be right.
    """
    try:
        return frame.with_columns(pl.col(pl.Categorical).cast(pl.String)).collect(
            engine="streaming"
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = plain(str(error).partition("\n")[0])
        raise TraceError(f"{path} is damaged: its tables cannot be read: {reason}.") from None


def _check_checksums(folder: Path, manifest: Manifest) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda part: _checksum(folder / part.name), manifest.parts)
        for part, checksum in zip(manifest.parts, found, strict=True):
            if checksum != part.checksum:
                raise TraceError(
                    f"{folder / part.name} is damaged: its content is not what was recorded."
                )


def _checksum(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise TraceError(f"{file} cannot be read: {error.strerror}.") from None
    return f"blake2b:{digest.hexdigest()}"


def _check_completeness(folder: Path, manifest: Manifest) -> None:
    for name in TABLES:
        parts = [part for part in manifest.parts if part.table == name]
        if name in STATIC_TABLES and len(parts) != 1:
            raise TraceError(
                f"{folder / MANIFEST_NAME} is damaged: it names {len(parts)} files of {name}."
            )
        rows, found = manifest.rows.get(name, 0), sum(part.rows for part in parts)
        if rows != found:
            raise TraceError(
                f"{folder / MANIFEST_NAME} is damaged: it lists {rows} rows of {name}, "
                f"its files contain {found}."
            )


def _check_name(folder: Path, part: Part, seen: set[str]) -> None:
    name = part.name
    fits = name not in ("", ".", "..") and not set(name) & set("/\\\0:") and name.isprintable()
    if not fits or name in seen:
        raise TraceError(
            f"{folder / MANIFEST_NAME} is damaged: {plain(name)!r} is not the name of a part of "
            "its own."
        )
    seen.add(name)


def _check_size(file: Path, part: Part) -> None:
    try:
        found = file.stat()
    except OSError:
        raise TraceError(f"{file} is missing.") from None
    if not stat.S_ISREG(found.st_mode):
        raise TraceError(f"{file} is not a regular file.")
    size = found.st_size
    if size != part.bytes:
        state = "truncated" if size < part.bytes else "damaged"
        raise TraceError(f"{file} is {state}: {size} bytes instead of {part.bytes}.")


def _check_content(file: Path, table: str, *, rows: int | None) -> None:
    try:
        with pq.ParquetFile(file) as opened:
            schema, found = opened.schema_arrow, opened.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError):
        raise TraceError(f"{file} is damaged: it is not a Parquet file.") from None
    if rows is not None and found != rows:
        raise TraceError(f"{file} is damaged: {found} rows instead of {rows}.")
    for field in TABLES[table]:
        index = schema.get_field_index(field.name)
        if index < 0 and field.name in ADDED_COLUMNS.get(table, ()):
            continue
        if index < 0:
            raise TraceError(f"{file} is not a part of {table}: column {field.name} is missing.")
        if schema.field(index).type != field.type:
            raise TraceError(
                f"{file} is not a part of {table}: {plain(field.name)} is "
                f"{plain(str(schema.field(index).type))}, not {plain(str(field.type))}."
            )
