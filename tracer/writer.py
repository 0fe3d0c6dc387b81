"""A trace on disk: parts as the run goes on, the manifest last, by rename.

The directory is claimed when the recording starts. `recording.json` stands in it until the
manifest does; so a directory that was left behind is known for what it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    STATIC_TABLES,
    TABLES,
    UNFINISHED_NAME,
    Manifest,
    Part,
    RecordError,
)
from ..schemas.arrow import SCHEMAS, described
from . import places
from .columns import built
from .text import writable

_DELTA = ("seq", "value_id", "module_call_id", "first_seq", "last_seq", "first_node", "last_node",
          "in0_value", "in1_value", "in2_value", "out0_value", "forward_seq", "written_seq",
          "storage_id", "base_value_id", "parent_call_id")  # fmt: skip

_SMALL = 4096
"""Rows of a table up to which it is written at half the time, somewhat larger."""

_BATCH = 1 << 14
"""Rows that are encoded at a time: with PyArrow's 1024 a full part takes up to a fifth longer."""


class Writer:
    """Writes the tables of one rank.

    Args:
        path: directory of the trace.
        overwrite: replace what is there when, and only when, the new trace is whole.
        rank: rank of this process, None outside a distributed run.
        run: what the launcher of the ranks calls their run; None: unknown.

    Attributes:
        path: where it writes.
        run: what this rank's run is called; None outside a distributed run.

    Raises:
        RecordError: something is at `path` and `overwrite` is off, or it cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool, rank: int | None = None,
                 run: str | None = None) -> None:  # fmt: skip
        self.run: str | None = None
        self._parts: dict[str, Part] = {}
        self._halves = count()
        self._made: list[Path] = []
        try:
            home = path.absolute()  # the model may change the working directory
            self.path = home if rank is None else home / f"rank={rank:05d}"
            self._target = self.path
            if rank is not None:
                places.refuse_single(home)
            if self.path.exists():
                places.refuse_unless(self.path, overwrite)
                self.path = self.path.with_name(
                    f"{self.path.name}.recording-{uuid.uuid4().hex[:8]}"
                )
            self._made = [each for each in self.path.parents if not each.exists()]
            self.path.mkdir(parents=True, exist_ok=False)
            if rank is not None:
                self.run = places.run_of(home, self._target, run)
            self._mark()
        except FileExistsError:
            raise RecordError(places.TAKEN.format(path)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecordError(f"{path} cannot be written: {reason}.") from None

    def _mark(self) -> None:
        """Say that the directory is being recorded."""
        marker = {
            "format_version": FORMAT_VERSION,
            "process": os.getpid(),
            **places.identity(os.getpid()),
            **({} if self.run is None else {"run": self.run}),
        }
        (self.path / UNFINISHED_NAME).write_text(json.dumps(marker) + "\n")

    @property
    def parts(self) -> list[Part]:
        """What was written so far."""
        return list(self._parts.values())

    @property
    def rows(self) -> dict[str, int]:
        """How many rows of each table were written so far."""
        rows = dict.fromkeys(TABLES, 0)
        for part in self.parts:
            rows[part.table] += part.rows
        return rows

    def counts(self) -> dict[str, int]:
        """Return how many parts of each table there are."""
        found = dict.fromkeys(TABLES, 0)
        for part in self.parts:
            found[part.table] += 1
        return found

    def write(self, name: str, table: pa.Table) -> None:
        """Write a part of a growing table, or a static table in place of what was written of it.

        Raises:
            RecordError: the disk is full or otherwise refuses.
        """
        try:
            part = self._write(name, table)
        except OSError as error:
            raise self._refused(error) from None
        self._parts[part.name] = part

    def save(self, name: str, table: pa.Table) -> None:
        """Write what a part would hold by now: the next `write` replaces it.

        Raises:
            RecordError: the disk is full or otherwise refuses.
        """
        try:
            self._write(name, table)
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> RecordError:
        reason = error.strerror or str(error)
        return RecordError(
            f"{self.path} cannot be written: {reason}. The recording is lost from there on; "
            "make room or choose another directory, and record again."
        )

    def _write(self, name: str, table: pa.Table) -> Part:
        number = sum(part.table == name for part in self._parts.values())
        file = f"{name}.parquet" if name in STATIC_TABLES else f"{name}-{number:05d}.parquet"
        whole = f"{self.path}{os.sep}{file}"
        half = f"{whole}{places.HALF}-{next(self._halves)}"
        content = memoryview(_encoded(name, table))
        try:
            places.write(half, content)
            os.rename(half, whole)  # noqa: PTH104 - paths as objects take as long as the renaming
        except BaseException:
            with suppress(OSError):
                os.unlink(half)  # noqa: PTH108
            raise
        checksum = "blake2b:" + hashlib.blake2b(content, digest_size=16).hexdigest()
        return Part(
            table=name, name=file, rows=table.num_rows, bytes=len(content), checksum=checksum
        )

    def adopt(self, other: Writer) -> None:
        """Take over the parts that another writer has written so far."""
        for part in other.parts:
            source, target = other.path / part.name, self.path / part.name
            try:
                os.link(source, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, target)
            self._parts[part.name] = part

    def discard(self) -> None:
        """Remove what was written, and directories that were made for it and hold nothing else."""
        places.clear(self.path)
        for each in (self.path, *self._made):
            with suppress(OSError):  # somebody else has put something there
                each.rmdir()

    def finish(self, manifest: Manifest) -> Path:
        """Write the manifest and put the trace in its place.

        All is on the disk before what says so: the parts, their directory, the manifest, its name.

        Returns:
            Where the trace is: at its path, or beside it if it was aborted and would replace one.

        Raises:
            RecordError: the disk is full or otherwise refuses.
        """
        try:
            return self._finish(manifest)
        except OSError as error:
            raise self._refused(error) from None

    def _finish(self, manifest: Manifest) -> Path:
        self._remove_saved()
        for name in self._parts:
            places.sync(self.path / name)
        places.sync(self.path)
        temporary = self.path / (MANIFEST_NAME + places.HALF)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(manifest.text())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path / MANIFEST_NAME)
        (self.path / UNFINISHED_NAME).unlink(missing_ok=True)
        places.sync(self.path)
        if self.path != self._target and manifest.status == "complete":
            places.replace(self._target, self.path)
            self.path = self._target
        else:
            places.sync(self.path.parent)
        return self.path

    def _remove_saved(self) -> None:
        """Remove what was saved of parts that never came, and what was half written."""
        for file in self.path.iterdir():
            if ".parquet" in file.name and file.name not in self._parts:
                file.unlink(missing_ok=True)


@cache
def _schema(name: str) -> tuple[pa.Schema, list[str], list[str]]:
    """Return the schema of a file of a table, its columns of ids and its other plain ones."""
    schema = described(name)
    ids = [f.name for f in schema if f.name in _DELTA and pa.types.is_integer(f.type)]
    rest = [f.name for f in schema if f.name not in ids and not pa.types.is_nested(f.type)]
    return schema, ids, rest


def _encoded(name: str, table: pa.Table) -> pa.Buffer:
    """Return a table as the content of its file."""
    if not table.num_rows:
        return _empty(name)
    return _content(name, table)


@cache
def _empty(name: str) -> pa.Buffer:
    return _content(name, _table(name, []))


def _content(name: str, table: pa.Table) -> pa.Buffer:
    schema, ids, rest = _schema(name)
    large = table.num_rows > _SMALL
    content = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(schema.metadata),
        content,
        compression="zstd" if large else "lz4",
        use_dictionary=rest if large and rest else False,
        column_encoding=dict.fromkeys(ids, "DELTA_BINARY_PACKED") or None,
        # What a reader asks of static tables it reads.
        write_statistics=name not in STATIC_TABLES,
        write_page_checksum=True,
        write_batch_size=_BATCH,
    )
    return content.getvalue()


def static_table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as the static table `name`."""
    try:
        return _table(name, rows)
    except UnicodeEncodeError:
        return _table(name, writable(rows))


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = SCHEMAS[name]
    columns = [built([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.table(columns, schema=schema)
