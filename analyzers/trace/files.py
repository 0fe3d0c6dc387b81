"""The files of a trace: checked against the manifest and the format before anything is read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import polars as pl

from ...schemas import (
    ADDED_COLUMNS,
    MANIFEST_NAME,
    STATIC_TABLES,
    TABLES,
    Manifest,
    Part,
    TraceError,
)
from ...schemas.tables import Kind
from .footers import Content, footer_of, rows_like
from .manifests import plain

_LONGEST_NAME = 255
"""Of a file, as file systems have it."""

_CHUNK = 1 << 22
_MOST_ROWS = 10_000_000
_MOST_BYTES = 1 << 33
"""So much of a static table is taken into memory; what the recorder writes is far below."""

Identity = tuple[int, int, int, int]
"""What tells a file from another one of its name: device, inode, size, time of change."""

Files = dict[str, list[Path]]
"""Paths of the parts of each table, in order."""


class Source(Protocol):
    """What rows are read from: a trace, or one that is being opened."""

    @property
    def path(self) -> Path:
        """Directory of the trace."""

    @property
    def identities(self) -> Mapping[Path, Identity]:
        """What each file was when it was checked."""

    @property
    def in_memory(self) -> bool:
        """Whether all its tables are held, see `held`."""


@dataclass(frozen=True)
class Found:
    """The files of one rank.

    Attributes:
        path: directory of the rank.
        files: the parts of each table.
        identities: what each file was when it was checked.
        rows: of each part of `calls`.
        spans: of each part of `calls` its rows, and its first and last `seq`.
        left_out: what cannot be read, in words.
    """

    path: Path
    files: Files = field(default_factory=lambda: {name: [] for name in TABLES})
    identities: dict[Path, Identity] = field(default_factory=dict)
    spans: list[tuple[int, int, int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many rows the parts of `calls` have, with statistics or without."""
        return sum(self.rows)


class Footer(NamedTuple):
    """What the footer of a part tells, once it is checked.

    Attributes:
        rows: of the part.
        spans: of each row group of `calls` its rows, and its first and last `seq`.
    """

    rows: int
    spans: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Checked:
    """What was checked so far, of any rank: ranks of one model have much in common.

    Attributes:
        held: tables that are read at once, see `held`: their numbers are checked then.
        footers: by table and checksum of the whole part.
        like: by table, a footer whose columns are right.
    """

    held: frozenset[str] = frozenset()
    footers: dict[tuple[str, str], Footer] = field(default_factory=dict)
    like: dict[str, Content] = field(default_factory=dict)


def files_of(folder: Path, manifest: Manifest, checked: Checked) -> Found:
    """Return the parts of one rank, each checked for name, size, rows, columns and checksum.

    Args:
        folder: of the rank.
        manifest: its manifest.
        checked: so far, of any rank; what is checked here is added.

    Raises:
        TraceError: a part is missing, damaged, truncated, foreign or badly named.
    """
    found = Found(folder)
    file = folder / MANIFEST_NAME
    found.identities[file] = _regular(file)
    seen: set[str] = set()
    for part in manifest.parts:
        _check_name(folder, part, seen)
        _check_size(folder / part.name, part)
    _check_completeness(folder, manifest)
    _check_checksums(found, manifest)
    for part in manifest.parts:
        if part.table in TABLES:
            file, key = folder / part.name, (part.table, part.checksum)
            footer = checked.footers.get(key)
            if footer is None:
                footer = checked.footers[key] = checked_footer(file, part.table, checked)
            if footer.rows != part.rows:
                raise TraceError(f"{file} is damaged: {footer.rows} rows instead of {part.rows}.")
            _take(found, file, part.table, footer)
    return found


def readable_files(folder: Path) -> Found:
    """Return what can be read of a recording without a manifest, and what cannot, in words."""
    found, checked = Found(folder), Checked()
    for name in TABLES:
        pattern = f"{name}.parquet" if name in STATIC_TABLES else f"{name}-*.parquet"
        for file in sorted(folder.glob(pattern)):
            try:
                found.identities[file] = _regular(file)
                _check_pages(file)  # no checksum of the whole stands anywhere
                _take(found, file, name, checked_footer(file, name, checked))
            except TraceError as error:
                found.identities.pop(file, None)
                found.left_out.append(str(error))
    return found


_KINDS: dict[str, Any] = {
    "int16": pl.Int16(), "int32": pl.Int32(), "int64": pl.Int64(), "float64": pl.Float64(),
    "bool": pl.Boolean(), "string": pl.String(), "category": pl.Categorical(),
}  # fmt: skip


@cache
def schema_of(name: str) -> pl.Schema:
    """Return the columns of a table as Polars has them."""
    return pl.Schema({each.name: _kind(each.kind) for each in TABLES[name]})


def _kind(kind: Kind) -> Any:
    if isinstance(kind, dict):
        return pl.Struct({name: _kind(each) for name, each in kind.items()})
    return pl.List(_kind(kind[0])) if isinstance(kind, list) else _KINDS[kind]


def scan(ranks: Mapping[int, list[Path]], name: str) -> pl.LazyFrame:
    """Return a table with a `rank` column.

    Dictionary columns stay categorical, so that conditions on them reach the reader of the parts:
    it decodes the other columns of rows that fit only. `collected` makes strings of them.

    Args:
        ranks: the parts of the table by rank.
        name: of the table.
    """
    if len(ranks) > 1 and all(map(_tells_rank_alone, chain.from_iterable(ranks.values()))):
        return _scanned_as_one([*chain.from_iterable(ranks.values())], name)
    return pl.concat([_scanned(files, name, rank) for rank, files in ranks.items()])


def _tells_rank_alone(file: Path) -> bool:
    """Tell whether `rank=00000` is the only part of a path that reads as a column and its value."""
    return str(file).count("=") == 1


def _scanned_as_one(files: list[Path], name: str) -> pl.LazyFrame:
    """Return a table of many ranks: their directories tell the rank, and Polars reads that."""
    rank = {"rank": pl.Int32()}
    if not files:
        return _scanned(files, name, 0)
    return pl.scan_parquet(
        files, glob=False, extra_columns="ignore", missing_columns="insert",
        schema={**schema_of(name), **rank}, hive_partitioning=True, hive_schema=rank,
    )  # fmt: skip


def _scanned(files: list[Path], name: str, rank: int) -> pl.LazyFrame:
    schema = schema_of(name)
    if files:
        frame = pl.scan_parquet(
            files, glob=False, extra_columns="ignore", missing_columns="insert", schema=schema
        )
    else:
        frame = pl.LazyFrame(schema=schema)
    return frame.with_columns(rank=pl.lit(rank, dtype=pl.Int32))


def collected(
    frame: pl.LazyFrame, source: Source, *, engine: Literal["auto", "streaming"] = "streaming"
) -> pl.DataFrame:
    """Return the rows of a frame over the parts of a trace: the one way in which they are read.

    Categories become strings.

    Args:
        frame: what to read.
        source: the trace that it is of.
        engine: how Polars runs it, if not all is in memory; "auto" keeps the order of rows.

    Raises:
        TraceError: a part cannot be decoded, though its checksum may be right, or the trace is
            another one by now.
    """
    texts = frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
    return read(texts, source, "in-memory" if source.in_memory else engine)


def read(
    frame: pl.LazyFrame, source: Source, engine: Literal["auto", "streaming", "in-memory"]
) -> pl.DataFrame:
    """Return the rows of a frame as `collected` does; categories stay what they are."""
    how = _PLAINLY if engine == "in-memory" else pl.QueryOptFlags()
    try:
        rows = frame.collect(engine=engine, optimizations=how)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        check_unchanged(source)
        reason = plain(str(error).partition("\n")[0])
        raise TraceError(
            f"{source.path} is damaged: its tables cannot be read: {reason}."
        ) from None
    check_unchanged(source)
    return rows


_PLAINLY = pl.QueryOptFlags.none(projection_pushdown=True)
"""To optimize a query on a small table takes longer than to run it; columns are left out."""


def check_unchanged(source: Source) -> None:
    """Check that the files of a trace are those that were opened.

    Raises:
        TraceError: one of them is another one by now.
    """
    for file, known in source.identities.items():
        try:
            same = _identity(os.stat(file)) == known  # noqa: PTH116 - thousands of parts
        except OSError:
            same = False
        if not same:
            raise TraceError(f"{source.path} was replaced while it was read: open it again.")


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _regular(file: Path) -> Identity:
    """Return the identity of a regular file.

    Raises:
        TraceError: it is missing, or a pipe, a device, ...
    """
    try:
        found = file.stat()
    except OSError:
        raise TraceError(f"{file} is missing.") from None
    if not stat.S_ISREG(found.st_mode):
        raise TraceError(f"{file} is not a regular file.")
    return _identity(found)


def _check_pages(file: Path) -> None:
    """Check that all pages of a file can be decoded, and their checksums, where they have some.

    Raises:
        TraceError: they cannot, or are wrong.
    """
    import pyarrow as pa  # for what was not finished alone
    import pyarrow.parquet as pq

    reason = "it is not a Parquet file"
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            reason = "a page cannot be read"
            for batch in opened.iter_batches():
                batch.validate()
    except (pa.ArrowException, OSError, ValueError):
        raise TraceError(f"{file} is damaged: {reason}.") from None


def _check_checksums(found: Found, manifest: Manifest) -> None:
    files = [found.path / part.name for part in manifest.parts]
    if sum(part.bytes for part in manifest.parts) > _CHUNK:
        with ThreadPoolExecutor(2) as pool:
            sums = [*pool.map(_checksum, files)]
    else:  # starting threads would take longer
        sums = [_checksum(file) for file in files]
    for part, file, (checksum, identity) in zip(manifest.parts, files, sums, strict=True):
        if checksum != part.checksum:
            raise TraceError(f"{file} is damaged: its content is not what was recorded.")
        found.identities[file] = identity


def _checksum(file: Path) -> tuple[str, Identity]:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with file.open("rb") as stream:
            identity = _identity(os.fstat(stream.fileno()))
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise TraceError(f"{file} cannot be read: {error.strerror}.") from None
    return f"blake2b:{digest.hexdigest()}", identity


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
    fits = fits and len(name) <= _LONGEST_NAME
    if not fits or name in seen:
        raise TraceError(
            f"{folder / MANIFEST_NAME} is damaged: {plain(name)!r} is not the name of a part of "
            "its own."
        )
    seen.add(name)


def _check_size(file: Path, part: Part) -> None:
    size = _regular(file)[2]
    if size != part.bytes:
        state = "truncated" if size < part.bytes else "damaged"
        raise TraceError(f"{file} is {state}: {size} bytes instead of {part.bytes}.")


def _take(found: Found, file: Path, table: str, footer: Footer) -> None:
    """Take a file for a part of a table."""
    found.files[table].append(file)
    if table == "calls":
        found.rows.append(footer.rows)
        found.spans.extend(footer.spans)


def checked_footer(file: Path, table: str, checked: Checked) -> Footer:
    """Return what the footer of a part tells, once columns and what they may hold are checked.

    Columns that are as those of a part before are not checked again.

    Raises:
        TraceError: the file is no part of the table.
    """
    try:
        like = checked.like.get(table)
        if table in checked.held and like is not None:
            rows = rows_like(file, like)
            if rows is not None:
                return Footer(rows)
        return _checked_footer(file, table, checked, like)
    except TraceError:
        raise
    except (Exception, pl.exceptions.PanicException):  # of bytes that are none of their own
        raise TraceError(f"{file} is damaged: it is not a Parquet file.") from None


def _checked_footer(file: Path, table: str, checked: Checked, like: Content | None) -> Footer:
    told = footer_of(file, like)
    if like is None or told.schema != like.schema:
        schema = pl.scan_parquet(file, glob=False).collect_schema()
        if schema != schema_of(table):
            for name in schema_of(table):
                _check_column(file, table, schema, name)
        checked.like[table] = told
    if table not in STATIC_TABLES:
        return Footer(told.rows, tuple(_checked_numbers(file, table, told)))
    _check_bounds(file, told)
    return Footer(told.rows)


def _check_column(file: Path, table: str, schema: pl.Schema, name: str) -> None:
    if name not in schema and name in ADDED_COLUMNS.get(table, ()):
        return
    if name not in schema:
        raise TraceError(f"{file} is not a part of {table}: column {name} is missing.")
    if schema[name] != (wanted := schema_of(table)[name]):
        raise TraceError(
            f"{file} is not a part of {table}: {name} is {plain(str(schema[name]))}, not {wanted}."
        )


def _check_bounds(file: Path, footer: Content) -> None:
    """Check that a table that is taken into memory is not too large for that."""
    size = sum(group.bytes for group in footer.groups)
    if footer.rows > _MOST_ROWS or not 0 <= size <= _MOST_BYTES:
        raise TraceError(f"{file} is too large: {footer.rows} rows of {size} bytes.")


NEVER_NULL = {
    "calls": ("seq", "signature_id", "stage", "step", "thread"),
    "call_operands": ("seq", "role", "slot"),
    "values": ("value_id", "numel", "bytes"),
    "module_calls": ("module_call_id", "module_id", "first_seq", "last_seq", "sample"),
}
"""Columns without nulls."""

_SIGNED = ("last_seq", "first_node", "last_node", "class")
_LIMITS = {"step": (1 << 31) - 1}


def within_limits(name: str, low: int, high: int) -> bool:
    """Tell whether a column may hold whole numbers from `low` to `high`."""
    return name in _SIGNED or (low >= 0 and high < _LIMITS.get(name, 1 << 62))


def _checked_numbers(file: Path, table: str, footer: Content) -> Iterator[tuple[int, int, int]]:
    """Check the numbers of a part by what its footer says of them; nothing of it is read.

    Numbers of rows, elements and bytes are not negative; ids are there.

    Yields:
        Of each row group of `calls` its rows, and its first and last `seq`.
    """
    known = schema_of(table)
    for group in footer.groups:
        for chunk in group.chunks:
            name = chunk.name
            if name not in known:
                continue
            if chunk.nulls and name in NEVER_NULL[table]:
                raise TraceError(f"{file} is damaged: {name} is null in {chunk.nulls} rows.")
            if chunk.span is None:
                continue
            low, high = chunk.span
            if not within_limits(name, low, high):
                raise TraceError(f"{file} is damaged: {name} is {low} to {high}.")
            if table == "calls" and name == "seq":
                yield group.rows, low, high


def missing_calls(found: Found) -> str | None:
    """Return what is wrong with the numbers of the calls, in words; they count from 0 on.

    What the footers say of each part is enough: the recorder refuses a gap inside of one.
    """
    expected = 0
    if sum(rows for rows, _, _ in found.spans) != found.calls:
        return None  # some other program wrote a part, and no statistics
    for rows, low, high in found.spans:
        if low != expected or high - low + 1 != rows:
            return f"calls {min(low, expected)} to {high} are not there once each"
        expected = high + 1
    return None
